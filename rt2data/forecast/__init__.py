"""The result and cost of a build before it starts: a quick scan, a trial run of a small part, a price."""
