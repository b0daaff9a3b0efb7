"""Rehearses a change: two trees are played, and each object gets a verdict with its reasons."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Lock

from delivery.control_plane.api_server import make_namespace
from delivery.control_plane.client import Client
from delivery.manifests.applications import Environment
from delivery.manifests.diff import describe
from delivery.manifests.manifest import Manifest
from delivery.manifests.renames import renames
from delivery.manifests.tree import Key, Tree
from delivery.rehearsal import data, full_scale, rollout
from delivery.rehearsal.allowances import Allowance
from delivery.rehearsal.consequences import Consequence, consequences
from delivery.rehearsal.full_scale import OVER_QUOTA
from delivery.rehearsal.order import PHASES, SYNC, applying
from delivery.rehearsal.play import Action, Outcome, Stage
from delivery.rehearsal.verdicts import Verdict, judge


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the sync does to one object, and why.

    Attributes:
        key: The object.
        verdict: In one word.
        reasons: Sentences; the first says most.
        changes: What differs, field by field.
        file: Of `dist/`, in which it stands or stood.
        source: File and line of the construct that makes or made it, where that is known.
        old: Its name before, if that is what changes.
        allowed: Why it does not block although its verdict would.
    """

    key: Key
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    file: str
    source: str | None = None
    old: Key | None = None
    allowed: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether the change should not be merged as it is."""
        return self.verdict.blocks and self.allowed is None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the next sync of an environment will do.

    Attributes:
        environment: Its folder below `dist/`.
        base: What its branch has now, as a person called it.
        kubernetes: Version of the API server.
        findings: One for each object, those first that a reviewer must see.
        consequences: What else will be so.
        stops: Where the sync fails and goes no further; None: it does not fail.
    """

    environment: str
    base: str
    kubernetes: str
    findings: Sequence[Finding]
    consequences: Sequence[Consequence] = field(default_factory=tuple)
    stops: str | None = None

    @property
    def blocks(self) -> bool:
        """Whether the change should not be merged as it is."""
        return any(finding.blocks for finding in self.findings)


def rehearse(
    client: Client,
    application: Environment,
    base: Tree,
    target: Tree,
    *,
    neighbours: Sequence[str] = (),
    allowances: Sequence[Allowance] = (),
    called: str = "",
    alone: "Lock | None" = None,  # a function before Python 3.13
) -> Rehearsal:
    """Play a change on an API server.

    Args:
        client: Of an API server where nothing acts on what it stores.
        application: What is synced.
        base: What the cluster has now.
        target: What it shall have.
        neighbours: Further namespaces of the real cluster.
        allowances: Verdicts that do not block.
        called: What a person calls the base.
        alone: Held while something is played that is not in a namespace. Default: nothing else is
            played at the same time.
    """
    stage = Stage(client, application, namespaces=neighbours, alone=alone or Lock())
    with closing(stage):
        stage.sync(base)
        stage.settle()
        before = stage.objects
        outcomes = stage.sync(target)
        after = stage.objects
        verdicts = {key: judge(outcome, after) for key, outcome in outcomes.items()}
        refused = _refused_pods(client, application, stage, verdicts, after)
    for key in refused:
        verdicts[key] = Verdict.REFUSED
    findings = {
        key: _finding(outcome, verdicts[key], refused.get(key), after)
        for key, outcome in outcomes.items()
    }
    told = consequences(outcomes, verdicts, before, after)
    told += [
        Consequence(key, "stands there more than once: Argo CD applies the last one only")
        for key in target.repeated
    ]
    judged = [_allow(finding, allowances) for finding in _renamed(findings, outcomes, after)]
    order = list(Verdict)
    return Rehearsal(
        environment=application.name,
        base=called,
        kubernetes=str(client.request("GET", "/version").body["gitVersion"]),
        findings=sorted(judged, key=lambda finding: (order.index(finding.verdict), finding.key)),
        consequences=sorted(told),
        stops=_stop(outcomes),
    )


