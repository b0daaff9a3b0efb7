"""Where things are in this working tree."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SERVICE_FILES = REPOSITORY / "constructs" / "fraud_detection" / "services" / "files"
"""Files that the pods read and run, in a folder per service."""
