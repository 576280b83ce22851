"""Exports: what a run's records are handed on as, and the dictionary of their columns, printed."""
