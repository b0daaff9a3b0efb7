"""In which order Argo CD applies and prunes: by phase, wave, kind and name."""

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
"""What comes first within a wave, as Argo CD has it from Helm; all other kinds come last."""


class Step(NamedTuple):
    """When something is done to an object; smaller comes first.

    Attributes:
        phase: Its number.
        wave: Of the phase.
        applies: Within a wave, what is gone is pruned first.
        kind: Its number.
        key: The object.
    """

    phase: int
    wave: int
    applies: bool
    kind: int
    key: Key


def runs(desired: Desired) -> bool:
    """Whether a sync that succeeds does anything with the object."""
    return not desired.hooks or bool(desired.hooks & set(PHASES))


def applying(desired: Desired) -> Step:
    """When an object is applied."""
    phases = [number for number, phase in enumerate(PHASES) if phase in desired.hooks]
    phase = phases[0] if phases else SYNC
    return Step(phase, desired.wave, True, _number(desired.key), desired.key)  # noqa: FBT003 - a field


def pruning(live: Mapping[Key, Manifest]) -> Iterable[Step]:
    """When objects are pruned: the last wave first."""
    waves = {key: Desired(manifest=manifest, file="").wave for key, manifest in live.items()}
    forwards = sorted(set(waves.values()))
    backwards = dict(zip(forwards, reversed(forwards), strict=True))
    return [
        Step(SYNC, backwards[wave], False, _number(key), key)  # noqa: FBT003 - a field
        for key, wave in waves.items()
    ]


def _number(key: Key) -> int:
    return _KINDS.index(key.kind) if key.kind in _KINDS else len(_KINDS)
