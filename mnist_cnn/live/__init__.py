"""The page to draw on, computed in the browser."""
