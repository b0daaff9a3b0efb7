"""The cluster that the rendered manifests make: workloads, Services, ConfigMaps, policies."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from delivery.git import resolve
from delivery.manifests import workloads
from delivery.manifests.applications import FOLDER, declared, parse, require_manifests
from delivery.manifests.manifest import Labels, Manifest, selects
from delivery.manifests.tree import folders, read_dist
from delivery.network.addresses import OWN_ADDRESS, Configuration
from delivery.network.policy import Network, Pod


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """An object that makes pods, in the environment of that name."""

    environment: str
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Namespace of its pods."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def pod_spec(self) -> Manifest:
        """Spec of its pods."""
        spec: Manifest = workloads.template(self.manifest)["spec"]
        return spec

    @cached_property
    def pod(self) -> Pod:
        """One of its pods, as a policy sees it."""
        return Pod(
            name=self.name,
            namespace=self.namespace,
            labels=workloads.labels(self.manifest),
            named_ports={
                (port.get("protocol", "TCP"), port["name"]): port["containerPort"]
                for port in self.ports
                if "name" in port
            },
        )

    @property
    def containers(self) -> list[Manifest]:
        """All containers, including init containers."""
        return workloads.containers(self.manifest)

    @property
    def ports(self) -> list[Manifest]:
        """Ports that its containers list."""
        return [port for container in self.containers for port in container.get("ports", [])]

    @cached_property
    def listening(self) -> set[tuple[str, int]]:
        """Protocols and numbers of these ports."""
        return {(port.get("protocol", "TCP"), port["containerPort"]) for port in self.ports}

    @property
    def replicas(self) -> int:
        """Number of pods that it states; 1 if something else decides."""
        return int(self.manifest["spec"].get("replicas", 1))

    @property
    def pod_names(self) -> tuple[str, ...]:
        """Names of its pods; empty if they are unknown before the pods run."""
        if self.manifest["kind"] != "StatefulSet":
            return ()
        return tuple(f"{self.name}-{ordinal}" for ordinal in range(self.replicas))

    @property
    def fields(self) -> dict[str, tuple[str, ...]]:
        """Values of the fields of its pods that are known before the pods run, by path."""
        addresses = dict.fromkeys(("status.podIP", "status.podIPs"), (OWN_ADDRESS,))
        names = {"metadata.name": self.pod_names} if self.pod_names else {}
        return {"metadata.namespace": (self.namespace,), **addresses, **names}


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Container:
    """A container of a workload, with its settings and addresses."""

    workload: Workload
    manifest: Manifest
    configuration: Configuration

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["name"])

    def place(self, source: str) -> str:
        """Return how a finding names a place in its configuration."""
        return f"{self.name}: {source}"


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
            Container(
                workload=workload,
                manifest=container,
                configuration=Configuration(
                    workload.pod_spec, container, self.files[workload.namespace], workload.fields
                ),
            )
            for workload in self.workloads
            for container in workload.containers
        ]

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
