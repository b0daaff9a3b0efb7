"""What the rendered manifests make of a cluster: pods, the Services before them, their files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from delivery.git import resolve
from delivery.manifests.applications import declared, parse, require_manifests
from delivery.manifests.manifest import Labels, Manifest, selects
from delivery.manifests.tree import folders, read_dist
from delivery.network.addresses import Told
from delivery.network.policy import Network, Pod


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """What makes pods.

    Attributes:
        environment: The folder of dist.
        manifest: The Deployment, StatefulSet, Job or the like.
        template: The template of its pods.
    """

    environment: str
    manifest: Manifest
    template: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.manifest["metadata"]["name"]
        return name

    @property
    def namespace(self) -> str:
        """Where its pods run."""
        namespace: str = self.manifest["metadata"]["namespace"]
        return namespace

    @cached_property
    def pod(self) -> Pod:
        """What each of its pods looks like to a policy."""
        return Pod(
            name=self.name,
            namespace=self.namespace,
            labels=self.template["metadata"].get("labels", {}),
            named_ports={
                (port.get("protocol", "TCP"), port["name"]): port["containerPort"]
                for container in self.containers
                for port in container.get("ports", [])
                if "name" in port
            },
        )

    @property
    def containers(self) -> list[Manifest]:
        """All containers, those that run first included."""
        spec = self.template["spec"]
        return [*spec.get("initContainers", []), *spec["containers"]]

    @cached_property
    def listening(self) -> set[tuple[str, int]]:
        """The protocols and ports on which its containers say they listen."""
        return {
            (port.get("protocol", "TCP"), port["containerPort"])
            for container in self.containers
            for port in container.get("ports", [])
        }

    @property
    def replicas(self) -> int:
        """How many pods it states; 1 where something else decides."""
        replicas: int = self.manifest["spec"].get("replicas", 1)
        return replicas

    @property
    def pod_names(self) -> list[str]:
        """What its pods are called, which only those of a StatefulSet know before they run."""
        if self.manifest["kind"] != "StatefulSet":
            return []
        return [f"{self.name}-{ordinal}" for ordinal in range(self.replicas)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Service:
    """A name in DNS.

    Attributes:
        manifest: The Service.
        workloads: Those whose pods it selects.
    """

    manifest: Manifest
    workloads: Sequence[Workload]

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.manifest["metadata"]["name"]
        return name

    @property
    def headless(self) -> bool:
        """Whether the name stands for the pods themselves, so that no port is translated."""
        return bool(self.manifest["spec"].get("clusterIP") == "None")

    @property
    def lists_only_ready(self) -> bool:
        """Whether it hides a pod until the pod is ready."""
        return not self.manifest["spec"].get("publishNotReadyAddresses", False)

    def targets(self, port: Manifest) -> list[tuple[Workload, int | None]]:
        """Where one of its ports leads: a port of each workload, None for a name it lacks."""
        target = port.get("targetPort", port["port"])
        protocol = port.get("protocol", "TCP")
        return [
            (
                workload,
                workload.pod.named_ports.get((protocol, target))
                if isinstance(target, str)
                else target,
            )
            for workload in self.workloads
        ]


class Cluster:
    """All environments in one cluster.

    Args:
        folders: The objects of each folder of dist. A folder without pods, such as that of
            Argo CD's own objects, is no environment, but may say how namespaces are labelled.
    """

    def __init__(self, folders: Mapping[str, Sequence[Manifest]]) -> None:
        self._objects: dict[str, list[tuple[str, Manifest]]] = defaultdict(list)
        for folder, manifests in folders.items():
            for manifest in manifests:
                self._objects[manifest["kind"]].append((folder, manifest))
        self.workloads = [
            Workload(environment=folder, manifest=manifest, template=template)
            for kind in ("StatefulSet", "Deployment", "DaemonSet", "Job", "CronJob")
            for folder, manifest in self._objects[kind]
            for template in [_template(manifest)]
        ]
        # The folder of dist that each namespace comes from.
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

    def kind(self, kind: str) -> list[Manifest]:
        """All objects of a kind, of all environments."""
        return [manifest for _, manifest in self._objects[kind]]

    def network(self, others: Sequence[str]) -> Network:
        """The policies of all environments.

        Args:
            others: Further namespaces, without labels of their own.
        """
        labels: dict[str, Labels] = {name: {} for name in [*self.namespaces, *others]}
        for environment in parse([*self.kind("AppProject"), *self.kind("Application")]):
            labels[environment.namespace] = environment.labels
        return Network(self.kind("NetworkPolicy"), labels)

    def told(self, workload: Workload, container: Manifest) -> Told:
        """All that a container of a workload is told."""
        return Told(
            workload.template["spec"],
            container,
            self.files[workload.namespace],
            workload.pod_names,
            workload.namespace,
        )

    def _selected(self, service: Manifest) -> list[Workload]:
        labels = service["spec"].get("selector")
        return [
            workload
            for workload in self.workloads
            # Without a selector it selects nothing, unlike a policy's.
            if labels
            and workload.namespace == service["metadata"]["namespace"]
            and workload.replicas > 0
            and selects({"matchLabels": labels}, workload.pod.labels)
        ]


def _template(workload: Manifest) -> Manifest:
    spec = workload["spec"]
    template: Manifest = (
        spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    )
    return template


def load(repository: Path, commit: str | None = None) -> dict[str, list[Manifest]]:
    """Read `dist/`, in which each environment that `dist/argocd` declares must have manifests.

    Args:
        repository: Root of the Git working tree.
        commit: Revision whose dist is read. Default: the working tree.

    Returns:
        The objects of each folder of dist, by the folder's name; they must not be changed.

    Raises:
        GitError: If there is no such commit.
        TreeError: If dist is missing, incomplete or damaged.
    """
    files = read_dist(repository, None if commit is None else resolve(repository, commit))
    require_manifests(files, declared(files))
    return folders(files)
