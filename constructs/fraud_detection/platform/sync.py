"""Instructions to Argo CD for an object with data."""

from collections.abc import Mapping

KEEP_DATA: Mapping[str, str] = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
"""Annotation of an object with data: neither a sync nor a deleted Application removes it."""
