"""What the next sync will really do: a change is played on a throwaway API server beforehand."""
