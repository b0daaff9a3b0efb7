"""Applies two trees one after the other as Argo CD would, and notes what the API server did."""

import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import Enum, auto
from threading import Lock

from delivery.control_plane.admission import RULES, Admission
from delivery.control_plane.api_server import make_namespace
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.manifests.applications import Environment
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, Key, Tree, sync_options
from delivery.rehearsal import order

_MANAGER = "argocd-controller"
_DEFAULT_CLASS = "default-of-the-cluster"
"""The StorageClass of claims that name none: nobody knows what the real one is called."""
_LONGEST_VALUE = 120
_LONGEST_NAME = 40
_BOOKKEEPING = frozenset({"generation", "managedFields", "resourceVersion"})
_RULING_GROUPS = frozenset({"admissionregistration.k8s.io", "apiextensions.k8s.io"})
_RULING_KINDS = frozenset({"LimitRange", "Namespace", "ResourceQuota"})


class Action(Enum):
    """What the sync did to an object."""

    APPLIED = auto()
    RECREATED = auto()
    PRUNED = auto()
    LEFT = auto()
    SKIPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why an object was not applied.

    Attributes:
        message: For a person.
        by_transition: As a new object it would have been accepted: only the way there is barred.
        beforehand: Argo CD notices it before it applies anything at all.
    """

    message: str
    by_transition: bool = False
    beforehand: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one object.

    Attributes:
        key: The object.
        was: As it stood in the tree before.
        wanted: As it stands in the tree now.
        before: As the API server had it.
        after: As it has it now.
        action: What the sync did.
        refusal: Why it could not.
        claims_barred: Whether the changed claim templates of a StatefulSet alone are refused.
    """

    key: Key
    was: Desired | None
    wanted: Desired | None
    before: Manifest | None
    after: Manifest | None
    action: Action
    refusal: Refusal | None = None
    claims_barred: bool = False


