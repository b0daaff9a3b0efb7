"""What is rendered: how dist is read, proved and compared."""
