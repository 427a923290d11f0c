"""One training: assembled from the settings, fitted, saved, shown while it runs, and tested."""
