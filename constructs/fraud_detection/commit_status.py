"""The commit status that reports what an environment has proved, for whoever sets or reads it.

This module imports nothing, so that programs can read it without cdk8s.
"""

NAME = "fraud-detection"
"""Name of our service, trigger and templates of Argo CD's notifications."""
SUBSCRIPTION = f"notifications.argoproj.io/subscribe.{NAME}.{NAME}"
"""Annotation of an Application that reports."""


def context(environment: str) -> str:
    """Return the name of the commit status of an environment."""
    return f"argocd/{environment}"
