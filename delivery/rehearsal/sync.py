"""Syncs of trees as Argo CD would do them, with a note of how the API server answered."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from threading import Lock

from delivery.control_plane.admission import RULES, Admission
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests.applications import Environment
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, Key, Tree, sync_options
from delivery.rehearsal import order
from delivery.rehearsal.outcomes import Action, Outcome, Refusal
from delivery.rehearsal.probes import FIELD_MANAGER, Probes
from delivery.rehearsal.scratch import ScratchNamespaces
from delivery.rehearsal.storage import bind, claims, storage_class

_LONGEST_VALUE = 120
_RULING_GROUPS = frozenset({"admissionregistration.k8s.io", "apiextensions.k8s.io"})
_RULING_KINDS = frozenset({"LimitRange", "Namespace", "ResourceQuota"})


class Syncer:
    """Argo CD's part in a rehearsal: it applies and prunes.

    The rehearsal that applies cluster-scoped objects holds the cluster lock until `close`.
    """

    def __init__(
        self,
        client: Client,
        application: Environment,
        scratch: ScratchNamespaces,
        *,
        cluster_lock: Lock,
    ) -> None:
        self._client = client
        self._application = application
        self._scratch = scratch
        self._admission = Admission(client)
        self._probes = Probes(client, scratch)
        self._cluster_lock = cluster_lock
        self._holds_lock = False
        self._classes: set[str | None] = set()
        self._live: dict[Key, Manifest] = {}
        self._desired: Mapping[Key, Desired] = {}
        self._rules_change = False

    def sync(self, tree: Tree) -> dict[Key, Outcome]:
        """Apply a tree, and prune what it no longer contains.

        A refusal does not stop the sync, so that one rehearsal reports all of them.
        """
        desired = {each.key: each for each in map(self._with_namespace, tree.objects.values())}
        for each in desired.values():
            self._make_classes(each.manifest)
        self._rules_change = _rules(desired) != _rules(self._desired)
        gone = {key: live for key, live in self._live.items() if key not in desired}
        # Argo CD takes an empty tree for a mistake, and does nothing.
        prunes = self._application.prunes and bool(desired)
        steps = [order.applying(each) for each in desired.values()]
        steps += order.pruning(gone)
        outcomes = {}
        for step in sorted(steps):
            if step.key.kind not in RULES:
                self._admission.wait()
            if step.applies:
                outcomes[step.key] = self._apply(desired[step.key])
            else:
                outcomes[step.key] = self._prune(step.key, prunes=prunes)
        self._desired = desired
        return outcomes

    @property
    def objects(self) -> dict[Key, Manifest]:
        """All objects that the API server has now."""
        return dict(self._live)

    def settle(self) -> None:
        """Do what controllers would do before the next sync, where it affects admission."""
        for key, live in self._live.items():
            if key.kind == "PersistentVolumeClaim":
                self._live[key] = bind(self._client, live)
            if key.kind == "ResourceQuota":
                self._live[key] = self._admission.start_quota(live)

    def close(self) -> None:
        """Delete what would collide with the next rehearsal; the rest ends with the API server."""
        try:
            for key, live in self._live.items():
                if not key.namespace or _has_fixed_address(self._desired.get(key)):
                    with suppress(ApiError):
                        self._client.delete(Reference.of(live))
        finally:
            if self._holds_lock:
                self._cluster_lock.release()

    def _with_namespace(self, desired: Desired) -> Desired:
        """Return the object with the namespace that Argo CD adds if the manifest names none."""
        metadata = desired.manifest["metadata"]
        if metadata.get("namespace") or not self._is_namespaced(desired.manifest):
            return desired
        metadata = {**metadata, "namespace": self._application.namespace}
        return replace(desired, manifest={**desired.manifest, "metadata": metadata})

    def _is_namespaced(self, manifest: Manifest) -> bool:
        """Whether the kind lives in namespaces, as we assume of an unknown kind."""
        resource = self._client.resource(manifest["apiVersion"], manifest["kind"])
        return resource is None or resource.namespaced

    def _apply(self, desired: Desired) -> Outcome:
        key, before = desired.key, self._before(desired)
        was = self._desired.get(key)
        outcome = Outcome(
            key=key, was=was, wanted=desired, before=before, after=before, action=Action.SKIPPED
        )
        if "Skip" in desired.hooks:
            return outcome
        # The same manifest was applied before, so that applying it changes nothing.
        same = key in self._live and was is not None and was.manifest == desired.manifest
        if same and not self._rules_change:
            return replace(outcome, action=Action.APPLIED)
        namespaced = self._is_namespaced(desired.manifest)
        objection = self._application.objection(key, namespaced=namespaced)
        if objection is not None:
            return replace(outcome, refusal=Refusal(message=objection, before_sync=True))
        if not self._holds_lock and (not namespaced or _has_fixed_address(desired)):
            self._holds_lock = self._cluster_lock.acquire()
        manifest = self._scratch.move(desired.manifest)
        try:
            action, after = self._attempt(desired, manifest, before)
        except ApiError as error:
            return self._refused(outcome, manifest, error)
        if after is not None:
            self._live[key] = after
        return replace(outcome, action=action, after=after)

    def _attempt(
        self, desired: Desired, manifest: Manifest, before: Manifest | None
    ) -> tuple[Action, Manifest | None]:
        """Do what Argo CD would; return the action and the resulting object."""
        if not order.runs(desired):
            # It runs after a failure or at the very end, so it must at least be acceptable.
            self._client.apply(manifest, field_manager=FIELD_MANAGER, dry_run=True)
            return Action.SKIPPED, before
        if before is None or not _is_recreated(desired):
            return Action.APPLIED, self._applied(manifest)
        if not self._probes.differs(manifest, before):
            return Action.APPLIED, before
        self._client.delete(Reference.of(before))
        del self._live[desired.key]
        return Action.RECREATED, self._applied(manifest)

    def _refused(self, outcome: Outcome, manifest: Manifest, error: ApiError) -> Outcome:
        after = self._live.get(outcome.key)
        # Any other reason, such as a quota, does not depend on the existing object.
        barred = (
            error.reason == "Invalid"
            and after is not None
            and self._probes.is_accepted_as_new(manifest)
        )
        was = outcome.was if outcome.key.kind == "StatefulSet" else None
        return replace(
            outcome,
            after=after,
            refusal=Refusal(
                message=self._scratch.with_real_names(_readable(error, outcome.key.kind)),
                by_transition=barred,
                before_sync=self._client.resource(manifest["apiVersion"], manifest["kind"]) is None,
            ),
            claims_barred=barred
            and was is not None
            and self._probes.claims_bar(self._scratch.move(was.manifest), manifest),
        )

    def _before(self, desired: Desired) -> Manifest | None:
        """Return the existing object, in the API version in which it is applied now."""
        live = self._live.get(desired.key)
        if live is None or live["apiVersion"] == desired.manifest["apiVersion"]:
            return live
        reference = Reference.of(live)
        try:
            return self._client.get(reference._replace(api_version=desired.manifest["apiVersion"]))
        except ApiError:
            return live

    def _prune(self, key: Key, *, prunes: bool) -> Outcome:
        live = self._live[key]
        was = self._desired.get(key)
        # Argo CD does not prune a hook.
        left = not prunes or "Prune=false" in sync_options(live) or (was is not None and was.hooks)
        if not left:
            self._client.delete(Reference.of(live))
            del self._live[key]
            if key.kind in RULES and key.namespace:
                self._note_deletion(live)
        return Outcome(
            key=key,
            was=was,
            wanted=None,
            before=live,
            after=live if left else None,
            action=Action.LEFT if left else Action.PRUNED,
        )

    def _applied(self, manifest: Manifest) -> Manifest:
        live = self._client.apply(manifest, field_manager=FIELD_MANAGER).body
        if live["kind"] == "ResourceQuota":
            return self._admission.start_quota(live)
        self._admission.note(live)
        return live

    def _note_deletion(self, rule: Manifest) -> None:
        """Note the deletion of a rule by a later object: who sees that one has seen the deletion.

        Only what exists has a version to wait for.
        """
        metadata = {"name": rule["metadata"]["uid"], "namespace": self._later_namespace}
        self._admission.note(self._client.create({**rule, "metadata": metadata}).body)

    @cached_property
    def _later_namespace(self) -> str:
        return self._scratch.make("later")

    def _make_classes(self, manifest: Manifest) -> None:
        for claim in claims(manifest):
            name = claim.get("storageClassName")
            if name not in self._classes:
                self._classes.add(name)
                made = self._client.apply(storage_class(name), field_manager=FIELD_MANAGER)
                self._admission.note(made.body)


def _rules(desired: Mapping[Key, Desired]) -> dict[Key, Manifest]:
    """Return the objects that decide about others, even about unchanged ones."""
    return {
        key: each.manifest
        for key, each in desired.items()
        if key.group in _RULING_GROUPS or key.kind in _RULING_KINDS
    }


def _has_fixed_address(desired: Desired | None) -> bool:
    """Whether it is a Service that requests an address or a port of the whole cluster."""
    if desired is None or desired.key.kind != "Service":
        return False
    spec = desired.manifest["spec"]
    ports = any("nodePort" in port for port in spec.get("ports") or [])
    return ports or spec.get("clusterIP", "None") != "None"


def _is_recreated(desired: Desired) -> bool:
    """Whether Argo CD deletes an object before it applies it."""
    if desired.hooks:
        # After success it is deleted, too.
        return bool(desired.delete_policies & {"BeforeHookCreation", "HookSucceeded"})
    return {"Force=true", "Replace=true"} <= sync_options(desired.manifest)


def _readable(error: ApiError, kind: str) -> str:
    """Return the API server's message without the values that it repeats: long or secret ones."""
    causes = error.status.get("details", {}).get("causes", [])
    if kind == "Secret":
        fields = ", ".join(dict.fromkeys(each.get("field", "") for each in causes))
        place = f" at {fields}" if fields else ""
        return f"{error.reason}{place}: the API server's message may repeat values, and is hidden"
    if error.reason != "Invalid" or not causes:
        return str(error)
    messages = []
    for cause in causes:
        # Some append a difference, line by line.
        message = cause["message"].split("\n")[0]
        if len(message) > _LONGEST_VALUE:
            message = re.sub(r"^(\w+ value): .*: (?=[^:]+$)", r"\1: ", message)
        messages.append(": ".join(filter(None, [cause.get("field"), message])))
    return "; ".join(dict.fromkeys(messages))
