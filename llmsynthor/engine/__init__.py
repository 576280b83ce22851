"""The loop: ask, choose records, write batches; zones in chunks, and who makes these."""
