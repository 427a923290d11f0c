"""Pictures of runs and networks, and the reports made of them."""
