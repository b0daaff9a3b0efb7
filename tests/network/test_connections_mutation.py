"""Break dist in every place that a connection depends on: each break must be noticed."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import pytest

from delivery.manifests.applications import environments
from delivery.manifests.manifest import Manifest
from delivery.network.cluster import Cluster, load
from delivery.network.connection import Connection, Verdict
from delivery.network.connections import analyze
from delivery.network.policy import Direction, Pod
from rendering import containers
from repository import REPOSITORY

pytestmark = pytest.mark.slow

DELETED = object()


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One place of dist, and the value that it gets there.

    Attributes:
        manifest: The object.
        path: Path of the place in it.
        parent: List or dict that holds the place.
        key: Index or key in it.
        value: The new value, or DELETED.
    """

    manifest: Manifest
    path: str
    parent: Any
    key: Any
    value: Any

    def __str__(self) -> str:
        """Return the object, the place and the change."""
        kind, name = self.manifest["kind"], self.manifest["metadata"]["name"]
        # A whole file would be too long: its path shows the change.
        shown = self.value if kind != "ConfigMap" else "..."
        change = "deleted" if self.value is DELETED else f"= {shown}"
        return f"{kind}/{name} {self.path} {change}"

    def survives(self, analysis: Callable[[], bool]) -> bool:
        """Make the change, ask whether the proof still holds, and undo the change."""
        before = copy(self.parent)
        try:
            if self.value is DELETED:
                del self.parent[self.key]
            else:
                self.parent[self.key] = self.value
            return analysis()
        finally:
            self.parent.clear()
            (self.parent.extend if isinstance(self.parent, list) else self.parent.update)(before)


def _mutants(manifest: Manifest, services: re.Pattern[str]) -> Iterator[Mutant]:
    """Return the mutants of an object.

    Args:
        manifest: The object.
        services: Finds the names of Services in a text.
    """
    match manifest["kind"]:
        case "NetworkPolicy":
            places = _policy(manifest)
        case "Service":
            places = _service(manifest)
        case "ConfigMap":
            places = _files(manifest)
        case "Deployment" | "StatefulSet" | "Job":
            places = _workload(manifest, services)
        case _:
            return
    for path, parent, key, value in places:
        yield Mutant(manifest=manifest, path=path, parent=parent, key=key, value=value)


Place = tuple[str, Any, Any, Any]


def _policy(policy: Manifest) -> Iterator[Place]:
    spec = policy["spec"]
    yield "namespace", policy["metadata"], "namespace", "other"
    yield from _selector("podSelector", spec["podSelector"])
    for index in range(len(spec["policyTypes"])):
        yield f"policyTypes[{index}]", spec["policyTypes"], index, DELETED
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        rules = spec.get(direction, [])
        for r, rule in enumerate(rules):
            yield f"{direction}[{r}]", rules, r, DELETED
            yield f"{direction}[{r}].{peers}", rule, peers, DELETED
            yield f"{direction}[{r}].ports", rule, "ports", DELETED
            for p, peer in enumerate(rule[peers]):
                path = f"{direction}[{r}].{peers}[{p}]"
                yield path, rule[peers], p, DELETED
                yield path, rule[peers], p, {"podSelector": {}}
                yield path, rule[peers], p, {"namespaceSelector": {}}
                yield path, rule[peers], p, {"ipBlock": {"cidr": "0.0.0.0/0"}}
                if "podSelector" in peer:
                    yield path, rule[peers], p, {**peer, "namespaceSelector": {}}
                for key in peer:
                    yield f"{path}.{key}", peer, key, DELETED
                    if key == "ipBlock":
                        yield f"{path}.cidr", peer[key], "cidr", "169.254.20.11/32"
                        yield f"{path}.cidr", peer[key], "cidr", "169.254.20.0/24"
                    else:
                        yield from _selector(f"{path}.{key}", peer[key])
            for q, port in enumerate(rule["ports"]):
                path = f"{direction}[{r}].ports[{q}]"
                yield path, rule["ports"], q, DELETED
                yield f"{path}.port", port, "port", port["port"] + 1
                yield f"{path}.port", port, "port", DELETED
                yield f"{path}.endPort", port, "endPort", port["port"] + 1
                yield f"{path}.protocol", port, "protocol", "SCTP"


def _selector(path: str, selector: Manifest) -> Iterator[Place]:
    labels = selector.get("matchLabels", {})
    for key, value in labels.items():
        yield f"{path}.{key}", labels, key, f"{value}-x"
        yield f"{path}.{key}", labels, key, DELETED


