"""Whole clusters for a person: the demo on this machine, and kind."""
