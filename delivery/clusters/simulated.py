"""A cluster without containers: real controllers and scheduler, simulated kubelets.

KWOK reports every pod as running and ready, and every pod of a Job as succeeded.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from delivery.clusters.metrics import Millicores, serve_metrics
from delivery.control_plane.api_server import ApiServer, api_server
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import Client
from delivery.control_plane.programs import SHORT_LIVED, Program, start, wait_until
from delivery.manifests.manifest import Manifest

_NODES = ("node-1", "node-2", "node-3")
"""Three nodes, as three brokers need of which no two share one."""
_LABELS = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
_CAPACITY = {"cpu": "16", "memory": "64Gi", "pods": "110"}
_VOLUMES_PER_NODE = 8
_VOLUME = "100Gi"
_STORAGE_CLASS = "standard"
_READY_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class SimulatedCluster:
    """A running cluster, with the CPU usage that its autoscalers see."""

    server: ApiServer
    millicores: Millicores
    programs: tuple[Program, ...]


@contextmanager
def simulated_cluster(assets: ControlPlaneAssets) -> Iterator[SimulatedCluster]:
    """Run a cluster of three nodes on 127.0.0.1; any number may run side by side.

    Raises:
        StartError: If it does not start; its folder stays until the next start, for its logs.
    """
    with api_server(assets.api_server) as server, ExitStack() as stack:
        arguments = [f"--kubeconfig={server.kubeconfig}"]
        controllers = start(
            stack,
            [
                assets.kube_controller_manager,
                *arguments,
                f"--service-account-private-key-file={server.service_account_key}",
                "--leader-elect=false",
                "--secure-port=0",
                # KWOK renews a node's lease every ten minutes, a kubelet every ten seconds.
                "--node-monitor-grace-period=1h",
                # The defaults suit containers that take minutes to warm up.
                "--horizontal-pod-autoscaler-sync-period=5s",
                "--horizontal-pod-autoscaler-cpu-initialization-period=1ms",
                "--horizontal-pod-autoscaler-initial-readiness-delay=1ms",
                # The defaults spare an API server that others use, too.
                "--kube-api-qps=1000",
                "--kube-api-burst=2000",
            ],
            logs=server.folder,
            environment=SHORT_LIVED,
        )
        scheduler = start(
            stack,
            [assets.kube_scheduler, *arguments, "--leader-elect=false", "--secure-port=0"],
            logs=server.folder,
            environment=SHORT_LIVED,
        )
        kwok = start(
            stack,
            [
                assets.kwok,
                *arguments,
                *(f"--config={stage}" for stage in assets.kwok_stages),
                "--manage-all-nodes",
                "--node-ip=127.0.0.1",
                "--server-address=",
            ],
            logs=server.folder,
            environment=SHORT_LIVED,
        )
        programs = (*server.programs, controllers, scheduler, kwok)
        with closing(server.client()) as client:
            _make_nodes(client)
            paths = [Path(f"/volumes/{number}") for number in range(_VOLUMES_PER_NODE)]
            make_volumes(client, dict.fromkeys(_NODES, paths))
            millicores = stack.enter_context(serve_metrics(server))
            wait_until(
                lambda: _are_ready(client),
                programs=programs,
                seconds=_READY_SECONDS,
                what="the nodes were not ready",
            )
        yield SimulatedCluster(server=server, millicores=millicores, programs=programs)


def _make_nodes(client: Client) -> None:
    status = {"allocatable": _CAPACITY, "capacity": _CAPACITY}
    for name in _NODES:
        metadata = {"name": name, "labels": {**_LABELS, "kubernetes.io/hostname": name}}
        client.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})


def make_volumes(client: Client, folders: Mapping[str, Iterable[Path]]) -> None:
    """Create a default StorageClass and all its volumes, as there is no provisioner.

    Args:
        client: Client of the API server.
        folders: Folders on each node's disk, one per volume, by node.
    """
    client.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": _STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            # As for any disk of one node: the first pod decides where the volume is.
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    for node, own in folders.items():
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        for number, folder in enumerate(own):
            client.create(
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"name": f"{node}-{number}"},
                    "spec": {
                        "storageClassName": _STORAGE_CLASS,
                        "capacity": {"storage": _VOLUME},
                        "accessModes": ["ReadWriteOnce"],
                        "local": {"path": str(folder)},
                        "nodeAffinity": {"required": required},
                    },
                }
            )


def is_ready(node: Manifest) -> bool:
    """Whether a node reports that it can run pods."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.get("status", {}).get("conditions", [])
    )


def _are_ready(client: Client) -> bool:
    """Whether pods can be scheduled: all nodes are ready and without taints."""
    return all(
        "taints" not in node["spec"] and is_ready(node) for node in client.list("v1", "Node")
    )
