"""Break dist in every single place that a connection depends on: each break must be noticed."""

import re
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import pytest

from delivery.manifests.manifest import Manifest
from delivery.network.cluster import load
from delivery.network.connections import Verdict, analyze
from rendering import containers
from repository import REPOSITORY

DELETED = object()


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One place of dist, and what it becomes there.

    Attributes:
        name: The object, the place in it, and the change.
        parent: What holds the place: a list or a dict.
        key: The index or key there.
        value: The new value, or DELETED.
    """

    name: str
    parent: Any
    key: Any
    value: Any

    def survives(self, analysis: Callable[[], bool]) -> bool:
        """Make the change, ask whether all is well, and undo it."""
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


def _mutants(manifest: Manifest) -> Iterator[Mutant]:
    name = f"{manifest['kind']}/{manifest['metadata']['name']}"
    places = {
        "NetworkPolicy": _policy,
        "Service": _service,
        "ConfigMap": _files,
        "Deployment": _workload,
        "StatefulSet": _workload,
        "Job": _workload,
    }
    if manifest["kind"] in places:
        for path, parent, key, value in places[manifest["kind"]](manifest):
            # A whole file would be too long to be shown: its path says what changed.
            shown = value if manifest["kind"] != "ConfigMap" else "..."
            change = "deleted" if value is DELETED else f"= {shown}"
            yield Mutant(name=f"{name} {path} {change}", parent=parent, key=key, value=value)


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


# What looks like a port or the name of a Service; deliberately not how the analysis finds them.
_NUMBER = re.compile(r"(?<=:)\d{2,5}\b")
_SERVICE = re.compile(
    r"(?<![/\w-])(?:redpanda-brokers|redpanda|redis|payment-api|alert-monitor|flink-jobmanager)\b(?=:|$)"
)


def _text(path: str, parent: Any, key: Any) -> Iterator[Place]:  # noqa: ANN401 - a list or a dict
    text = parent[key]
    for number in _NUMBER.finditer(text):
        port = str(int(number[0]) + 1)
        yield path, parent, key, text[: number.start()] + port + text[number.end() :]
    for host in _SERVICE.finditer(text):
        for other in (f"{host[0]}-x", f"{host[0]}.fraud-detection-other", "redis.x.svc"):
            yield path, parent, key, text[: host.start()] + other + text[host.end() :]


def _workload(workload: Manifest) -> Iterator[Place]:
    spec = workload["spec"]
    yield from _selector("template.labels", {"matchLabels": spec["template"]["metadata"]["labels"]})
    if "serviceName" in spec:
        yield "serviceName", spec, "serviceName", "other"
    for container in containers(spec["template"]["spec"]):
        path = container["name"]
        variables = container.get("env", [])
        for index, variable in enumerate(variables):
            here = f"{path}.env[{variable['name']}]"
            if re.search(r"_(HOST|PORT|BROKER|BROKERS|API|MONITOR|NAME|IP)$", variable["name"]):
                yield here, variables, index, DELETED
            if "value" in variable:
                yield from _text(here, variable, "value")
            if variable["name"].endswith("_PORT"):
                yield here, variable, "value", str(int(variable["value"]) + 1)
        command = container.get("command", [])
        for index, word in enumerate(command):
            says_something = "=" in word or ":" in word
            changes = [*_text(f"{path}.command[{index}]", command, index)] if says_something else []
            if changes or "$(" in word:
                yield f"{path}.command[{index}]", command, index, DELETED
            yield from changes
        for index, port in enumerate(container.get("ports", [])):
            here = f"{path}.ports[{index}]"
            yield here, container["ports"], index, DELETED
            yield here, port, "containerPort", port["containerPort"] + 1
            yield here, port, "protocol", "UDP"


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


OTHER_POLICY = "another policy of the namespace isolates the same pods for that direction anyway"
SAME_DEFAULT = "the program's own default is the same port"
HEADLESS = "the name of a headless Service stands for the pods, whatever ports it lists"
BY_HAND = "nobody in the cluster connects to it; people do, with `kubectl port-forward`"
NEIGHBOUR = "the next rule allows 6124 between the same pods"

SURVIVORS = {
    "ConfigMap/flink-files flink-conf.yaml: 'rest.port: 8081' -> None = ...": SAME_DEFAULT,
    "ConfigMap/redis-files redis.conf: 'port 6379' -> None = ...": SAME_DEFAULT,
    "NetworkPolicy/default-deny policyTypes[1] deleted": OTHER_POLICY,
    "NetworkPolicy/dns policyTypes[0] deleted": OTHER_POLICY,
    "NetworkPolicy/flink-jobmanager ingress[0].ports[0].endPort = 6124": NEIGHBOUR,
    "NetworkPolicy/flink-taskmanager egress[0].ports[0].endPort = 6124": NEIGHBOUR,
    "NetworkPolicy/redis policyTypes[1] deleted": OTHER_POLICY,
    "NetworkPolicy/transactions-topic policyTypes[0] deleted": OTHER_POLICY,
    "Service/redpanda-brokers ports[0] deleted": HEADLESS,
    "Service/redpanda-brokers ports[1] deleted": HEADLESS,
}
SURVIVORS_OF = {
    "dev": {
        **SURVIVORS,
        "NetworkPolicy/smoke-test policyTypes[0] deleted": OTHER_POLICY,
    },
    "staging": {
        **SURVIVORS,
        "NetworkPolicy/alert-monitor policyTypes[0] deleted": OTHER_POLICY,
        "NetworkPolicy/payment-api policyTypes[0] deleted": OTHER_POLICY,
        "Service/alert-monitor name = other": BY_HAND,
        "Service/alert-monitor ports[0] deleted": BY_HAND,
        "Service/alert-monitor ports[0].port = 8081": BY_HAND,
        "Service/payment-api name = other": BY_HAND,
        "Service/payment-api ports[0] deleted": BY_HAND,
        "Service/payment-api ports[0].port = 8001": BY_HAND,
    },
}


@pytest.mark.parametrize("environment", SURVIVORS_OF)
def test_every_break_is_noticed_except_for_those_that_break_nothing(environment: str) -> None:
    """A check that misses a deleted rule is as good as none: each survivor has its reason here.

    Each environment is judged alone, which is harder: what is foreign is then only unknown.
    """
    manifests = load(REPOSITORY)[environment]

    def all_is_well() -> bool:
        return all(row.verdict is Verdict.REACHABLE for row in analyze({environment: manifests}))

    assert all_is_well()
    mutants = [mutant for manifest in manifests for mutant in _mutants(manifest)]
    survivors = {mutant.name for mutant in mutants if mutant.survives(all_is_well)}
    assert len(mutants) > 600
    assert survivors == SURVIVORS_OF[environment].keys()
