"""Nodes come and go: a real scheduler finds room for every pod, on volumes that can follow it."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter

import pytest

from delivery.clusters.simulated import SimulatedCluster, simulated_cluster
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Client, Reference
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from delivery_by_argocd import PAUSE_SECONDS
from fraud_detection.environments import ENVIRONMENTS, Environment
from rendering import Manifests
from settings import LARGE

pytestmark = [pytest.mark.xdist_group("nodes"), pytest.mark.timeout(300)]

SECONDS = 60
"""How soon every pod must run again once there is room for it."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster of three nodes, with what runs in a namespace of it."""

    simulated: SimulatedCluster
    client: Client
    namespace: str

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes."""
        return sorted(node["metadata"]["name"] for node in self.client.list("v1", "Node"))

    def kubectl(self, *arguments: str) -> str:
        """Run the real kubectl and return what it prints.

        Raises:
            AssertionError: If it fails.
        """
        server = self.simulated.server
        command = [str(server.kubectl), f"--kubeconfig={server.kubeconfig}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, node: str = "") -> list[Manifest]:
        """Return the pods that are not leaving; with a node's name, those on it."""
        return [
            pod
            for pod in self.client.list("v1", "Pod", namespace=self.namespace)
            if "deletionTimestamp" not in pod["metadata"]
            and node in ("", pod["spec"].get("nodeName"))
        ]

    def disruptions_allowed(self, budget: str) -> int:
        """Return how many ready pods may leave; 0 without such a budget."""
        return sum(
            each["status"]["disruptionsAllowed"]
            for each in self.client.list("policy/v1", "PodDisruptionBudget")
            if (each["metadata"]["namespace"], each["metadata"]["name"]) == (self.namespace, budget)
        )

    @property
    def workloads(self) -> dict[str, Manifest]:
        """What keeps pods running, by name."""
        return {
            workload["metadata"]["name"]: workload
            for kind in ("Deployment", "StatefulSet")
            for workload in self.client.list("apps/v1", kind, namespace=self.namespace)
        }

    @contextmanager
    def watched(self) -> Iterator[Counter[str]]:
        """Provide the ready pods of each workload: in the end, the fewest at any moment."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        listed = self.client.request("GET", path).body
        pods = {pod["metadata"]["uid"]: pod for pod in listed["items"]}
        fewest = _ready(pods.values())
        yield fewest
        since = listed["metadata"]["resourceVersion"]
        watch = f"{path}?watch=1&resourceVersion={since}&timeoutSeconds=1"
        for event in map(json.loads, self.kubectl("get", "--raw", watch).splitlines()):
            pods[event["object"]["metadata"]["uid"]] = event["object"]
            ready = _ready(pods.values())
            for name in fewest:
                fewest[name] = min(fewest[name], ready[name])

    def missing(self, nodes: int) -> list[str]:
        """Return the workloads with fewer running pods than they can have on some nodes."""
        running = [
            pod["metadata"]["labels"]["app.kubernetes.io/name"]
            for pod in self.pods()
            if pod["status"]["phase"] == "Running"
        ]
        return [
            name
            for name, workload in self.workloads.items()
            if running.count(name) < min(workload["spec"]["replicas"], _most(workload, nodes))
        ]

    def wait(self, nodes: int) -> None:
        """Wait until every pod runs that has room on so many nodes.

        Raises:
            StartError: If one does not run in time.
        """
        wait_until(
            lambda: not self.missing(nodes),
            programs=self.simulated.programs,
            seconds=SECONDS,
            what=f"some pods in {self.namespace} did not run again",
            pause=PAUSE_SECONDS,
        )


def _ready(pods: Iterable[Manifest]) -> Counter[str]:
    """Count the ready pods of each workload; leaving ones do not count."""
    return Counter(
        pod["metadata"]["labels"]["app.kubernetes.io/name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", [])
        )
    )


def _most(workload: Manifest, nodes: int) -> int:
    """Return how many pods of a workload some nodes have room for: brokers never share one."""
    affinity = workload["spec"]["template"]["spec"].get("affinity", {})
    return nodes if "podAntiAffinity" in affinity else workload["spec"]["replicas"]


@pytest.fixture(scope="module")
def empty(assets: ControlPlaneAssets) -> Iterator[SimulatedCluster]:
    """A cluster whose volumes are on the network, as those of any cloud are."""
    with simulated_cluster(assets) as simulated, closing(simulated.server.client()) as client:
        for local in client.list("v1", "PersistentVolume"):
            client.delete(Reference.of(local))
            del local["spec"]["local"], local["spec"]["nodeAffinity"]
            name = f"network-{local['metadata']['name']}"
            spec = {
                **local["spec"],
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "nfs": {"server": "storage.test", "path": f"/{name}"},
            }
            client.create({**local, "metadata": {"name": name}, "spec": spec})
        yield simulated


@pytest.fixture(
    # The kinds of the Prometheus Operator are not there, and nothing of them runs.
    scope="module",
    params=[*ENVIRONMENTS, replace(LARGE, monitoring=None)],
    ids=attrgetter("name"),
    name="cluster",
)
def _cluster(empty: SimulatedCluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Run everything of one environment."""
    environment: Environment = request.param
    name = environment.namespace
    with closing(empty.server.client()) as client:
        client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for manifest in Manifests(environment):
            if manifest["kind"] not in {"Job", "ResourceQuota"}:
                client.apply(manifest, field_manager="test")
        cluster = Cluster(simulated=empty, client=client, namespace=name)
        cluster.wait(len(cluster.nodes))
        yield cluster
        client.delete(Reference("v1", "Namespace", name))


