"""The job: its model, its YAML, and what is wrong with it in words; no numpy."""
