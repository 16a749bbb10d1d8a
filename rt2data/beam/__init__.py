"""The only folder that imports Apache Beam: it wires and counts."""
