"""The policies of dist/dev, really enforced: pods reach exactly what we read in dist."""

import pytest

from delivery.network.cluster import Cluster, load
from delivery.network.policy import Pod
from repository import REPOSITORY
from tests.runtime.node import pods
from tests.runtime.sync import NAMESPACE
from tests.runtime.system import CONTAINERS, KINDS, System

CLUSTER = Cluster(load(REPOSITORY))
NETWORK = CLUSTER.network([pods.NAMESPACE])
SERVERS = {
    each.name: each
    for each in CLUSTER.workloads
    if each.namespace == NAMESPACE and each.name in KINDS
}
PORTS = sorted(
    (name, port)
    for name, each in SERVERS.items()
    for protocol, port in each.listening
    if protocol == "TCP"
)


def reached(system: System, container: str) -> set[tuple[str, int]]:
    """Return the workloads and ports of dist/dev that answer a container."""
    addresses = system.addresses()
    places = {f"{addresses[name]}:{port}": (name, port) for name, port in PORTS}
    return {places[each] for each in system.node.reached(container, places)}


def allowed(client: Pod) -> set[tuple[str, int]]:
    """Return the workloads and ports of dist/dev that the policies let a pod reach."""
    return {
        (name, port)
        for name, port in PORTS
        if not NETWORK.blocks(client, SERVERS[name].pod, "TCP", port)
    }


@pytest.mark.parametrize(("workload", "container"), dict(CONTAINERS).items())
def test_a_pod_reaches_what_its_policies_allow_and_nothing_else(
    system: System, workload: str, container: str
) -> None:
    """`delivery connections` proves nothing if it misreads the policies."""
    assert reached(system, system.container(workload, container)) == allowed(SERVERS[workload].pod)


def test_a_pod_of_another_namespace_reaches_nothing(system: System) -> None:
    """Staging may share the cluster, and once wrote into dev's Redis for months."""
    with pods.running(system.node, "stranger", "sleep", "3600") as stranger:
        assert reached(system, stranger.container) == set()