class Stage:
    """Namespaces of an API server that no other rehearsal knows.

    Args:
        client: Of the API server.
        application: What is synced.
        namespaces: Further ones that exist in the real cluster.
        alone: Held by whoever plays what is not in a namespace, until it is closed.
    """

    def __init__(
        self,
        client: Client,
        application: Environment,
        *,
        namespaces: Sequence[str] = (),
        alone: Lock,
    ) -> None:
        self._client = client
        self._admission = Admission(client)
        self._alone = alone
        self._is_alone = False
        self._application = application
        self._suffix = secrets.token_hex(4)
        self._names = {name: self.name(name) for name in {application.namespace, *namespaces}}
        for name, ours in sorted(self._names.items()):
            # The others are made by Applications of their own, with labels that do not matter here.
            make_namespace(
                client, ours, labels=application.labels if name == application.namespace else {}
            )
        self._scopes: dict[str, dict[str, bool]] = {}
        self._classes: set[str | None] = set()
        self._live: dict[Key, Manifest] = {}
        self._further: dict[str, str] = {}
        self._desired: Mapping[Key, Desired] = {}
        self._rules_change = False

    def sync(self, tree: Tree) -> dict[Key, Outcome]:
        """Apply a tree, and prune what it no longer has.

        What is refused does not keep the rest from being tried, so that one rehearsal tells all.
        """
        desired = {each.key: each for each in map(self._at_home, tree.objects.values())}
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
            outcomes[step.key] = (
                self._apply(desired[step.key])
                if step.applies
                else self._prune(step.key, prunes=prunes)
            )
        self._desired = desired
        return outcomes

    @property
    def objects(self) -> dict[Key, Manifest]:
        """All that the API server has now."""
        return dict(self._live)

    def settle(self) -> None:
        """Do what controllers would do by the next sync, as far as the API server heeds it."""
        for key, live in self._live.items():
            if key.kind == "PersistentVolumeClaim":
                self._live[key] = self._bind(live)
            if key.kind == "ResourceQuota":
                self._live[key] = self._admission.start_quota(live)

    def close(self) -> None:
        """Delete what the next rehearsal would find taken; the rest ends with the API server."""
        for key, live in self._live.items():
            if not key.namespace or _has_fixed_address(self._desired.get(key)):
                with suppress(ApiError):
                    self._client.delete(Reference.of(live))
        if self._is_alone:
            self._alone.release()

    def name(self, name: str) -> str:
        """A name for a namespace that nobody else has."""
        return f"{name[:_LONGEST_NAME]}-{self._suffix}"

    def real(self, text: str) -> str:
        """A text with the real names of the namespaces."""
        for name, ours in self._names.items():
            text = text.replace(ours, name)
        return text

    def _at_home(self, desired: Desired) -> Desired:
        """The object in the namespace that it gets where it names none."""
        metadata = desired.manifest["metadata"]
        if metadata.get("namespace") or not self._is_namespaced(desired.manifest):
            return desired
        manifest = {
            **desired.manifest,
            "metadata": {**metadata, "namespace": self._application.namespace},
        }
        return Desired(manifest=manifest, file=desired.file)

    def _is_namespaced(self, manifest: Manifest) -> bool:
        """Whether the kind lives in namespaces; said of an unknown kind, too."""
        return self._kinds(manifest["apiVersion"]).get(manifest["kind"], True)

    def _is_known(self, manifest: Manifest) -> bool:
        return manifest["kind"] in self._kinds(manifest["apiVersion"])

    def _kinds(self, api_version: str) -> Mapping[str, bool]:
        """The kinds of a version, and whether they live in namespaces."""
        if api_version not in self._scopes:
            path = f"/{'apis' if '/' in api_version else 'api'}/{api_version}"
            try:
                resources = self._client.request("GET", path).body["resources"]
            except ApiError:
                resources = []
            self._scopes[api_version] = {
                resource["kind"]: resource["namespaced"]
                for resource in resources
                if "/" not in resource["name"]
            }
        return self._scopes[api_version]

    def _ours(self, manifest: Manifest) -> Manifest:
        """The object in our namespace in place of the real one."""
        manifest = deepcopy(manifest)
        namespace = manifest["metadata"].get("namespace")
        if namespace in self._names:
            manifest["metadata"]["namespace"] = self._names[namespace]
        return manifest

    def _apply(self, desired: Desired) -> Outcome:
        key, before = desired.key, self._before(desired)
        outcome = Outcome(
            key=key,
            was=self._desired.get(key),
            wanted=desired,
            before=before,
            after=before,
            action=Action.SKIPPED,
        )
        if "Skip" in desired.hooks:
            return outcome
        if self._stands(desired):
            return replace(outcome, action=Action.APPLIED)
        namespaced = self._is_namespaced(desired.manifest)
        objection = self._application.objection(key, namespaced=namespaced)
        if objection is not None:
            return replace(outcome, refusal=Refusal(message=objection, beforehand=True))
        if not self._is_alone and (not namespaced or _has_fixed_address(desired)):
            self._is_alone = self._alone.acquire()
        manifest = self._ours(desired.manifest)
        try:
            action, after = self._attempt(desired, manifest, before)
        except ApiError as error:
            return self._refused(outcome, manifest, error)
        if after is not None:
            self._live[key] = after
        return replace(outcome, action=action, after=after)

    def _stands(self, desired: Desired) -> bool:
        """Whether the very same manifest was applied before: to apply it again changes nothing."""
        was = self._desired.get(desired.key)
        return (
            not self._rules_change
            and was is not None
            and was.manifest == desired.manifest
            and desired.key in self._live
        )

    def _attempt(
        self, desired: Desired, manifest: Manifest, before: Manifest | None
    ) -> tuple[Action, Manifest | None]:
        """Do what Argo CD would, and say what that was and what came of it."""
        if not order.runs(desired):
            # Only after a failure or at the very end, so it must at least be acceptable.
            self._client.apply(manifest, field_manager=_MANAGER, dry_run=True)
            return Action.SKIPPED, before
        if before is None or not _is_recreated(desired):
            return Action.APPLIED, self._applied(manifest)
        if not self._differs(manifest, before):
            return Action.APPLIED, before
        self._client.delete(Reference.of(before))
        del self._live[desired.key]
        return Action.RECREATED, self._applied(manifest)

    def _refused(self, outcome: Outcome, manifest: Manifest, error: ApiError) -> Outcome:
        """What is to be known about a refusal."""
        after = self._live.get(outcome.key)
        # Any other reason, such as a quota, has nothing to do with what was there before.
        barred = error.reason == "Invalid" and after is not None and self._is_acceptable(manifest)
        return replace(
            outcome,
            after=after,
            refusal=Refusal(
                message=self.real(_readable(error)),
                by_transition=barred,
                beforehand=not self._is_known(manifest),
            ),
            claims_barred=barred and self._bars_claims(outcome, manifest),
        )

    def _before(self, desired: Desired) -> Manifest | None:
        """The object as the API server has it, in the version in which it is applied now."""
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
        # A hook that is gone from the tree is nobody's business any more.
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
        live = self._client.apply(manifest, field_manager=_MANAGER).body
        if live["kind"] == "ResourceQuota":
            return self._admission.start_quota(live)
        self._admission.note(live)
        return live

    def _note_deletion(self, rule: Manifest) -> None:
        """Note that a rule is gone: whoever sees one that was made later has seen that, too."""
        metadata = {"name": rule["metadata"]["uid"], "namespace": self._namespace("later")}
        self._admission.note(self._client.create({**rule, "metadata": metadata}).body)

    def _namespace(self, purpose: str) -> str:
        """A further namespace of ours, made when it is needed."""
        if purpose not in self._further:
            self._further[purpose] = self.name(purpose)
            make_namespace(self._client, self._further[purpose])
        return self._further[purpose]

    def _differs(self, manifest: Manifest, live: Manifest) -> bool:
        """Whether applying a manifest onto an object would change it."""
        try:
            answer = self._client.apply(manifest, field_manager=_MANAGER, dry_run=True)
        except ApiError:
            return True
        return not same(live, answer.body)

    def _is_acceptable(self, manifest: Manifest) -> bool:
        """Whether the manifest would be accepted if its object were not there yet."""
        manifest = deepcopy(manifest)
        if "namespace" in manifest["metadata"]:
            manifest["metadata"]["namespace"] = self._namespace("anew")
        try:
            self._client.apply(manifest, field_manager=_MANAGER, dry_run=True)
        except ApiError:
            return False
        return True

    def _bars_claims(self, outcome: Outcome, manifest: Manifest) -> bool:
        """Whether the claim templates of a StatefulSet are what cannot be changed."""
        if outcome.key.kind != "StatefulSet" or outcome.was is None:
            return False
        attempt = self._ours(outcome.was.manifest)
        attempt["spec"]["volumeClaimTemplates"] = manifest["spec"].get("volumeClaimTemplates", [])
        try:
            self._client.apply(attempt, field_manager=_MANAGER, dry_run=True)
        except ApiError:
            return True
        return False

    def _make_classes(self, manifest: Manifest) -> None:
        """Have the StorageClasses that claims use, each of them able to grow a volume."""
        for claim in claims(manifest):
            name = claim.get("storageClassName")
            if name in self._classes:
                continue
            self._classes.add(name)
            default = {"storageclass.kubernetes.io/is-default-class": "true"}
            storage_class = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": name or _DEFAULT_CLASS,
                    "annotations": {} if name else default,
                },
                "provisioner": "kubernetes.io/no-provisioner",
                "allowVolumeExpansion": True,
            }
            self._admission.note(self._client.apply(storage_class, field_manager=_MANAGER).body)

    def _bind(self, claim: Manifest) -> Manifest:
        """Bind a claim to a volume of the size that it asks for."""
        reference = Reference.of(claim)
        self._client.merge(reference, {"spec": {"volumeName": "volume"}})
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"]["accessModes"],
            "capacity": claim["spec"]["resources"]["requests"],
        }
        return self._client.merge(reference, {"status": status}, subresource="status")


