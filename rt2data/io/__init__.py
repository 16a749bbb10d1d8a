"""Files: locations, locks, atomic writes, hashes, and container formats used by several folders."""
