"""What a build will give and cost, before it is begun: a quick scan, a trial run of a small part, a price."""
