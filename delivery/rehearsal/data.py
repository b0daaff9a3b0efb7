"""Where a change puts stored data at risk: volumes, the topic, and what Flink can resume from.

What cannot be known from manifests: whether a new image still reads what the old one wrote.
"""

from collections.abc import Iterator

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects
from delivery.rehearsal.outcomes import Action, Outcome

_KEEPERS = frozenset({"PersistentVolumeClaim", "StatefulSet"})
_SETTINGS = {
    "flink-conf.yaml": {
        "pipeline.max-parallelism": "a job with another number cannot read the checkpoints",
        "state.backend.type": "the checkpoints of one state backend mean nothing to another",
        "state.checkpoints.dir": "the job looks for its checkpoints elsewhere and starts empty",
        "execution.checkpointing.externalized-checkpoint-retention": (
            "Flink deletes the checkpoints that the next JobManager would resume from"
        ),
    },
    "redis.conf": {
        "appendonly": "what is not in the append-only file is not read at the next start",
        "dir": "Redis looks for its data elsewhere and starts empty",
    },
    "redpanda.yaml": {
        "data_directory": "the broker looks for its data elsewhere and starts empty",
    },
}
"""What must stay as it is in a file of a ConfigMap, and why."""


def risks(outcome: Outcome, after: Objects) -> list[str]:
    """Why a change to one object puts data at risk; none: it does not.

    Args:
        outcome: What became of the object.
        after: All objects, as the API server has them after the sync.
    """
    return [
        *_of_keeper(outcome),
        *_of_uses(outcome),
        *_of_topic(outcome),
        *_of_settings(outcome),
        *_of_scale(outcome, after),
    ]


def of_new_name(key: Key) -> str | None:
    """Why a new name puts data at risk, or None: it does not."""
    if key.kind == "StatefulSet":
        return "claims have the name of their StatefulSet in theirs: the new one starts empty"
    if key.kind == "PersistentVolumeClaim":
        return "the new claim gets an empty volume, whatever becomes of the old one"
    return None


def _of_keeper(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind not in _KEEPERS or outcome.before is None:
        return
    if outcome.action in {Action.PRUNED, Action.RECREATED}:
        if outcome.key.kind == "PersistentVolumeClaim":
            yield "its volume is deleted with it, unless the storage class keeps it"
        elif _deletes(outcome.before):
            yield "its pods go; their claims are deleted with it"
        elif outcome.action is Action.PRUNED:
            yield "its pods go; their claims stay, and nobody reads them"
    if outcome.claims_barred:
        yield "claim templates cannot be changed: a new StatefulSet must take over the old claims"
    if outcome.key.kind == "PersistentVolumeClaim" and outcome.refusal is not None:
        if outcome.refusal.by_transition:
            yield "a claim like that can only be had anew, without what is on the volume"
    elif outcome.after is not None and _deletes(outcome.after) and not _deletes(outcome.before):
        yield "from now on its claims are deleted with it, or with each pod that it loses"


def _deletes(stateful_set: Manifest) -> bool:
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy", {})
    return "Delete" in policy.values()


def _of_scale(outcome: Outcome, after: Objects) -> Iterator[str]:
    if outcome.key.kind != "StatefulSet" or outcome.before is None or outcome.after is None:
        return
    was = outcome.before["spec"]["replicas"]
    now = workloads.fewest(outcome.key, outcome.after, after)
    if now < was:
        yield f"from {was} to {now} pods: what only the others have stored is out of reach"


def _of_uses(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind not in workloads.KINDS or not (outcome.was and outcome.wanted):
        return
    before, wanted = outcome.was.manifest, outcome.wanted.manifest
    for use in sorted(workloads.uses(before) - workloads.uses(wanted)):
        part = f", part {use.part}," if use.part else ""
        yield f"its containers no longer find the claim {use.claim}{part} at {use.path}"


def _of_topic(outcome: Outcome) -> Iterator[str]:
    """The Job that makes a topic says in its variables what it must be."""
    was = _topic(outcome.was.manifest) if outcome.was else None
    if was is None:
        return
    name, partitions, replicas = was
    now = _topic(outcome.wanted.manifest) if outcome.wanted else None
    if now is None:
        yield f"nothing makes the topic {name} any more: its clients find it lesser or not at all"
        return
    if now[0] != name:
        yield f"what nobody has read yet stays in the topic {name}, and {now[0]} starts empty"
        return
    if now[1] < partitions:
        yield f"from {partitions} to {now[1]} partitions: Kafka cannot take partitions away"
    if now[2] < replicas:
        yield f"from {replicas} to {now[2]} replicas: fewer brokers have each transaction"


def _topic(manifest: Manifest) -> tuple[str, int, int] | None:
    if manifest["kind"] != "Job":
        return None
    variables = workloads.variables(manifest)
    try:
        return variables["TOPIC"], int(variables["PARTITIONS"]), int(variables["REPLICAS"])
    except (KeyError, ValueError):
        return None


def _of_settings(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind != "ConfigMap" or not (outcome.was and outcome.wanted):
        return
    was = outcome.was.manifest.get("data") or {}
    now = outcome.wanted.manifest.get("data") or {}
    for file, reasons in _SETTINGS.items():
        if file in was and file in now:
            before, after = settings(was[file]), settings(now[file])
            for name, reason in reasons.items():
                if before.get(name) != after.get(name):
                    told = f"{before.get(name, 'unset')} → {after.get(name, 'unset')}"
                    yield f"{name} in {file}: {told}: {reason}"


def settings(text: str) -> dict[str, str]:
    """The settings of a file with one a line, with or without a colon after the name."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.replace(": ", " ", 1).partition(" ") for line in lines)
    return {name: value.strip() for name, _, value in pairs}
