"""Whole counts of candidates: rounding, and the exchanges that mend what it leaves wrong."""
