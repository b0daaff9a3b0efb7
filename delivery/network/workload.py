"""Objects that make pods."""

from dataclasses import dataclass
from functools import cached_property

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.network.policy import Pod

OWN_ADDRESS = "127.0.0.1"
"""Placeholder for a pod's own address, which is unknown before the pod runs."""


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
