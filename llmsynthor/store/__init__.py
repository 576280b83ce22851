"""All that is on disk of a run: its directory, typed lines, batches, chunks, the targets as used."""
