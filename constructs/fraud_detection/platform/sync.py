"""How Argo CD applies an object: in which wave, as which hook, and what it may never delete."""

from collections.abc import Mapping
from enum import Enum, IntEnum

from cdk8s_plus_27 import k8s


class Wave(IntEnum):
    """When an object is applied; a wave starts once all of the one before are healthy."""

    NAMESPACE = -1
    """Quota, limits and the default deny: in force before the first pod."""
    DATA_STORES = 0
    TOPIC = 1
    """After the brokers, before the first application that would create the topic itself."""
    APPLICATIONS = 2


class Hook(Enum):
    """When Argo CD runs a Job; each sync deletes the previous run and starts a new one."""

    SYNC = "Sync"
    """In its wave, like any other object."""
    POST_SYNC = "PostSync"
    """Once everything is applied and healthy."""


KEEP_DATA: Mapping[str, str] = {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
"""Annotation of an object with data: no sync prunes it and no removed Application deletes it."""


def metadata(
    name: str,
    *,
    wave: Wave,
    hook: Hook | None = None,
    annotations: Mapping[str, str] | None = None,
) -> k8s.ObjectMeta:
    """Name an object and tell Argo CD when to apply it.

    Args:
        name: Name of the object; part of the contract with the cluster, never derived.
        wave: The sync wave.
        hook: Makes a Job a hook, replaced at every sync. Default: an ordinary object.
        annotations: Further annotations.
    """
    values = {"argocd.argoproj.io/sync-wave": str(int(wave)), **(annotations or {})}
    if hook is not None:
        values["argocd.argoproj.io/hook"] = hook.value
        values["argocd.argoproj.io/hook-delete-policy"] = "BeforeHookCreation"
    return k8s.ObjectMeta(name=name, annotations=values)
