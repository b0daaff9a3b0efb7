"""Side effects of a change on other objects, unless they existed before."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest, selects
from delivery.manifests.tree import Key
from delivery.manifests.workloads import Objects
from delivery.rehearsal.outcomes import Outcome
from delivery.rehearsal.verdicts import Verdict, template_changes, waits

_FRESH = frozenset({Verdict.CREATED, Verdict.PODS_ROLL, Verdict.RECREATED})


class Consequence(NamedTuple):
    """A side effect on one object; the text completes the sentence `<object>: …`."""

    key: Key
    text: str


def consequences(
    outcomes: Mapping[Key, Outcome],
    verdicts: Mapping[Key, Verdict],
    before: Objects,
    after: Objects,
) -> list[Consequence]:
    """Return the side effects of a sync, sorted by object."""
    known = {*_dangling(before), *_never_ready(before)}
    found = [
        *_stale(outcomes, verdicts, after),
        *({*_dangling(after), *_never_ready(after)} - known),
        *_missing(before, after),
        *_own_effects(outcomes, verdicts, after),
        *_idle(outcomes, verdicts),
    ]
    return sorted(set(found))


def _stale(
    outcomes: Mapping[Key, Outcome], verdicts: Mapping[Key, Verdict], after: Objects
) -> Iterator[Consequence]:
    """Return the ConfigMaps and Secrets that running pods will not read again."""
    for key, verdict in verdicts.items():
        if verdict is not Verdict.IN_PLACE or not _content_changes(outcomes[key]):
            continue
        for reader in _users(key, after):
            if reader.kind != "CronJob" and verdicts.get(reader) not in _FRESH:
                yield Consequence(
                    key,
                    f"the pods of {reader} do not roll: until they do, they use the values that "
                    "they read at their start",
                )


def _content_changes(outcome: Outcome) -> bool:
    before, after = outcome.before or {}, outcome.after or {}
    return outcome.key.kind in {"ConfigMap", "Secret"} and any(
        before.get(field) != after.get(field) for field in ("data", "binaryData")
    )


def _dangling(objects: Objects) -> Iterator[Consequence]:
    """Return the objects that select or name something that does not exist."""
    # Looked up for each of hundreds of objects.
    neighbours: dict[str, list[Manifest]] = defaultdict(list)
    for key, workload in workloads.select(objects, *workloads.KINDS):
        neighbours[key.namespace].append(workload)
    for key, service in workloads.select(objects, "Service"):
        if service["spec"].get("selector"):
            yield from _dangling_service(key, service["spec"], neighbours[key.namespace])
    for key, budget in workloads.select(objects, "PodDisruptionBudget"):
        if not _selected(budget["spec"].get("selector") or {}, neighbours[key.namespace]):
            yield Consequence(key, "selects no pod: it protects nothing")
    for key, policy in workloads.select(objects, "NetworkPolicy"):
        if not _selected(policy["spec"].get("podSelector") or {}, neighbours[key.namespace]):
            yield Consequence(key, "selects no pod: it allows and protects nothing")
    names = {(key.kind, key.name) for key in objects}
    for key, autoscaler in workloads.select(objects, "HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) not in names:
            yield Consequence(key, f"scales nothing: there is no {target['kind']}/{target['name']}")


def _never_ready(objects: Objects) -> Iterator[Consequence]:
    for key, workload in workloads.select(objects, *workloads.KINDS):
        for port in sorted(_probed_ports(workload) - _port_names(workload)):
            yield Consequence(
                key, f"is probed at the port {port}, which it does not have: it never gets ready"
            )


def _dangling_service(
    key: Key, spec: Manifest, neighbours: Sequence[Manifest]
) -> Iterator[Consequence]:
    behind = _selected({"matchLabels": spec["selector"]}, neighbours)
    if not behind:
        yield Consequence(key, "selects no pod: clients get no answer")
        return
    for port in spec.get("ports", []):
        target = port["targetPort"]
        if isinstance(target, str) and not any(target in _port_names(each) for each in behind):
            yield Consequence(key, f"leads to the port {target}, which no pod has")


def _selected(selector: Manifest, neighbours: Sequence[Manifest]) -> list[Manifest]:
    """Return the workloads whose pods a selector matches."""
    return [each for each in neighbours if selects(selector, workloads.labels(each))]


def _port_names(workload: Manifest) -> set[str]:
    return {
        port["name"]
        for container in workloads.containers(workload)
        for port in container.get("ports", [])
        if "name" in port
    }


def _probed_ports(workload: Manifest) -> set[str]:
    probes = [
        container.get(f"{probe}Probe") or {}
        for container in workloads.containers(workload)
        for probe in ("startup", "readiness", "liveness")
    ]
    ports = [probe.get(how, {}).get("port") for probe in probes for how in ("httpGet", "tcpSocket")]
    return {port for port in ports if isinstance(port, str)}


def _missing(before: Objects, after: Objects) -> Iterator[Consequence]:
    """Return the deleted objects that pods still need."""
    for key in before.keys() - after.keys():
        for owner in _users(key, after):
            yield Consequence(key, f"the pods of {owner} need it: no new pod starts")


def _users(key: Key, objects: Objects) -> Iterator[Key]:
    """Return the workloads whose pods use a ConfigMap, a Secret or a claim."""
    for owner, workload in workloads.select(objects, *workloads.KINDS):
        claims = {("PersistentVolumeClaim", use.claim) for use in workloads.uses(workload)}
        used = workloads.read(workload) | claims
        if owner.namespace == key.namespace and (key.kind, key.name) in used:
            yield owner


def _own_effects(
    outcomes: Mapping[Key, Outcome], verdicts: Mapping[Key, Verdict], after: Objects
) -> Iterator[Consequence]:
    for key, outcome in outcomes.items():
        if outcome.before is None or outcome.after is None:
            continue
        if verdicts[key] is Verdict.IN_PLACE and template_changes(outcome) and waits(outcome.after):
            yield Consequence(key, "its pods keep the old template until somebody deletes them")
        if verdicts[key] is Verdict.LEFT_BEHIND and outcome.was and not outcome.was.hooks:
            yield Consequence(key, "nobody owns it, and the Application stays OutOfSync")
        if key.kind == "Deployment":
            was, now = (each["spec"]["replicas"] for each in (outcome.before, outcome.after))
            least = workloads.fewest(key, outcome.after, after)
            if now < min(was, least):
                yield Consequence(
                    key, f"may fall to {now} pods until the autoscaler raises it to {least}"
                )


def _idle(
    outcomes: Mapping[Key, Outcome], verdicts: Mapping[Key, Verdict]
) -> Iterator[Consequence]:
    """Return the changed hooks, if nothing else changes: Argo CD starts no sync for them."""
    changed = {key for key, verdict in verdicts.items() if verdict is not Verdict.UNCHANGED}
    desired = [outcomes[key].wanted or outcomes[key].was for key in changed]
    if all(each is not None and each.hooks for each in desired):
        for key in changed:
            if outcomes[key].wanted:
                yield Consequence(
                    key, "only hooks change, so Argo CD starts no sync: it runs in the next one"
                )
