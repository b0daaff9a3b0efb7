"""Instructions to Argo CD for an object: its wave, its hook, and whether it may be deleted."""

from collections.abc import Mapping
from enum import Enum, IntEnum

from cdk8s_plus_27 import k8s


class Wave(IntEnum):
    """The sync wave of an object; a wave starts when all objects of the one before are healthy."""

    NAMESPACE = -1
    """Quota, limits and the default deny, in force before the first pod."""
    DATA_STORES = 0
    TOPIC = 1
    """After the brokers and before the applications, one of which would create the topic itself."""
    APPLICATIONS = 2


class Hook(Enum):
    """The point at which Argo CD runs a Job; each sync replaces the previous run."""

    SYNC = "Sync"
    """In its wave, like any other object."""
    POST_SYNC = "PostSync"
    """After everything is applied and healthy."""


KEEP_DATA: Mapping[str, str] = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
"""Annotation of an object with data: neither a sync nor a deleted Application removes it."""


def metadata(
    name: str,
    *,
    wave: Wave,
    hook: Hook | None = None,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> k8s.ObjectMeta:
    """Return the metadata of an object: its name and the instructions to Argo CD.

    Args:
        name: Name of the object; part of the contract with the cluster, never derived.
        wave: The sync wave.
        hook: The hook, for a Job that is replaced at every sync. Default: an ordinary object.
        annotations: Further annotations.
        labels: Labels. Default: those of the chart alone.
    """
    values = {"argocd.argoproj.io/sync-wave": str(int(wave)), **(annotations or {})}
    if hook is not None:
        values["argocd.argoproj.io/hook"] = hook.value
        values["argocd.argoproj.io/hook-delete-policy"] = "BeforeHookCreation"
    return k8s.ObjectMeta(name=name, annotations=values, labels=labels)
