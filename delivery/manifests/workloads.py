"""Workloads: their pods, how these roll, and the objects that they use."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key

KINDS = frozenset({"CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet"})
"""Kinds of objects that make pods."""

Objects = Mapping[Key, Manifest]
"""Live objects, by key."""


class Use(NamedTuple):
    """A claim that a container mounts.

    Attributes:
        claim: Name of the PersistentVolumeClaim, or of the claim template of a StatefulSet.
        path: Mount path in the container.
        part: Sub-path of the volume; empty for all of it.
    """

    claim: str
    path: str
    part: str


def template(workload: Manifest) -> Manifest:
    """Return the template of a workload's pods."""
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: Manifest = spec["template"]
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
    if autoscaler is not None:
        return int(autoscaler["spec"].get("minReplicas", 1))
    return _stated(workload)


def most(key: Key, workload: Manifest, objects: Objects) -> int:
    """Return how many pods of a workload run at most, except during a rollout."""
    autoscaler = _autoscaler(key, objects)
    return _stated(workload) if autoscaler is None else int(autoscaler["spec"]["maxReplicas"])


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
    found: set[tuple[str, str | None]] = set()
    for volume in template(workload)["spec"].get("volumes", []):
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for source in sources:
            config_map, secret = source.get("configMap", {}), source.get("secret", {})
            found.add(("ConfigMap", config_map.get("name")))
            found.add(("Secret", secret.get("secretName", secret.get("name"))))
    for container in containers(workload):
        for source in container.get("envFrom", []):
            found.add(("ConfigMap", source.get("configMapRef", {}).get("name")))
            found.add(("Secret", source.get("secretRef", {}).get("name")))
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            found.add(("ConfigMap", source.get("configMapKeyRef", {}).get("name")))
            found.add(("Secret", source.get("secretKeyRef", {}).get("name")))
    return {(kind, name) for kind, name in found if name}


def variables(workload: Manifest) -> dict[str, str]:
    """Return the environment variables of a workload's containers that have plain values."""
    return {
        variable["name"]: variable["value"]
        for container in containers(workload)
        for variable in container.get("env", [])
        if "value" in variable
    }


def _autoscaler(key: Key, objects: Objects) -> Manifest | None:
    found: Iterable[Manifest] = (
        autoscaler
        for _, autoscaler in select(objects, "HorizontalPodAutoscaler")
        if targets(autoscaler, key)
    )
    return next(iter(found), None)


def targets(autoscaler: Manifest, key: Key) -> bool:
    """Tell whether a HorizontalPodAutoscaler scales an object."""
    target = autoscaler["spec"]["scaleTargetRef"]
    return bool(target["kind"] == key.kind and target["name"] == key.name)


def _stated(workload: Manifest) -> int:
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if workload["kind"] in {"CronJob", "Job"}:
        return int(spec.get("parallelism", 1))
    # A DaemonSet has as many as there are nodes: at least one.
    return int(spec.get("replicas", 1))


def rolling(workload: Manifest) -> Manifest:
    """Return the settings of a workload's rolling update."""
    spec = workload["spec"]
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    rolling: Manifest = strategy.get("rollingUpdate") or {}
    return rolling


def share(amount: int | str, replicas: int, *, round_up: bool) -> int:
    """Return a number of pods.

    Args:
        amount: The number, or a percentage of the replicas.
        replicas: Number of all pods.
        round_up: Whether to round a percentage up rather than down.
    """
    if isinstance(amount, int):
        return amount
    share = Fraction(amount.rstrip("%")) / 100 * replicas
    return ceil(share) if round_up else floor(share)
