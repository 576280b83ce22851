"""Making a job and its target tables from real records (`llmsynthor tables`)."""
