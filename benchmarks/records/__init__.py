"""Logs of the fastest and the most accurate trainings of the notebook's network."""