@contextmanager
def drained(cluster: Cluster, node: str) -> Iterator[None]:
    """Drain a node as an upgrade of it does; budgets count."""
    try:
        cluster.kubectl("drain", node, "--delete-emptydir-data", f"--timeout={SECONDS}s")
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def dead(cluster: Cluster, node: str) -> Iterator[None]:
    """Take a node out of service: its pods are gone, whatever their budgets."""
    taint = "node.kubernetes.io/out-of-service"
    cluster.kubectl("taint", "node", node, f"{taint}=:NoExecute")
    try:
        yield
    finally:
        cluster.kubectl("taint", "node", node, f"{taint}-")


@contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    """Cordon a node, and lose its pods one by one."""
    cluster.kubectl("cordon", node)
    try:
        _delete_one_by_one(cluster, node)
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def full(cluster: Cluster, node: str) -> Iterator[None]:
    """Fill a node with the pods of others, and lose our own one by one."""
    capacity = cluster.client.get(Reference("v1", "Node", node))["status"]["allocatable"]
    everything = {"requests": {resource: capacity[resource] for resource in ("cpu", "memory")}}
    filler = {"name": "filler", "image": "filler", "resources": everything}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"filler-on-{node}", "namespace": "default"},
        "spec": {"nodeName": node, "containers": [filler]},
    }
    cluster.client.create(pod)
    try:
        _delete_one_by_one(cluster, node)
        yield
    finally:
        cluster.client.delete(Reference.of(pod))


def _delete_one_by_one(cluster: Cluster, node: str) -> None:
    """Delete the pods of a node, each when all that have room run again."""
    for pod in cluster.pods(node):
        cluster.client.delete(Reference.of(pod))
        cluster.wait(len(cluster.nodes) - 1)


@pytest.mark.parametrize("event", [drained, dead, cordoned, full])
def test_every_pod_runs_again(
    cluster: Cluster, event: Callable[[Cluster, str], AbstractContextManager[None]]
) -> None:
    """An ordinary event of a cluster's life must not stop detection until somebody notices."""
    for node in cluster.nodes:
        with event(cluster, node):
            cluster.wait(len(cluster.nodes) - 1)
        cluster.wait(len(cluster.nodes))


def test_an_upgrade_of_all_nodes_takes_one_pod_of_a_workload_at_a_time(cluster: Cluster) -> None:
    """Transactions keep coming, and nobody waits between two nodes: only the budgets do."""
    with cluster.watched() as fewest:
        for node in cluster.nodes:
            with drained(cluster, node):
                pass
        cluster.wait(len(cluster.nodes))
    several = {
        name: workload["spec"]["replicas"]
        for name, workload in cluster.workloads.items()
        if workload["spec"]["replicas"] > 1
    }
    assert {name: fewest[name] for name in several} == {
        name: replicas - 1 for name, replicas in several.items()
    }


def test_broken_brokers_do_not_block_a_drain(cluster: Cluster) -> None:
    """Two of three use up the budget, and by default neither may leave: no drain would end."""
    broken = [
        pod for pod in cluster.pods() if pod["metadata"]["name"] in {"redpanda-0", "redpanda-1"}
    ]
    status = {"conditions": [{"type": "Ready", "status": "False"}]}
    for pod in broken:
        cluster.client.merge(Reference.of(pod), {"status": status}, subresource="status")
    wait_until(
        lambda: not cluster.disruptions_allowed("redpanda"),
        programs=cluster.simulated.programs,
        seconds=SECONDS,
        what="the budget still counted them as healthy",
    )
    with drained(cluster, broken[0]["spec"]["nodeName"]):
        cluster.client.delete(Reference.of(broken[-1]))
    cluster.wait(len(cluster.nodes))