def _service(service: Manifest) -> Iterator[Place]:
    spec = service["spec"]
    yield "name", service["metadata"], "name", "other"
    yield "namespace", service["metadata"], "namespace", "other"
    yield from _selector("selector", {"matchLabels": spec["selector"]})
    for key in ("clusterIP", "publishNotReadyAddresses"):
        if key in spec:
            yield key, spec, key, DELETED
    for index, port in enumerate(spec["ports"]):
        path = f"ports[{index}]"
        yield path, spec["ports"], index, DELETED
        yield f"{path}.protocol", port, "protocol", "UDP"
        for key in ("port", "targetPort"):
            yield f"{path}.{key}", port, key, port[key] + 1


# Text that looks like a port; deliberately not the way in which the proof finds it.
_NUMBER = re.compile(r"(?<=:)\d{2,5}\b")


def _text(path: str, parent: Any, key: Any, services: re.Pattern[str]) -> Iterator[Place]:  # noqa: ANN401 - a list or a dict
    text = parent[key]
    for number in _NUMBER.finditer(text):
        port = str(int(number[0]) + 1)
        yield path, parent, key, text[: number.start()] + port + text[number.end() :]
    for host in services.finditer(text):
        name = host[0]
        for other in (f"{name}-x", f"{name}.another-namespace", f"{name}.x.svc"):
            yield path, parent, key, text[: host.start()] + other + text[host.end() :]


def _workload(workload: Manifest, services: re.Pattern[str]) -> Iterator[Place]:
    spec = workload["spec"]
    yield from _selector("template.labels", {"matchLabels": spec["template"]["metadata"]["labels"]})
    if "serviceName" in spec:
        yield "serviceName", spec, "serviceName", "other"
    for container in containers(spec["template"]["spec"]):
        path = container["name"]
        yield from _variables(path, container, services)
        command = container.get("command", [])
        for index, word in enumerate(command):
            is_setting = "=" in word or ":" in word
            here = f"{path}.command[{index}]"
            changes = [*_text(here, command, index, services)] if is_setting else []
            if changes or "$(" in word:
                yield here, command, index, DELETED
            yield from changes
        for index, port in enumerate(container.get("ports", [])):
            here = f"{path}.ports[{index}]"
            yield here, container["ports"], index, DELETED
            yield here, port, "containerPort", port["containerPort"] + 1
            yield here, port, "protocol", "UDP"


def _variables(path: str, container: Manifest, services: re.Pattern[str]) -> Iterator[Place]:
    """Change each variable with an address, and delete it, or one that others refer to."""
    variables = container.get("env", [])
    hosts = {each["name"] for each in variables if services.search(each.get("value", ""))}
    for index, variable in enumerate(variables):
        name = variable["name"]
        here = f"{path}.env[{name}]"
        is_port = name.endswith("_PORT") and name.replace("_PORT", "_HOST") in hosts
        if name in hosts or is_port or f"$({name})" in json.dumps(container):
            yield here, variables, index, DELETED
        if name in hosts:
            yield from _text(here, variable, "value", services)
        if is_port:
            yield here, variable, "value", str(int(variable["value"]) + 1)


def _files(files: Manifest) -> Iterator[Place]:
    """Every line of a configuration that sets a port: the port changed, the line deleted."""
    for name, text in files["data"].items():
        lines = text.splitlines()
        for index, line in enumerate(lines):
            if not name.endswith((".sh", ".py")) and re.match(r"[^#]*port:? \d+$", line):
                key, _, port = line.rpartition(" ")
                for other in (f"{key} {int(port) + 1}", f"{key} 0", None):
                    changed = [*lines[:index], *([other] if other else []), *lines[index + 1 :]]
                    shown = f"{name}: {line.strip()!r} -> {other and other.strip()!r}"
                    yield shown, files["data"], name, "\n".join(changed)


# --- Mutants that break nothing


DEFAULTS = {"jobmanager.rpc.port: 6123", "rest.port: 8081", "port 6379"}
"""Settings of Flink and Redis whose value is the program's own default."""


