"""Measurements beside what people would use instead; `pip install -e '.[bench]'` brings the peers."""
