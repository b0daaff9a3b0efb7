"""One module per service, and the files that its pods read and run."""
