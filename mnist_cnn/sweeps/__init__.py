"""Many trainings: planned, launched, watched, and compared in a table."""
