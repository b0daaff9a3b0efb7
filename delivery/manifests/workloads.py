"""Workloads: their pods, how these roll, and the objects that they use."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key

KINDS = frozenset({"CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet"})
"""Kinds of objects that make pods."""

_REFERENCES = {
    "ConfigMap": {"configMap", "configMapRef", "configMapKeyRef"},
    "Secret": {"secret", "secretRef", "secretKeyRef"},
}
"""Fields of a volume, an `envFrom` or a `valueFrom` that name the object to read."""
Objects = Mapping[Key, Manifest]
"""Live objects, by key."""


class Use(NamedTuple):
    """A claim, or claim template, that a container mounts; the part is a sub-path or empty."""

    claim: str
    path: str
    part: str


def template(workload: Manifest) -> Manifest:
    """Return the template of a workload's pods."""
    found: Manifest = _spec(workload)["template"]
    return found


def containers(workload: Manifest) -> list[Manifest]:
    """Return all containers of a workload's pods, including init containers."""
    spec = template(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def labels(workload: Manifest) -> Mapping[str, str]:
    """Return the labels of a workload's pods."""
    return template(workload)["metadata"].get("labels") or {}


def select(objects: Objects, *kinds: str) -> Iterator[tuple[Key, Manifest]]:
    """Return the objects of some kinds, sorted by key."""
    return ((key, objects[key]) for key in sorted(key for key in objects if key.kind in kinds))


def fewest(key: Key, workload: Manifest, objects: Objects) -> int:
    """Return how many pods of a workload run at rest."""
    autoscaler = _autoscaler(key, objects)
    return int(autoscaler.get("minReplicas", 1)) if autoscaler else _configured(workload)


def most(key: Key, workload: Manifest, objects: Objects) -> int:
    """Return how many pods of a workload run at most, except during a rollout."""
    autoscaler = _autoscaler(key, objects)
    return int(autoscaler["maxReplicas"]) if autoscaler else _configured(workload)


def surge(workload: Manifest, replicas: int) -> int:
    """Return how many pods a rollout adds before it stops the first one."""
    return share(rolling(workload).get("maxSurge", 0), replicas, round_up=True)


def unavailable(workload: Manifest, replicas: int) -> int:
    """Return how many of a number of replicas a rollout stops at once."""
    if workload["spec"].get("strategy", {}).get("type") == "Recreate":
        return replicas
    if workload["kind"] == "StatefulSet":
        return 1
    away = share(rolling(workload).get("maxUnavailable", 1), replicas, round_up=False)
    # A rollout that may neither add nor stop pods could never start: the controller stops one.
    return max(away, 1) if surge(workload, replicas) == 0 else away


def uses(workload: Manifest) -> set[Use]:
    """Return the claims that the containers of a workload mount."""
    names = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in template(workload)["spec"].get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        names[claim["metadata"]["name"]] = claim["metadata"]["name"]
    return {
        Use(names[mount["name"]], mount["mountPath"], mount.get("subPath", ""))
        for container in containers(workload)
        for mount in container.get("volumeMounts", [])
        if mount["name"] in names
    }


def read(workload: Manifest) -> set[tuple[str, str]]:
    """Return the ConfigMaps and Secrets that a workload's pods read, by kind and name."""
    sources: list[Manifest] = []
    for volume in template(workload)["spec"].get("volumes", []):
        sources += [volume, *volume.get("projected", {}).get("sources", [])]
    for container in containers(workload):
        sources += container.get("envFrom", [])
        sources += (variable.get("valueFrom", {}) for variable in container.get("env", []))
    return {
        (kind, source[field].get("secretName") or source[field]["name"])
        for source in sources
        for kind, fields in _REFERENCES.items()
        for field in fields & source.keys()
    }


def variables(workload: Manifest) -> dict[str, str]:
    """Return the environment variables of a workload's containers that have plain values."""
    return {
        variable["name"]: variable["value"]
        for container in containers(workload)
        for variable in container.get("env", [])
        if "value" in variable
    }


def _autoscaler(key: Key, objects: Objects) -> Manifest:
    """Return the spec of the workload's autoscaler, or an empty one."""
    for _, autoscaler in select(objects, "HorizontalPodAutoscaler"):
        spec: Manifest = autoscaler["spec"]
        target = spec["scaleTargetRef"]
        if (target["kind"], target["name"]) == (key.kind, key.name):
            return spec
    return {}


def _configured(workload: Manifest) -> int:
    count = "parallelism" if workload["kind"] in {"CronJob", "Job"} else "replicas"
    # A DaemonSet has as many as there are nodes: at least one.
    return int(_spec(workload).get(count, 1))


def _spec(workload: Manifest) -> Manifest:
    """Return the spec around the pod template."""
    spec: Manifest = workload["spec"]
    return spec["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else spec


def rolling(workload: Manifest) -> Manifest:
    """Return the settings of a workload's rolling update."""
    spec = workload["spec"]
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    rolling: Manifest = strategy.get("rollingUpdate") or {}
    return rolling


def share(amount: int | str, replicas: int, *, round_up: bool) -> int:
    """Return a number of pods, given as such or as a percentage of the replicas."""
    if isinstance(amount, int):
        return amount
    share = Fraction(amount.rstrip("%")) / 100 * replicas
    return ceil(share) if round_up else floor(share)
