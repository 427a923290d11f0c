"""Many trainings: planned, launched, and watched."""
