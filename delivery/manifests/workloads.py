"""What makes pods: how many, from which template, and what the template uses."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key

KINDS = frozenset({"CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet"})

Objects = Mapping[Key, Manifest]
"""Live objects, by key."""


class Use(NamedTuple):
    """A claim that a container finds below a path.

    Attributes:
        claim: The PersistentVolumeClaim, or the claim template of a StatefulSet.
        path: Where the container has it.
        part: The part of the volume that it has.
    """

    claim: str
    path: str
    part: str


def template(workload: Manifest) -> Manifest:
    """The template of a workload's pods."""
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    found: Manifest = spec["template"]
    return found


def containers(workload: Manifest) -> list[Manifest]:
    """All containers of a workload's pods, those that run first included."""
    spec = template(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def labels(workload: Manifest) -> Mapping[str, str]:
    """The labels of a workload's pods."""
    return template(workload)["metadata"].get("labels") or {}


def select(objects: Objects, *kinds: str) -> Iterator[tuple[Key, Manifest]]:
    """The objects of some kinds, in order."""
    return ((key, objects[key]) for key in sorted(key for key in objects if key.kind in kinds))


def fewest(key: Key, workload: Manifest, objects: Objects) -> int:
    """How many pods of a workload run at rest."""
    autoscaler = _autoscaler(key, objects)
    if autoscaler is not None:
        return int(autoscaler["spec"].get("minReplicas", 1))
    return _stated(workload)


def most(key: Key, workload: Manifest, objects: Objects) -> int:
    """How many pods of a workload run at its maximum, outside of a rollout."""
    autoscaler = _autoscaler(key, objects)
    return _stated(workload) if autoscaler is None else int(autoscaler["spec"]["maxReplicas"])


def surge(workload: Manifest, replicas: int) -> int:
    """How many pods a rollout adds before it takes the first one away."""
    return share(rolling(workload).get("maxSurge", 0), replicas, round_up=True)


def unavailable(workload: Manifest, replicas: int) -> int:
    """How many pods of some replicas a rollout takes away at once."""
    if workload["spec"].get("strategy", {}).get("type") == "Recreate":
        return replicas
    if workload["kind"] == "StatefulSet":
        return 1
    away = share(rolling(workload).get("maxUnavailable", 1), replicas, round_up=False)
    # Neither more nor less could never start, so the controller takes one.
    return max(away, 1) if surge(workload, replicas) == 0 else away


def uses(workload: Manifest) -> set[Use]:
    """Where the containers of a workload find volumes that outlive them."""
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
    """The ConfigMaps and Secrets that a workload's pods are given, by kind and name."""
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
    """The environment variables that a workload's containers are given as plain values."""
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
    """Whether a HorizontalPodAutoscaler scales an object."""
    target = autoscaler["spec"]["scaleTargetRef"]
    return bool(target["kind"] == key.kind and target["name"] == key.name)


def _stated(workload: Manifest) -> int:
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if workload["kind"] in {"CronJob", "Job"}:
        return int(spec.get("parallelism", 1))
    # As many as there are nodes, of a DaemonSet: at least one.
    return int(spec.get("replicas", 1))


def rolling(workload: Manifest) -> Manifest:
    """How a workload replaces its pods bit by bit."""
    spec = workload["spec"]
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    rolling: Manifest = strategy.get("rollingUpdate") or {}
    return rolling


def share(amount: int | str, replicas: int, *, round_up: bool) -> int:
    """A number of pods.

    Args:
        amount: That number, or a percentage of the replicas.
        replicas: The number of all pods.
        round_up: Where a part of a pod counts as a whole one.
    """
    if isinstance(amount, int):
        return amount
    share = Fraction(amount.rstrip("%")) / 100 * replicas
    return ceil(share) if round_up else floor(share)
