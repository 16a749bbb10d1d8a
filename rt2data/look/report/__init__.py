"""The HTML report, its charts, and contact sheets."""
