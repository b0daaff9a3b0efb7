"""How long a render takes, against its targets: `make bench`."""
