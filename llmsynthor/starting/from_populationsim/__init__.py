"""Importing a PopulationSim set-up: its controls as tables, its seed as a seed sample."""
