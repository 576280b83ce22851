"""Evaluation of a run against real records that nobody trained on."""
