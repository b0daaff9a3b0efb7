"""The two Git repositories of the system: the lines that `delivery fork` changes.

This module imports nothing, so that programs can read it without cdk8s.
"""

REPOSITORY = "https://github.com/Mordris/fraud-detection-system-config.git"
"""This repository, as Argo CD fetches it."""
APPLICATION = "https://github.com/Mordris/fraud-detection-system"
"""Application repository: it builds our own images, and their tags are its commits."""
