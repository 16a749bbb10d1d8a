"""Web corpora: files of rows (tables) of any kind, and what the rows mean (layouts), each written once."""
