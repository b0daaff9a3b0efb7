"""Connections between workloads, proved from dist, and the picture of them."""
