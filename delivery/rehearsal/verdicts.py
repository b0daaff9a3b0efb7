"""Verdicts on objects, derived from what the API server did."""

from enum import Enum

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.manifests.workloads import Objects
from delivery.rehearsal.outcomes import Action, Outcome, same

_ROLLING = frozenset({"DaemonSet", "Deployment", "StatefulSet"})


class Verdict(Enum):
    """The effect of the sync on an object, the most serious first."""

    REFUSED = "refused"
    """It is not applied and the sync fails, or its pods are never created."""
    OUT_OF_BOUNDS = "out of bounds"
    """The sync reaches beyond its environment."""
    REPLACE_NEEDED = "replace needed"
    """An immutable field changes: the sync fails until somebody deletes the object."""
    DATA_AT_RISK = "data at risk"
    """The sync may succeed, but stored data is lost or no longer found."""
    PRUNED = "pruned"
    """It is no longer in the tree, and is deleted."""
    LEFT_BEHIND = "left behind"
    """It is no longer in the tree, but stays in the cluster."""
    RECREATED = "deleted and created again"
    """A hook changes, or an object gets a new name."""
    PODS_ROLL = "pods roll"
    """Its pods are replaced by new ones."""
    IN_PLACE = "in place"
    """It changes without replacing a pod."""
    CREATED = "created"
    """It is new."""
    UNCHANGED = "unchanged"
    """Applying it changes nothing."""

    @property
    def slug(self) -> str:
        """The verdict as typed on a command line."""
        return self.value.replace(" ", "-")

    @property
    def blocks(self) -> bool:
        """Whether the change must not be merged as it is."""
        return self in {
            Verdict.REFUSED,
            Verdict.OUT_OF_BOUNDS,
            Verdict.REPLACE_NEEDED,
            Verdict.DATA_AT_RISK,
        }


def judge(outcome: Outcome, objects: Objects) -> Verdict:
    """Judge one object, apart from its data and the admission of its pods."""
    if outcome.refusal is not None:
        barred = outcome.refusal.by_transition
        return Verdict.REPLACE_NEEDED if barred else Verdict.REFUSED
    if outcome.action in _BY_ACTION:
        return _BY_ACTION[outcome.action]
    if outcome.before is None or outcome.after is None:
        return Verdict.CREATED
    if same(outcome.before, outcome.after):
        return Verdict.UNCHANGED
    rolls = (
        template_changes(outcome)
        and not waits(outcome.after)
        and workloads.fewest(outcome.key, outcome.after, objects) > 0
    )
    return Verdict.PODS_ROLL if rolls else Verdict.IN_PLACE


_BY_ACTION = {
    Action.PRUNED: Verdict.PRUNED,
    Action.LEFT: Verdict.LEFT_BEHIND,
    Action.RECREATED: Verdict.RECREATED,
    Action.SKIPPED: Verdict.UNCHANGED,
}


def template_changes(outcome: Outcome) -> bool:
    """Whether the pod template of a workload changes, with all defaults set."""
    before, after = outcome.before, outcome.after
    return (
        outcome.key.kind in _ROLLING
        and before is not None
        and after is not None
        and workloads.template(before) != workloads.template(after)
    )


def waits(workload: Manifest) -> bool:
    """Whether a workload keeps its pods when their template changes."""
    spec = workload["spec"]
    return bool(spec.get("paused") or spec.get("updateStrategy", {}).get("type") == "OnDelete")
