"""What the sync does to each object, in one word, read off from what the API server did."""

from enum import Enum

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest
from delivery.manifests.workloads import Objects
from delivery.rehearsal.play import Action, Outcome, same

_ROLLING = frozenset({"DaemonSet", "Deployment", "StatefulSet"})


class Verdict(Enum):
    """What the sync does to an object; those that a reviewer must see stand first."""

    REFUSED = "refused"
    """It is not applied, and the sync fails; or its pods are never made."""
    REPLACE_NEEDED = "replace needed"
    """A field cannot be changed: the sync fails until somebody deletes the object."""
    DATA_AT_RISK = "data at risk"
    """The sync may succeed, and what was stored is lost or not found again."""
    PRUNED = "pruned"
    """It is deleted: it is not in the tree any more."""
    LEFT_BEHIND = "left behind"
    """It is not in the tree any more, and stays all the same."""
    RECREATED = "deleted and created again"
    """A hook with a change, or an object with a new name."""
    PODS_ROLL = "pods roll"
    """Its pods are replaced by new ones."""
    IN_PLACE = "in place"
    """It changes, and no pod is replaced for that."""
    CREATED = "created"
    """It is new."""
    UNCHANGED = "unchanged"
    """The API server saw nothing to change."""

    @property
    def slug(self) -> str:
        """As it is typed on a command line."""
        return self.value.replace(" ", "-")

    @property
    def blocks(self) -> bool:
        """Whether the change should not be merged as it is."""
        return self in {Verdict.REFUSED, Verdict.REPLACE_NEEDED, Verdict.DATA_AT_RISK}


def judge(outcome: Outcome, objects: Objects) -> Verdict:
    """The verdict on one object, before anybody asks about its data or its pods' admission.

    Args:
        outcome: What became of it.
        objects: All, as the API server has them after the sync.
    """
    if outcome.refusal is not None:
        barred = outcome.refusal.by_transition
        return Verdict.REPLACE_NEEDED if barred else Verdict.REFUSED
    if outcome.action in _BY_ACTION:
        return _BY_ACTION[outcome.action]
    if outcome.before is None or outcome.after is None:
        return Verdict.CREATED
    if same(outcome.before, outcome.after):
        return Verdict.UNCHANGED
    return Verdict.PODS_ROLL if _rolls(outcome, objects) else Verdict.IN_PLACE


_BY_ACTION = {
    Action.PRUNED: Verdict.PRUNED,
    Action.LEFT: Verdict.LEFT_BEHIND,
    Action.RECREATED: Verdict.RECREATED,
    Action.SKIPPED: Verdict.UNCHANGED,
}


def template_changes(outcome: Outcome) -> bool:
    """Whether the template of a workload's pods is another one, defaults filled in."""
    before, after = outcome.before, outcome.after
    return (
        outcome.key.kind in _ROLLING
        and before is not None
        and after is not None
        and workloads.template(before) != workloads.template(after)
    )


def _rolls(outcome: Outcome, objects: Objects) -> bool:
    return (
        template_changes(outcome)
        and outcome.after is not None
        and not waits(outcome.after)
        and workloads.fewest(outcome.key, outcome.after, objects) > 0
    )


def waits(workload: Manifest) -> bool:
    """Whether a workload leaves its pods alone although their template changed."""
    spec = workload["spec"]
    return bool(spec.get("paused") or spec.get("updateStrategy", {}).get("type") == "OnDelete")
