"""Pods of a test's own, beside those of dist/dev, in a namespace that nothing else uses."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from delivery.control_plane.client import Reference
from delivery.control_plane.programs import wait_until
from tests.runtime.images.build import read_references
from tests.runtime.node.node import Node

NAMESPACE = "default"
_SECONDS = 180


class Running(NamedTuple):
    """A running pod.

    Attributes:
        container: The id of its container.
        address: Its own.
    """

    container: str
    address: str


@contextmanager
def running(
    node: Node,
    name: str,
    *command: str,
    image: str = "redis",
    limits: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run a command in a pod; delete it afterwards.

    Args:
        node: Where.
        name: Name of the pod and its container, and value of its label `name`.
        command: The command.
        image: Name of the image's recipe.
        limits: Resource limits of its container. Default: none.

    Returns:
        The pod, once the command runs.

    Raises:
        StartError: If it does not start.
    """
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"name": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": name,
                    "image": read_references()[image],
                    "command": command,
                    "resources": {"limits": dict(limits or {})},
                }
            ],
        },
    }
    with closing(node.server.client()) as client:
        client.create(pod)
        try:
            wait_until(
                lambda: bool(node.containers(name, namespace=NAMESPACE)),
                programs=node.programs,
                seconds=_SECONDS,
                what=f"the pod {name} did not start",
            )
            [container] = node.containers(name, namespace=NAMESPACE).values()
            yield Running(container, client.get(Reference.of(pod))["status"]["podIP"])
        finally:
            client.delete(Reference.of(pod))
