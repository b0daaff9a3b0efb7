"""Namespaces of one rehearsal, under names that no other rehearsal uses."""

import secrets
from collections.abc import Mapping
from copy import deepcopy

from delivery.control_plane.api_server import make_namespace
from delivery.control_plane.client import Client
from delivery.manifests.manifest import Manifest

_LONGEST_NAME = 40


class ScratchNamespaces:
    """Stand-ins for the namespaces of the real cluster, whose labels are given by name."""

    def __init__(self, client: Client, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._client = client
        self._suffix = secrets.token_hex(4)
        self._names = {name: self.make(name, labels=labels[name]) for name in sorted(labels)}

    def make(self, purpose: str, *, labels: Mapping[str, str] | None = None) -> str:
        """Create a namespace, without labels by default, and return its name."""
        name = f"{purpose[:_LONGEST_NAME]}-{self._suffix}"
        make_namespace(self._client, name, labels=labels)
        return name

    def move(self, manifest: Manifest) -> Manifest:
        """Copy a manifest into the scratch namespace that stands in for its real one."""
        manifest = deepcopy(manifest)
        namespace = manifest["metadata"].get("namespace")
        if namespace in self._names:
            manifest["metadata"]["namespace"] = self._names[namespace]
        return manifest

    def with_real_names(self, text: str) -> str:
        """Replace the names of scratch namespaces in a text by the real ones."""
        for name, scratch in self._names.items():
            text = text.replace(scratch, name)
        return text
