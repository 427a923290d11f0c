"""The notebook's recipe, an epoch at a time, as people would write it elsewhere and as it is here."""
