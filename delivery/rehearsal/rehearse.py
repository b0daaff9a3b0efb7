"""Rehearsal of one environment: two trees are synced, and each object gets a verdict."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Lock

from delivery.control_plane.client import Client
from delivery.manifests.applications import Environment
from delivery.manifests.diff import describe
from delivery.manifests.manifest import Manifest
from delivery.manifests.renames import renames
from delivery.manifests.tree import Key, Tree
from delivery.rehearsal import data, full_scale, rollout
from delivery.rehearsal.allowances import fingerprint
from delivery.rehearsal.bounds import trespass
from delivery.rehearsal.consequences import Consequence, consequences
from delivery.rehearsal.full_scale import OVER_QUOTA
from delivery.rehearsal.order import PHASES, SYNC, applying
from delivery.rehearsal.outcomes import Action, Outcome
from delivery.rehearsal.scratch import ScratchNamespaces
from delivery.rehearsal.sync import Syncer
from delivery.rehearsal.verdicts import Verdict, judge


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The effect of the sync on one object.

    Attributes:
        key: The object.
        verdict: The effect in one word.
        reasons: Explanations as sentences, the most important first.
        changes: Differences, field by field.
        change: Hash of what changes in the manifest, and of the risks to data.
        file: File below `dist/` that contains the object, or did.
        source: File and line of the construct that makes or made the object; None if unknown.
        old: The object's previous key if it was renamed.
        allowed: The reason why the verdict does not block although it normally would.
    """

    key: Key
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    change: str
    file: str
    source: str | None = None
    old: Key | None = None
    allowed: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether the change must not be merged as it is."""
        return self.verdict.blocks and self.allowed is None

    @property
    def rank(self) -> int:
        """Position of the verdict, the most serious first."""
        return list(Verdict).index(self.verdict)

    def allowance(self, namespace: str) -> str:
        """Return what allows this verdict on this change, in an environment's namespace."""
        return f"{self.key.within(namespace)}={self.verdict.slug}:{self.change}"


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """The effect of the next sync of an environment, compared with a base.

    Attributes:
        environment: Its folder below `dist/`.
        namespace: Its namespace; objects of another one are named with theirs.
        base: The base, as a person wrote it.
        kubernetes: Version of the API server.
        findings: One finding for each object, the most serious first.
        consequences: Further effects.
        stops: The point at which the sync fails and stops; None if it does not fail.
    """

    environment: str
    namespace: str
    base: str
    kubernetes: str
    findings: Sequence[Finding]
    consequences: Sequence[Consequence] = ()
    stops: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether the change must not be merged as it is."""
        return any(finding.blocks for finding in self.findings)


def rehearse(
    client: Client,
    application: Environment,
    base: Tree,
    target: Tree,
    *,
    neighbours: Sequence[str] = (),
    others: Mapping[Key, str] | None = None,
    base_name: str = "",
    cluster_lock: "Lock | None" = None,  # a function before Python 3.13
) -> Rehearsal:
    """Sync a change on an API server.

    Args:
        client: Client of an API server that no controller acts on.
        application: The Application that is synced.
        base: Tree that the cluster has now.
        target: Tree that the cluster gets.
        neighbours: Further namespaces of the real cluster.
        others: Folders of the objects that other Applications apply. Default: there are none.
        base_name: Name of the base in the report.
        cluster_lock: Lock that rehearsals on the same API server share, held while cluster-scoped
            objects exist. Default: no other rehearsal runs at the same time.
    """
    # The other namespaces belong to other Applications; their labels do not matter here.
    labels: dict[str, Mapping[str, str]] = {name: {} for name in neighbours}
    scratch = ScratchNamespaces(client, {**labels, application.namespace: application.labels})
    lock = cluster_lock or Lock()
    with closing(Syncer(client, application, scratch, cluster_lock=lock)) as syncer:
        syncer.sync(base)
        syncer.settle()
        before = syncer.objects
        outcomes = syncer.sync(target)
        after = syncer.objects
        verdicts = {key: judge(outcome, after) for key, outcome in outcomes.items()}
        refused = _refused_pods(client, application, scratch, verdicts, after)
    for key in refused:
        verdicts[key] = Verdict.REFUSED
    findings = {
        key: _finding(outcome, verdicts[key], refused.get(key), after)
        for key, outcome in outcomes.items()
    }
    notes = consequences(outcomes, verdicts, before, after)
    notes += [
        Consequence(key, "is defined more than once: Argo CD applies the last definition only")
        for key in target.repeated
    ]
    notes += [
        Consequence(key, text) for key, each in outcomes.items() for text in data.remarks(each)
    ]
    judged = [
        _bounded(finding, outcomes, application, others or {})
        for finding in _renamed(findings, outcomes, after)
    ]
    return Rehearsal(
        environment=application.name,
        namespace=application.namespace,
        base=base_name,
        kubernetes=str(client.request("GET", "/version").body["gitVersion"]),
        findings=sorted(judged, key=lambda finding: (finding.rank, finding.key)),
        consequences=sorted(notes),
        stops=_stop(outcomes),
    )


def _refused_pods(
    client: Client,
    application: Environment,
    scratch: ScratchNamespaces,
    verdicts: Mapping[Key, Verdict],
    after: Mapping[Key, Manifest],
) -> dict[Key, str]:
    if set(verdicts.values()) <= {Verdict.UNCHANGED}:
        return {}
    namespace = scratch.make("full-scale", labels=application.labels)
    objects = {
        key: manifest
        for key, manifest in after.items()
        if key.namespace == application.namespace
        and verdicts.get(key) not in {Verdict.REFUSED, Verdict.REPLACE_NEEDED}
    }
    rolling = {key for key in objects if verdicts.get(key) is Verdict.PODS_ROLL}
    refused = full_scale.refusals(client, objects, namespace=namespace, rolling=rolling)
    return {key: text.replace(namespace, application.namespace) for key, text in refused.items()}


def _finding(
    outcome: Outcome, verdict: Verdict, pods: str | None, after: Mapping[Key, Manifest]
) -> Finding:
    key = outcome.key
    risks = data.risks(outcome, after)
    reasons = list(risks)
    if risks and verdict is not Verdict.REFUSED:
        verdict = Verdict.DATA_AT_RISK
    if pods is not None:
        reasons.insert(0, f"{'at full scale' if OVER_QUOTA in pods else 'its pods'}: {pods}")
    if outcome.refusal is not None:
        reasons.insert(0, outcome.refusal.message)
    if verdict is Verdict.LEFT_BEHIND:
        reasons.append("it is no longer in the tree, but stays in the cluster")
    if verdict is Verdict.PODS_ROLL:
        reasons += rollout.describe(key, after)
    desired = outcome.wanted or outcome.was
    return Finding(
        key=key,
        verdict=verdict,
        reasons=tuple(reasons),
        changes=_changes(outcome),
        change=fingerprint(outcome.was, outcome.wanted, risks),
        file=desired.file if desired else "",
    )


def _changes(outcome: Outcome) -> tuple[str, ...]:
    """Return the differences, with defaults set wherever the API server set them."""
    if outcome.before is None or outcome.wanted is None:
        return ()
    if outcome.refusal is None and outcome.after and outcome.action is not Action.RECREATED:
        return describe(outcome.before, outcome.after)
    return describe(outcome.was.manifest, outcome.wanted.manifest) if outcome.was else ()


def _renamed(
    findings: Mapping[Key, Finding],
    outcomes: Mapping[Key, Outcome],
    after: Mapping[Key, Manifest],
) -> list[Finding]:
    """Merge the findings on the old and the new name of an object into one."""
    gone = [each.was for each in outcomes.values() if each.was and not each.wanted]
    created = [
        each.wanted
        for key, each in outcomes.items()
        if each.wanted and each.before is None and findings[key].verdict is Verdict.CREATED
    ]
    merged = dict(findings)
    left = {key for key, each in outcomes.items() if each.action is Action.LEFT}
    for old, new in renames(gone, created):
        lost = merged.pop(old.key).reasons
        empty = data.of_new_name(new.key)
        # The new object can lose data of the old one just as if it had kept the name.
        as_one = replace(outcomes[new.key], was=old, before=outcomes[old.key].before)
        risks = [*([empty, *lost] if empty else []), *data.risks(as_one, after)]
        stays = ["the old object stays, and nothing manages it"] if old.key in left else []
        merged[new.key] = replace(
            merged[new.key],
            verdict=Verdict.DATA_AT_RISK if risks else Verdict.RECREATED,
            reasons=(*risks, *stays),
            change=fingerprint(old, new, risks),
            old=old.key,
        )
    return list(merged.values())


def _bounded(
    finding: Finding,
    outcomes: Mapping[Key, Outcome],
    application: Environment,
    others: Mapping[Key, str],
) -> Finding:
    """Return the finding with what the sync would do beyond the environment, if it does it."""
    if finding.verdict in {Verdict.REFUSED, Verdict.LEFT_BEHIND, Verdict.UNCHANGED}:
        return finding
    both = [finding.key, *([finding.old] if finding.old else [])]
    found = [trespass(outcomes[key], application, others) for key in both]
    reasons = [each for each in found if each]
    if not reasons:
        return finding
    reasons += finding.reasons
    return replace(finding, verdict=Verdict.OUT_OF_BOUNDS, reasons=tuple(reasons))


def _stop(outcomes: Mapping[Key, Outcome]) -> str | None:
    """Return the point at which the sync fails first."""
    refused = [
        (each.refusal, applying(each.wanted))
        for each in outcomes.values()
        if each.refusal and each.wanted
    ]
    if not refused:
        return None
    if any(refusal.before_sync for refusal, _ in refused):
        return "before anything is applied"
    first = min(step for _, step in refused)
    return f"in wave {first.wave}" if first.phase == SYNC else f"in the phase {PHASES[first.phase]}"
