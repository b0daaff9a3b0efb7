"""Bounds of an environment: what its sync must leave alone, even where its project allows it."""

from collections.abc import Mapping

from delivery.manifests.applications import Environment
from delivery.manifests.tree import Key, annotation
from delivery.rehearsal.outcomes import Outcome


def trespass(outcome: Outcome, environment: Environment, others: Mapping[Key, str]) -> str | None:
    """Return why an object does not belong to the environment alone, or None if it does.

    Args:
        outcome: The result for the object.
        environment: The environment that is synced.
        others: Folders of the objects that other Applications apply.
    """
    key = outcome.key
    if not key.namespace:
        return "it exists once in the cluster, for all environments"
    if key.namespace != environment.namespace:
        return f"it is in the namespace {key.namespace}, not in {environment.namespace}"
    if key in others:
        return f"{others[key]} has it as well: both Applications would apply it in turn"
    tracked = outcome.wanted and annotation(outcome.wanted.manifest, "tracking-id")
    owner = tracked.partition(":")[0] if tracked else environment.application
    if owner != environment.application:
        return f"its tracking-id names another Application, {owner}"
    return None
