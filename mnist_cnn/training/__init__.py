"""One training: build it from the settings, fit it, save it, show its progress, and test it."""
