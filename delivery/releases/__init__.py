"""What is released where, and how a release moves from one environment to the next."""
