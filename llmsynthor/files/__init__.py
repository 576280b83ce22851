"""Any file of a user's into text and numbers, and what a label of a bin means."""
