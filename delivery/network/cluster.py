"""The cluster that the rendered manifests make: workloads, Services, ConfigMaps, policies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from delivery.git import resolve
from delivery.manifests.applications import FOLDER, declared, parse, require_manifests
from delivery.manifests.manifest import Labels, Manifest, selects
from delivery.manifests.tree import folders, read_dist
from delivery.network.addresses import Container
from delivery.network.policy import Network, Pod
from delivery.network.resolvers import Resolver, resolvers
from delivery.network.workload import Workload


@dataclass(frozen=True, kw_only=True, eq=False)
class Service:
    """A Service and the workloads whose pods it selects."""

    manifest: Manifest
    workloads: Sequence[Workload]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def headless(self) -> bool:
        """Whether its name resolves to the pods themselves, so that no port is translated."""
        return bool(self.manifest["spec"].get("clusterIP") == "None")

    @property
    def lists_only_ready(self) -> bool:
        """Whether it lists a pod only once that pod is ready."""
        return not self.manifest["spec"].get("publishNotReadyAddresses", False)

    def targets(self, port: Manifest) -> list[tuple[Workload, int | None]]:
        """Return the target of a port on each workload; None if a named port is missing there."""
        target = port.get("targetPort", port["port"])
        protocol = port.get("protocol", "TCP")
        if isinstance(target, str):
            return [(each, each.pod.named_ports.get((protocol, target))) for each in self.workloads]
        return [(each, target) for each in self.workloads]


class Cluster:
    """All environments, as if they were in one cluster.

    Args:
        folders: Objects of each folder of dist, by its name. The folder of Argo CD's own objects
            has no pods, but declares the labels of namespaces.
    """

    def __init__(self, folders: Mapping[str, Sequence[Manifest]]) -> None:
        self._objects: dict[str, list[tuple[str, Manifest]]] = defaultdict(list)
        for folder, manifests in folders.items():
            for manifest in manifests:
                self._objects[manifest["kind"]].append((folder, manifest))
        self.workloads = [
            Workload(environment=folder, manifest=manifest)
            for kind in ("StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob")
            for folder, manifest in self._objects[kind]
        ]
        # The name of the environment that has each namespace.
        self.namespaces: dict[str, str] = {
            workload.namespace: workload.environment for workload in self.workloads
        }
        self.services: dict[tuple[str, str], Service] = {
            (manifest["metadata"]["namespace"], manifest["metadata"]["name"]): Service(
                manifest=manifest, workloads=self._selected(manifest)
            )
            for manifest in self.kind("Service")
        }
        self.files: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
        for manifest in self.kind("ConfigMap"):
            metadata = manifest["metadata"]
            self.files[metadata["namespace"]][metadata["name"]] = manifest.get("data", {})

    @cached_property
    def containers(self) -> list[Container]:
        """All containers of all workloads."""
        return [
            Container(workload, manifest, self.files[workload.namespace])
            for workload in self.workloads
            for manifest in workload.containers
        ]

    @cached_property
    def resolvers(self) -> dict[str, list[Resolver]]:
        """The resolvers that the pods of each namespace use."""
        policies = self.kind("NetworkPolicy")
        return {
            namespace: resolvers(
                [each for each in policies if each["metadata"].get("namespace") == namespace]
            )
            for namespace in self.namespaces
        }

    @property
    def resolving_pods(self) -> list[Pod]:
        """The resolvers that are pods, each once."""
        peers = dict.fromkeys(each.peer for found in self.resolvers.values() for each in found)
        return [peer for peer in peers if isinstance(peer, Pod)]

    def kind(self, kind: str) -> list[Manifest]:
        """Return all objects of a kind, of all environments."""
        return [manifest for _, manifest in self._objects[kind]]

    def network(self, others: Sequence[str]) -> Network:
        """Return the policies of all environments, also for other namespaces, without labels."""
        labels: dict[str, Labels] = {name: {} for name in [*self.namespaces, *others]}
        for environment in parse([*self.kind("AppProject"), *self.kind("Application")]):
            labels[environment.namespace] = environment.labels
        return Network(self.kind("NetworkPolicy"), labels)

    def _selected(self, service: Manifest) -> list[Workload]:
        labels = service["spec"].get("selector")
        return [
            workload
            for workload in self.workloads
            # A Service without a selector selects nothing; such a policy selects everything.
            if labels
            and workload.namespace == service["metadata"]["namespace"]
            and workload.replicas > 0
            and selects({"matchLabels": labels}, workload.pod.labels)
        ]


def load(repository: Path, commit: str | None = None) -> dict[str, list[Manifest]]:
    """Read `dist/`, in which each environment that `dist/argocd` declares must have manifests.

    Args:
        repository: Root of the Git working tree.
        commit: Revision whose dist is read. Default: the working tree.

    Returns:
        The objects of each environment in the order of promotion, then those of Argo CD, by the
        name of their folder; they must not be changed.

    Raises:
        GitError: If there is no such commit.
        TreeError: If dist is missing, incomplete or damaged.
    """
    files = read_dist(repository, None if commit is None else resolve(repository, commit))
    known = declared(files)
    require_manifests(files, known)
    found = folders(files)
    return {name: found[name] for name in [*(each.name for each in known), FOLDER.name]}
