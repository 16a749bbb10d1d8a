"""The only room that imports Apache Beam: it wires and counts."""
