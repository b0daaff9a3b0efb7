"""The order in which Argo CD applies and prunes: by phase, wave, kind and name."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, Key

PHASES = ("PreSync", "Sync", "PostSync")
SYNC = PHASES.index("Sync")
_KINDS = (
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
)
"""Order of kinds within a wave, which Argo CD took from Helm; all other kinds come last."""


class Step(NamedTuple):
    """A position in the sync; smaller comes first, so that a wave prunes before it applies."""

    phase: int
    wave: int
    applies: bool
    kind: int
    key: Key


def runs(desired: Desired) -> bool:
    """Whether a successful sync applies the object."""
    return not desired.hooks or bool(desired.hooks & set(PHASES))


def applying(desired: Desired) -> Step:
    """Return the step that applies an object."""
    phase = next((index for index, each in enumerate(PHASES) if each in desired.hooks), SYNC)
    return Step(phase, desired.wave, True, _index(desired.key), desired.key)  # noqa: FBT003 - a field


def pruning(live: Mapping[Key, Manifest]) -> Iterable[Step]:
    """Return the steps that prune objects, the last wave first."""
    waves = {key: Desired(manifest=manifest, file="").wave for key, manifest in live.items()}
    forwards = sorted(set(waves.values()))
    backwards = dict(zip(forwards, forwards[::-1], strict=True))
    return [
        Step(SYNC, backwards[wave], False, _index(key), key)  # noqa: FBT003 - a field
        for key, wave in waves.items()
    ]


def _index(key: Key) -> int:
    return _KINDS.index(key.kind) if key.kind in _KINDS else len(_KINDS)