def _excuse(mutant: Mutant, cluster: Cluster, rows: Sequence[Connection]) -> str | None:
    """Return why a mutant breaks nothing, or None if it does.

    Args:
        mutant: The mutant.
        cluster: The cluster without it.
        rows: All connections without it.
    """
    manifest, path = mutant.manifest, mutant.path
    if manifest["kind"] == "NetworkPolicy":
        return _excuse_of_policy(mutant, cluster)
    if mutant.value is DELETED and ".env[" in path and _is_named_elsewhere(mutant):
        return "another container of the same pod connects to the same address"
    if manifest["kind"] == "ConfigMap" and any(f"{each!r} -> None" in path for each in DEFAULTS):
        return "the program's own default is the same port"
    if manifest["kind"] == "Service":
        is_port = re.fullmatch(r"ports\[\d+\](\.port)?", path)
        if is_port and mutant.value is DELETED and manifest["spec"].get("clusterIP") == "None":
            return "the name of a headless Service resolves to pods, whatever ports it lists"
        if (is_port or path == "name") and not _is_used(manifest, cluster, rows):
            return "nothing in the cluster connects to it; people do, by `kubectl port-forward`"
    return None


def _excuse_of_policy(mutant: Mutant, cluster: Cluster) -> str | None:
    if mutant.path.startswith("policyTypes") and _isolates_alike(mutant, cluster):
        return "its pods stay isolated in that direction, and no rule is lost"
    if mutant.path.endswith(".endPort") and mutant.value in _neighbours(mutant):
        return "another rule allows the next port between the same pods"
    return None


def _is_named_elsewhere(mutant: Mutant) -> bool:
    """Tell whether a variable of a container has the value of another one's in its pod.

    rpk, in an init container, dials a default without its variable, and a port names no address.
    """
    pod = mutant.manifest["spec"]["template"]["spec"]
    own, _, path = mutant.path.partition(".")
    if own not in {each["name"] for each in pod["containers"]} or path.endswith("_PORT]"):
        return False
    others = [each for each in containers(pod) if each["name"] != own]
    values = {variable.get("value") for each in others for variable in each.get("env", [])}
    return mutant.parent[mutant.key].get("value", "") in values


def _isolates_alike(mutant: Mutant, cluster: Cluster) -> bool:
    """Tell whether a policy without one of its types changes nothing for its pods."""
    direction = Direction(mutant.parent[mutant.key])
    has_rules = bool(mutant.manifest["spec"].get(direction.rules))
    if mutant.parent == ["Egress"]:
        # Without types a policy isolates for the egress rules that it has.
        return has_rules
    if has_rules:
        return False
    network, name = cluster.network([]), mutant.manifest["metadata"]["name"]
    to_come = [Pod(name="any", namespace=each, labels={}) for each in cluster.namespaces]
    isolating = [
        {policy.name for policy in network.isolating(pod, direction)}
        for pod in [*(workload.pod for workload in cluster.workloads), *to_come]
    ]
    return all(policies - {name} for policies in isolating if name in policies)


def _neighbours(mutant: Mutant) -> set[int]:
    """Return the ports that a policy allows between the same pods as the mutated port."""
    direction = Direction.INGRESS if mutant.path.startswith("ingress") else Direction.EGRESS
    rules = mutant.manifest["spec"][direction.rules]
    [peers] = [rule[direction.peers] for rule in rules if mutant.parent in rule["ports"]]
    return {
        port["port"] for rule in rules if rule[direction.peers] == peers for port in rule["ports"]
    }


def _is_used(service: Manifest, cluster: Cluster, rows: Sequence[Connection]) -> bool:
    """Tell whether any workload or Ingress connects to a Service."""
    name = re.compile(rf"(?<![\w-]){re.escape(service['metadata']['name'])}(?![\w-])")
    published = json.dumps([each["spec"] for each in cluster.kind("Ingress")])
    return any(map(name.search, [*(row.address for row in rows), published]))


@pytest.mark.parametrize("environment", [each.name for each in environments(REPOSITORY)])
def test_every_break_is_noticed_except_for_those_that_break_nothing(environment: str) -> None:
    """A proof that misses a deleted rule is worthless: each survivor needs an excuse.

    Each environment is judged alone, which is harder: a foreign address is only unknown then.
    """
    folders = {environment: load(REPOSITORY)[environment]}

    def holds() -> bool:
        return all(row.verdict is Verdict.REACHABLE for row in analyze(folders))

    assert holds()
    cluster, rows = Cluster(folders), list(analyze(folders))
    names = "|".join(sorted((re.escape(name) for _, name in cluster.services), reverse=True))
    services = re.compile(rf"(?<![/\w-])(?:{names})\b(?=:|$)")
    mutants = [each for manifest in folders[environment] for each in _mutants(manifest, services)]
    excused = {str(each) for each in mutants if _excuse(each, cluster, rows)}
    survivors = {str(each) for each in mutants if each.survives(holds)}
    assert mutants
    assert sorted(survivors - excused) == []
    assert sorted(excused - survivors) == []
