"""What a rollout means: how many pods at once, whether anybody notices, and what is resumed."""

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest, selects
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects
from delivery.rehearsal.data import settings

_FLINK = "flink-conf.yaml"


def describe(key: Key, objects: Objects) -> list[str]:
    """Sentences about the rollout of a workload.

    Args:
        key: The workload.
        objects: All objects, as the API server has them after the sync.
    """
    workload = objects[key]
    replicas = workloads.fewest(key, workload, objects)
    away = min(workloads.unavailable(workload, replicas), replicas)
    return [
        _pace(workload, replicas, away),
        *_budget(key, workload, objects, replicas - away),
        *_checkpoint(workload, objects),
    ]


def outage(key: Key, objects: Objects) -> bool:
    """Whether a rollout leaves a moment without any pod."""
    workload = objects[key]
    replicas = workloads.fewest(key, workload, objects)
    return workloads.unavailable(workload, replicas) >= replicas


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
        return f"{pods}{held}: each goes when its successor is ready"
    return f"{pods}{held}, {away} at once"


def _budget(key: Key, workload: Manifest, objects: Objects, left: int) -> list[str]:
    """A rollout does not ask the PodDisruptionBudgets, but they tell what the owner can bear."""
    found = workloads.labels(workload)
    replicas = workloads.fewest(key, workload, objects)
    said = []
    for budget, manifest in workloads.select(objects, "PodDisruptionBudget"):
        spec = manifest["spec"]
        if budget.namespace != key.namespace or not selects(spec.get("selector") or {}, found):
            continue
        if "minAvailable" in spec:
            needed = workloads.share(spec["minAvailable"], replicas, round_up=True)
        else:
            allowed = spec.get("maxUnavailable", 1)
            needed = replicas - workloads.share(allowed, replicas, round_up=True)
        if left < needed:
            said.append(
                f"for a while {left} of them are left, and {budget} asks for {needed}: an outage"
            )
    return said


def _checkpoint(workload: Manifest, objects: Objects) -> list[str]:
    """What a JobManager resumes from: the claim below the folder that Flink is told."""
    if not any("jobmanager" in " ".join(each.get("command", [])) for each in _main(workload)):
        return []
    configured = [
        settings(manifest["data"][_FLINK]).get("state.checkpoints.dir", "")
        for key, manifest in workloads.select(objects, "ConfigMap")
        if ("ConfigMap", key.name) in workloads.read(workload)
        and _FLINK in (manifest.get("data") or {})
    ]
    if not configured:
        return []
    folder = configured[0].removeprefix("file://")
    holding = [
        use.claim for use in workloads.uses(workload) if f"{folder}/".startswith(f"{use.path}/")
    ]
    if not holding:
        return ["the job starts empty: no claim holds its checkpoints"]
    return [f"the job resumes from its newest checkpoint, on the claim {holding[0]}"]


def _main(workload: Manifest) -> list[Manifest]:
    containers: list[Manifest] = workloads.template(workload)["spec"]["containers"]
    return containers
