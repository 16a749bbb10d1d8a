"""Web corpora: files of rows in any format (tables), and the meaning of the rows (layouts), implemented separately."""
