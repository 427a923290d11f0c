"""Searches over hyperparameters: what is tried next, and the loop that trains it."""