def claims(manifest: Manifest) -> list[Manifest]:
    """The specs of the volume claims that an object is or makes."""
    if manifest["kind"] == "PersistentVolumeClaim":
        return [manifest.get("spec") or {}]
    if manifest["kind"] == "StatefulSet":
        templates = (manifest.get("spec") or {}).get("volumeClaimTemplates") or []
        return [template.get("spec") or {} for template in templates]
    return []


def same(before: Manifest, after: Manifest) -> bool:
    """Whether the API server saw nothing to change but who owns which field."""
    return _content(before) == _content(after)


def _content(live: Manifest) -> Manifest:
    metadata = {k: v for k, v in live["metadata"].items() if k not in _BOOKKEEPING}
    return {**live, "metadata": metadata, "status": None}


def _rules(desired: Mapping[Key, Desired]) -> dict[Key, Manifest]:
    """The objects that decide about others, even about those that do not change."""
    return {
        key: each.manifest
        for key, each in desired.items()
        if key.group in _RULING_GROUPS or key.kind in _RULING_KINDS
    }


def _has_fixed_address(desired: Desired | None) -> bool:
    """Whether it is a Service that says itself where it is reached."""
    if desired is None or desired.key.kind != "Service":
        return False
    spec = desired.manifest["spec"]
    ports = any("nodePort" in port for port in spec.get("ports") or [])
    return ports or spec.get("clusterIP", "None") != "None"


def _is_recreated(desired: Desired) -> bool:
    """Whether Argo CD deletes the object before it applies it."""
    if desired.hooks:
        # After its success it is gone, too.
        return bool(desired.delete_policies & {"BeforeHookCreation", "HookSucceeded"})
    return {"Force=true", "Replace=true"} <= desired.options


def _readable(error: ApiError) -> str:
    """What the API server says, without the long values that it repeats."""
    causes = error.status.get("details", {}).get("causes", [])
    if error.reason != "Invalid" or not causes:
        return str(error)
    said = []
    for cause in causes:
        # Some add a difference, line by line.
        message = cause["message"].split("\n")[0]
        if len(message) > _LONGEST_VALUE:
            message = re.sub(r"^(\w+ value): .*: (?=[^:]+$)", r"\1: ", message)
        said.append(": ".join(filter(None, [cause.get("field"), message])))
    return "; ".join(dict.fromkeys(said))
