"""Risks of a change to stored data: to volumes, and to the data of products in them."""

from collections.abc import Iterator

from delivery.manifests import workloads
from delivery.manifests.fields import MISSING, transition
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects
from delivery.products.catalog import PRODUCTS, version_risks
from delivery.products.settings import settings
from delivery.rehearsal.outcomes import Action, Outcome

_STORES = frozenset({"PersistentVolumeClaim", "StatefulSet"})


def risks(outcome: Outcome, after: Objects) -> list[str]:
    """Return why a change to one object puts data at risk; empty if it does not."""
    return [
        *_store_risks(outcome),
        *_mount_risks(outcome),
        *_product_risks(outcome, after),
        *_setting_risks(outcome),
        *_version_risks(outcome),
        *_scale_risks(outcome, after),
    ]


def remarks(outcome: Outcome) -> Iterator[str]:
    """Return what products say about a change besides its risks."""
    if outcome.was and outcome.wanted:
        for product in PRODUCTS:
            yield from product.remarks(outcome.was.manifest, outcome.wanted.manifest)


def of_new_name(key: Key) -> str | None:
    """Return why a new name puts data at risk, or None if it does not."""
    if key.kind == "StatefulSet":
        return "claims are named after their StatefulSet: the new one starts empty"
    if key.kind == "PersistentVolumeClaim":
        return "the new claim gets an empty volume, whatever happens to the old one"
    return None


def _store_risks(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind not in _STORES or outcome.before is None:
        return
    if outcome.action in {Action.PRUNED, Action.RECREATED}:
        if outcome.key.kind == "PersistentVolumeClaim":
            yield "its volume is deleted with it, unless the storage class keeps it"
        elif _deletes_claims(outcome.before):
            yield "its pods and their claims are deleted with it"
        elif outcome.action is Action.PRUNED:
            yield "its pods are deleted; their claims stay, and nothing reads them"
    if outcome.claims_barred:
        yield "claim templates cannot be changed: a new StatefulSet must take over the old claims"
    if outcome.key.kind == "PersistentVolumeClaim" and outcome.refusal is not None:
        if outcome.refusal.by_transition:
            yield "only a new claim can be like that, without the data on the volume"
    elif (
        outcome.after is not None
        and _deletes_claims(outcome.after)
        and not _deletes_claims(outcome.before)
    ):
        yield "from now on its claims are deleted with it, or with each pod that is scaled away"


def _deletes_claims(stateful_set: Manifest) -> bool:
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy", {})
    return "Delete" in policy.values()


def _scale_risks(outcome: Outcome, after: Objects) -> Iterator[str]:
    if outcome.key.kind != "StatefulSet" or outcome.before is None or outcome.after is None:
        return
    was = outcome.before["spec"]["replicas"]
    now = workloads.fewest(outcome.key, outcome.after, after)
    if now < was:
        yield f"from {was} to {now} pods: data that only the others store is out of reach"


def _mount_risks(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind not in workloads.KINDS or not (outcome.was and outcome.wanted):
        return
    before, wanted = outcome.was.manifest, outcome.wanted.manifest
    for use in sorted(workloads.uses(before) - workloads.uses(wanted)):
        part = f", part {use.part}," if use.part else ""
        yield f"its containers no longer find the claim {use.claim}{part} at {use.path}"


def _product_risks(outcome: Outcome, after: Objects) -> Iterator[str]:
    if outcome.was is None:
        return
    was = outcome.was.manifest
    # What does the same for the data may take the place of an object that is gone.
    others = [each for key, each in after.items() if key != outcome.key]
    for product in PRODUCTS:
        found = list(product.data_risks(was, outcome.wanted.manifest if outcome.wanted else None))
        if outcome.wanted or all(list(product.data_risks(was, each)) for each in others):
            yield from found


def _setting_risks(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind != "ConfigMap" or not (outcome.was and outcome.wanted):
        return
    was = outcome.was.manifest.get("data") or {}
    now = outcome.wanted.manifest.get("data") or {}
    for product in PRODUCTS:
        for file in sorted(was.keys() & now.keys()):
            reasons = dict(product.durable_settings.get(file, {}))
            before, after = settings(was[file]), settings(now[file])
            if file in product.initial_settings:
                reasons = dict.fromkeys(
                    sorted(before.keys() | after.keys()),
                    "only a new cluster reads it: run "
                    f"`{product.initial_settings[file]}`, then allow this change",
                )
            for name, reason in reasons.items():
                was_set, is_set = before.get(name, MISSING), after.get(name, MISSING)
                if was_set != is_set:
                    change = transition(was_set, is_set)
                    yield f"{name} in {file}: {change}: {reason}"


def _version_risks(outcome: Outcome) -> Iterator[str]:
    if outcome.key.kind != "StatefulSet" or not (outcome.was and outcome.wanted):
        return
    was = {each["name"]: each["image"] for each in workloads.containers(outcome.was.manifest)}
    now = {each["name"]: each["image"] for each in workloads.containers(outcome.wanted.manifest)}
    changes = {(was[name], now[name]) for name in was.keys() & now.keys()}
    for before, after in sorted(changes):
        repository, _, tag = after.partition("@")[0].rpartition(":")
        yield from version_risks(repository, before.partition("@")[0].rpartition(":")[2], tag)