def _refused_pods(
    client: Client,
    application: Environment,
    stage: Stage,
    verdicts: Mapping[Key, Verdict],
    after: Mapping[Key, Manifest],
) -> dict[Key, str]:
    if set(verdicts.values()) <= {Verdict.UNCHANGED}:
        return {}
    namespace = stage.name("full-scale")
    make_namespace(client, namespace, labels=application.labels)
    refused = full_scale.refusals(
        client,
        {
            key: manifest
            for key, manifest in after.items()
            if key.namespace == application.namespace
            and not (key in verdicts and verdicts[key] in {Verdict.REFUSED, Verdict.REPLACE_NEEDED})
        },
        namespace=namespace,
        rolling={
            key
            for key, verdict in verdicts.items()
            if verdict is Verdict.PODS_ROLL and key.namespace == application.namespace
        },
    )
    return {key: said.replace(namespace, application.namespace) for key, said in refused.items()}


def _finding(
    outcome: Outcome, verdict: Verdict, pods: str | None, after: Mapping[Key, Manifest]
) -> Finding:
    key = outcome.key
    reasons = data.risks(outcome, after)
    if reasons and verdict is not Verdict.REFUSED:
        verdict = Verdict.DATA_AT_RISK
    if pods is not None:
        reasons.insert(0, f"{'at full scale' if OVER_QUOTA in pods else 'its pods'}: {pods}")
    if outcome.refusal is not None:
        reasons.insert(0, outcome.refusal.message)
    if verdict is Verdict.LEFT_BEHIND:
        reasons.append("it is not in the tree any more, and stays all the same")
    if verdict is Verdict.PODS_ROLL:
        reasons += rollout.describe(key, after)
    stands = outcome.wanted or outcome.was
    return Finding(
        key=key,
        verdict=verdict,
        reasons=tuple(reasons),
        changes=_changes(outcome),
        file=stands.file if stands else "",
    )


def _changes(outcome: Outcome) -> tuple[str, ...]:
    """What differs, defaults filled in where the API server did that."""
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
    """The findings, with an old and a new name of one thing as one finding."""
    gone, made = [], []
    for key, finding in findings.items():
        outcome = outcomes[key]
        if outcome.wanted is None and outcome.was is not None:
            gone.append(outcome.was)
        elif outcome.before is None and outcome.wanted and finding.verdict is Verdict.CREATED:
            made.append(outcome.wanted)
    found = dict(findings)
    left = {key for key, each in outcomes.items() if each.action is Action.LEFT}
    for old, new in renames(gone, made):
        lost = found.pop(old.key).reasons
        empty = data.of_new_name(new.key)
        # What the old one had and the new one has not is no less lost than under one name.
        one = replace(outcomes[new.key], was=old, before=outcomes[old.key].before)
        risks = [*([empty, *lost] if empty else []), *data.risks(one, after)]
        stays = ["the old one stays, and nobody owns it"] if old.key in left else []
        found[new.key] = replace(
            found[new.key],
            verdict=Verdict.DATA_AT_RISK if risks else Verdict.RECREATED,
            reasons=(*risks, *stays),
            old=old.key,
        )
    return list(found.values())


def _allow(finding: Finding, allowances: Sequence[Allowance]) -> Finding:
    for each in allowances:
        asked = (each.kind, each.name, each.verdict)
        if asked == (finding.key.kind, finding.key.name, finding.verdict):
            return replace(finding, allowed=each.reason)
    return finding


def _stop(outcomes: Mapping[Key, Outcome]) -> str | None:
    """Where the sync fails for the first time."""
    refused = [each for each in outcomes.values() if each.refusal is not None and each.wanted]
    if not refused:
        return None
    if any(each.refusal is not None and each.refusal.beforehand for each in refused):
        return "before anything is applied"
    first = min(applying(each.wanted) for each in refused if each.wanted)
    return f"in wave {first.wave}" if first.phase == SYNC else f"in the phase {PHASES[first.phase]}"
