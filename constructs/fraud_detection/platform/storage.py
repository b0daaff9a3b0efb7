"""Volume claims for data that outlives pods, syncs and Applications."""

from enum import Enum
from typing import Any

from cdk8s_plus_27 import k8s

from fraud_detection.platform.sync import KEEP_DATA
from fraud_detection.platform.values import quantity


class AccessMode(Enum):
    """The nodes that may mount a volume."""

    ONE_NODE = "ReadWriteOnce"
    """All pods of one node; the default storage of every cluster supports it."""
    ALL_NODES = "ReadWriteMany"
    """Pods of any node; this needs a shared file system."""


def claim_spec(
    *, size: int, access_mode: AccessMode, storage_class: str | None
) -> k8s.PersistentVolumeClaimSpec:
    """Return a request for a volume.

    Args:
        size: Size in GiB; it can grow if the storage class allows it, and never shrink.
        access_mode: The nodes that may mount it; immutable.
        storage_class: Name of the StorageClass; immutable. None: the default of the cluster.
    """
    return k8s.PersistentVolumeClaimSpec(
        access_modes=[access_mode.value],
        resources=k8s.ResourceRequirements(requests={"storage": quantity(f"{size}Gi")}),
        storage_class_name=storage_class,
        volume_mode="Filesystem",
    )


class StatefulSet(k8s.KubeStatefulSet):
    """A StatefulSet whose volume claim templates keep `apiVersion` and `kind`.

    The typed L1 drops both, and Argo CD then sees a permanent difference under server-side apply.
    """

    def to_json(self) -> Any:  # noqa: ANN401 - the signature of the overridden method
        """Render the object."""
        manifest = super().to_json()
        for template in manifest["spec"]["volumeClaimTemplates"]:
            template.update(apiVersion="v1", kind="PersistentVolumeClaim")
        return manifest


def claim_template(
    name: str, *, size: int, storage_class: str | None
) -> k8s.KubePersistentVolumeClaimProps:
    """Return the template of a claim that a StatefulSet creates for each of its pods.

    Argo CD does not track these claims, so no sync can prune them.

    Args:
        name: Name of the volume in the pods.
        size: Size in GiB.
        storage_class: Name of the StorageClass. None: the default of the cluster.
    """
    return k8s.KubePersistentVolumeClaimProps(
        metadata=k8s.ObjectMeta(name=name, annotations=dict(KEEP_DATA)),
        spec=claim_spec(size=size, access_mode=AccessMode.ONE_NODE, storage_class=storage_class),
    )


KEEP_CLAIMS = k8s.StatefulSetPersistentVolumeClaimRetentionPolicy(
    when_deleted="Retain", when_scaled="Retain"
)
"""A policy that keeps the volumes of a StatefulSet that is deleted or scaled down."""
