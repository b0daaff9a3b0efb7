"""Who reaches whom, proved from dist, and the picture of it."""
