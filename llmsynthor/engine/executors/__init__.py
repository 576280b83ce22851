"""Who makes the chunks of zones: processes here, Dask's workers, jobs of Slurm."""
