"""The only folder that imports Apache Beam: it builds the graph and counts."""
