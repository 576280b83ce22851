"""One record of a run: where it came from, and how it stands to its proposal."""
