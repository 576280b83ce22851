"""The report of a run: figures recomputed from the records on disk, as JSON and as one page."""
