"""The course of a rollout: how many pods are replaced at once, and whether clients notice."""

from collections.abc import Iterator

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest, selects
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects
from delivery.products.catalog import PRODUCTS


def describe(key: Key, objects: Objects) -> list[str]:
    """Return sentences about the rollout of a workload, given all objects after the sync."""
    workload = objects[key]
    replicas = workloads.fewest(key, workload, objects)
    away = min(workloads.unavailable(workload, replicas), replicas)
    return [
        _pace(workload, replicas, away),
        *_exceeded_budgets(key, workload, objects, replicas, away),
        *(each for product in PRODUCTS for each in product.rollout_remarks(workload, objects)),
    ]


def _pace(workload: Manifest, replicas: int, away: int) -> str:
    pods = "its only pod" if replicas == 1 else f"{replicas} pods"
    if away >= replicas:
        recreate = workload["spec"].get("strategy", {}).get("type") == "Recreate"
        why = " (Recreate)" if recreate else ""
        how = "stops before the new one is ready" if replicas == 1 else "stop at once"
        return f"{pods} {how}{why}: an outage"
    partition = workloads.rolling(workload).get("partition", 0)
    held = f", only those from number {partition} on" if partition else ""
    if away == 0:
        return f"{pods}{held}: each stops when its successor is ready"
    return f"{pods}{held}, {away} at once"


def _exceeded_budgets(
    key: Key, workload: Manifest, objects: Objects, replicas: int, away: int
) -> Iterator[str]:
    """Return the budgets that the rollout exceeds.

    A rollout ignores PodDisruptionBudgets, but they show how few pods the owner accepts.
    """
    labels = workloads.labels(workload)
    left = replicas - away
    for budget, manifest in workloads.select(objects, "PodDisruptionBudget"):
        spec = manifest["spec"]
        if budget.namespace != key.namespace or not selects(spec.get("selector") or {}, labels):
            continue
        if "minAvailable" in spec:
            needed = workloads.share(spec["minAvailable"], replicas, round_up=True)
        else:
            allowed = spec.get("maxUnavailable", 1)
            needed = replicas - workloads.share(allowed, replicas, round_up=True)
        if left < needed:
            yield f"only {left} of them stay ready, but {budget} requires {needed}: an outage"
