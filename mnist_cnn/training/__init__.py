"""One training job: assembled, fitted, saved, shown while it runs."""
