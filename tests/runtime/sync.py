"""dist/dev on a node, all at once, as Argo CD delivers it."""

from collections.abc import Callable, Iterable
from functools import partial

import yaml

from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from fraud_detection.environments import DEV, ENVIRONMENTS
from fraud_detection.images import read_images
from repository import REPOSITORY
from tests.runtime.node.node import Node

_DIST = REPOSITORY / "dist"
MANAGER = "argocd-controller"
_SECONDS = 400
"""Limit of every wait: a JobManager with a broken checkpoint retries it a few times."""


def _load(text: str) -> list[Manifest]:
    return list(yaml.load_all(text, yaml.CSafeLoader))


def rendered() -> list[Manifest]:
    """Return the committed manifests of dev."""
    return [
        manifest
        for file in sorted((_DIST / "dev").glob("*.yaml"))
        for manifest in _load(file.read_text(encoding="utf-8"))
    ]


IMAGES = read_images(
    REPOSITORY / "images.yaml", environments=[each.name for each in ENVIRONMENTS]
).for_environment(DEV.name)
"""The committed images of dev."""
[NAMESPACE] = {manifest["metadata"]["namespace"] for manifest in rendered()}


def find(kind: str, name: str) -> Manifest:
    """Return one of the committed objects of dev."""
    [manifest] = [m for m in rendered() if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return manifest


class Sync:
    """The syncs that Argo CD would do on a node.

    Args:
        node: The node.
        client: Client of its API server.
    """

    def __init__(self, node: Node, client: Client) -> None:
        self._node = node
        self._client = client

    def make_namespace(self) -> None:
        """Create the namespace as the root Application does."""
        [namespace] = [
            manifest
            for file in (_DIST / "argocd").glob("*.yaml")
            for manifest in _load(file.read_text(encoding="utf-8"))
            if (manifest["kind"], manifest["metadata"]["name"]) == ("Namespace", NAMESPACE)
        ]
        self._client.create(namespace)

    def deliver(self, manifests: Iterable[Manifest]) -> None:
        """Apply manifests, workloads last, and wait until all are healthy.

        Raises:
            StartError: If one does not become healthy.
        """
        ordered = sorted(manifests, key=lambda manifest: manifest["kind"] in _HEALTH)
        for manifest in ordered:
            self._client.apply(manifest, field_manager=MANAGER)
        self.wait_until_healthy(ordered)

    def wait_until_healthy(self, manifests: Iterable[Manifest]) -> None:
        """Wait until each object is healthy."""
        for reference in map(Reference.of, manifests):
            what = f"{reference.kind}/{reference.name} did not become healthy"
            self.wait(partial(self._is_healthy, reference), what)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition.

        Raises:
            StartError: If it does not come in time, with what the node's programs said last.
        """
        programs = self._node.programs
        # What we wait for takes seconds, and each check costs CPU time of two cores.
        wait_until(condition, programs=programs, seconds=_SECONDS, what=what, pause=0.25)

    def _is_healthy(self, reference: Reference) -> bool:
        health = _HEALTH.get(reference.kind)
        return health is None or health(self._client.get(reference))


def _deployment(found: Manifest) -> bool:
    return _all_are_new(found, "replicas", "updatedReplicas", "availableReplicas")


def _stateful_set(found: Manifest) -> bool:
    return _all_are_new(found, "updatedReplicas", "readyReplicas")


def _all_are_new(found: Manifest, *counts: str) -> bool:
    wanted, status = found["spec"]["replicas"], found["status"]
    return status.get("observedGeneration") == found["metadata"]["generation"] and all(
        status.get(count, 0) == wanted for count in counts
    )


_HEALTH: dict[str, Callable[[Manifest], bool]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
}
