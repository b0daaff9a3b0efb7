"""Storage as a real cluster would provide it, where no controller provisions or binds volumes."""

from delivery.control_plane.client import Client, Reference
from delivery.manifests.manifest import Manifest

_DEFAULT_CLASS = "default-of-the-cluster"
"""StorageClass of the claims that name none: the name in the real cluster is unknown."""


def claims(manifest: Manifest) -> list[Manifest]:
    """Return the specs of the volume claims that an object is or makes."""
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "PersistentVolumeClaim":
        return [spec]
    templates = spec.get("volumeClaimTemplates") or []
    return [each.get("spec") or {} for each in templates if manifest["kind"] == "StatefulSet"]


def storage_class(name: str | None) -> Manifest:
    """Describe a StorageClass that can expand its volumes; None is the cluster's default class."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name or _DEFAULT_CLASS, "annotations": {} if name else default},
        "provisioner": "kubernetes.io/no-provisioner",
        "allowVolumeExpansion": True,
    }


def bind(client: Client, claim: Manifest) -> Manifest:
    """Bind a PersistentVolumeClaim to a volume of the requested size, and return it."""
    reference = Reference.of(claim)
    client.merge(reference, {"spec": {"volumeName": "volume"}})
    status = {
        "phase": "Bound",
        "accessModes": claim["spec"]["accessModes"],
        "capacity": claim["spec"]["resources"]["requests"],
    }
    return client.merge(reference, {"status": status}, subresource="status")
