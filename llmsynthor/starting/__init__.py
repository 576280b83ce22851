"""Jobs made of something else: real records, a PopulationSim set-up, examples that come along."""
