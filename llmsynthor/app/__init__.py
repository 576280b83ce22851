"""What a command or a notebook does: prepare, run, preview, job arrays; the only place that joins engine and results."""
