"""Releases: which runs where, and how one moves from an environment to the next."""
