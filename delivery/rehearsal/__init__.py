"""Rehearsal of the next sync: a change is played on a throwaway API server first."""
