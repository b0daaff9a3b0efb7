"""Staging's replicas and budgets on three nodes: draining each in turn is an ordinary day.

The nodes share their disks, as those of a cluster with network storage do: a pod finds its volume
wherever it goes.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from delivery.control_plane.assets import locate
from fraud_detection.environments import DEV, STAGING
from rendering import Manifests
from tests.runtime.images.build import Image
from tests.runtime.node.build import build as build_node
from tests.runtime.node.node import Node, node
from tests.runtime.observer import Survived
from tests.runtime.sync import IMAGES
from tests.runtime.system import System, delivered

pytestmark = pytest.mark.xdist_group("drains")

NAMES = ("node-1", "node-2", "node-3")
SHARED = "shared"
"""The StorageClass of the disks that are on every node."""
WIDE = Manifests(
    replace(
        STAGING,
        # Where the tests look.
        namespace=DEV.namespace,
        # Two cores: there is no room for what staging requests.
        flink=replace(DEV.flink, storage_class=SHARED),
        redis=replace(DEV.redis, storage_class=SHARED),
        redpanda=replace(STAGING.redpanda, resources=DEV.redpanda.resources, storage_class=SHARED),
    ),
    IMAGES,
)


def make_shared_volumes(running: Node) -> None:
    """Create volumes that every node has."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": SHARED},
        "provisioner": "kubernetes.io/no-provisioner",
    }
    with closing(running.server.client()) as client:
        client.create(storage_class)
        for number in range(STAGING.limits.volume_claims):
            folder = running.state / SHARED / str(number)
            folder.mkdir(parents=True)
            # Kubernetes gives such a volume to no group.
            folder.chmod(0o777)
            client.create(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": f"{SHARED}-{number}"},
                    "spec": {
                        "storageClassName": SHARED,
                        "capacity": {"storage": "100Gi"},
                        "accessModes": ["ReadWriteOnce"],
                        "hostPath": {"path": str(folder)},
                    },
                }
            )


@pytest.fixture(scope="module")
def whole_system(
    images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Deliver staging's shape to three nodes."""
    archives = [image.archive for image in images.values()]
    assets, state = build_node(sys.stderr), tmp_path_factory.mktemp("nodes")
    with node(locate(), assets, state, images=archives, names=NAMES) as running:
        make_shared_volumes(running)
        with delivered(running, list(WIDE)) as system:
            yield system


@pytest.mark.parametrize("name", NAMES)
def test_nothing_accepted_is_lost_while_a_node_of_three_is_drained(
    system: System, survived: Survived, name: str
) -> None:
    """No budget may hold it up, and every pod finds its data where it goes."""
    with survived(f"{name} of three is drained"):
        system.drain(name)
