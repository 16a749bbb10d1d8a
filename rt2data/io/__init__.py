"""Files: locations, locks, whole writes, hashes, and the containers that several folders read."""
