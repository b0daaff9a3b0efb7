"""The semantics of NetworkPolicies: one test for each clause of the specification."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from delivery.manifests.manifest import Manifest, selects
from delivery.network.policy import Direction, Network, Peer, Pod

NAMESPACES = {"one": {"team": "a"}, "two": {"team": "b"}}


def pod(namespace: str = "one", **labels: str) -> Pod:
    """Return a pod that names its port 80 `http` and its port 53 `dns`."""
    return Pod(
        name="pod",
        namespace=namespace,
        labels=labels,
        named_ports={("TCP", "http"): 80, ("UDP", "dns"): 53},
    )


def policy(name: str = "policy", namespace: str = "one", **spec: Any) -> Manifest:  # noqa: ANN401 - as YAML has it
    """Return a policy, by default for every pod of a namespace."""
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}, **spec},
    }


def allows(
    *policies: Manifest,
    client: Peer | None = None,
    server: Peer | None = None,
    protocol: str = "TCP",
    port: int = 80,
) -> bool:
    """Tell whether a connection is allowed, by default between two pods of `one`."""
    blocks = Network(policies, NAMESPACES).blocks(client or pod(), server or pod(), protocol, port)
    return not blocks


def allowed_from(peer: Manifest, client: Peer) -> bool:
    """Tell whether an ingress rule with one peer lets a client in."""
    return allows(policy(ingress=[{"from": [peer]}]), client=client)


def allowed_to(port: Manifest, number: int, protocol: str = "TCP") -> bool:
    """Tell whether an ingress rule with one port opens a port."""
    return allows(policy(ingress=[{"ports": [port]}]), port=number, protocol=protocol)


def test_a_pod_that_no_policy_selects_is_open() -> None:
    """Isolation begins with the first policy; a default deny is a choice."""
    assert allows(policy(podSelector={"matchLabels": {"app": "other"}}, policyTypes=["Ingress"]))


def test_a_policy_counts_only_in_its_own_namespace() -> None:
    """An empty podSelector means every pod of this namespace, not of the cluster."""
    assert allows(policy(namespace="two", policyTypes=["Ingress", "Egress"]))


def test_a_policy_without_a_namespace_is_in_the_default_one() -> None:
    """As everywhere in Kubernetes."""
    manifest = policy(policyTypes=["Ingress"])
    del manifest["metadata"]["namespace"]
    network = Network([manifest], {"default": {}})
    assert network.blocks(pod("default"), pod("default"), "TCP", 80)


@pytest.mark.parametrize("direction", Direction)
def test_a_type_without_rules_denies_everything_of_that_direction(direction: Direction) -> None:
    """The default deny of dist has this form."""
    network = Network([policy(policyTypes=[direction.value])], NAMESPACES)
    [block] = network.blocks(pod(), pod(), "TCP", 80)
    assert (block.direction, block.policies) == (direction, ("policy",))


@pytest.mark.parametrize("direction", Direction)
def test_an_empty_list_of_rules_denies_everything_too(direction: Direction) -> None:
    """`ingress: []` means no rule, not a rule without limits."""
    rules: dict[str, Any] = {direction.rules: []}
    assert not allows(policy(policyTypes=[direction.value], **rules))


@pytest.mark.parametrize("direction", Direction)
def test_an_empty_rule_allows_everything_of_that_direction(direction: Direction) -> None:
    """`ingress: [{}]` is a rule without limits."""
    rules: dict[str, Any] = {direction.rules: [{}]}
    assert allows(policy(policyTypes=[direction.value], **rules))


def test_both_sides_must_allow_a_connection() -> None:
    """An egress rule without its ingress rule is as good as none."""
    egress = policy("client", podSelector={"matchLabels": {"app": "client"}}, egress=[{}])
    ingress = policy("server", podSelector={"matchLabels": {"app": "server"}}, ingress=[])
    assert not allows(egress, ingress, client=pod(app="client"), server=pod(app="server"))


def test_both_sides_are_named_when_both_forbid_it() -> None:
    """To fix only one of them would cost a second round."""
    network = Network([policy(policyTypes=["Ingress", "Egress"])], NAMESPACES)
    assert [block.direction for block in network.blocks(pod(), pod(), "TCP", 80)] == [
        Direction.EGRESS,
        Direction.INGRESS,
    ]


def test_policies_add_up() -> None:
    """One that allows is enough, however many do not."""
    assert allows(policy("deny", policyTypes=["Ingress"]), policy("allow", ingress=[{}]))


def test_every_policy_that_isolates_is_named() -> None:
    """Any of them is where a rule could be added."""
    policies = [policy("deny", policyTypes=["Ingress"]), policy("other", ingress=[])]
    [block] = Network(policies, NAMESPACES).blocks(pod(), pod(), "TCP", 80)
    assert block.policies == ("deny", "other")


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        ({}, {Direction.INGRESS}),
        ({"policyTypes": []}, {Direction.INGRESS}),
        ({"ingress": [{}]}, {Direction.INGRESS}),
        # The API server's own defaulting counts the rules: an empty list is none.
        ({"egress": []}, {Direction.INGRESS}),
        ({"egress": [{}]}, {Direction.INGRESS, Direction.EGRESS}),
        ({"policyTypes": ["Egress"]}, {Direction.EGRESS}),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, {Direction.INGRESS}),
    ],
)
def test_without_types_a_policy_isolates_for_ingress_and_for_the_egress_rules_it_has(
    spec: dict[str, Any], isolated: set[Direction]
) -> None:
    """A policy that only adds an egress rule also closes the way in, which surprises."""
    network = Network([policy(**spec)], NAMESPACES)
    assert {way for way in Direction if network.isolating(pod(), way)} == isolated


def test_rules_of_a_direction_that_is_no_type_are_ignored() -> None:
    """They look like a permission, but are not."""
    other = policy("other", policyTypes=["Egress"])
    assert not allows(policy(policyTypes=["Ingress"], ingress=[{}], egress=[{}]), other)


@pytest.mark.parametrize("peers", [{}, {"from": []}, {"from": None}])
def test_a_rule_without_peers_is_for_everyone(peers: dict[str, Any]) -> None:
    """Deleting the last peer of a rule opens it to the world."""
    opened = policy(ingress=[peers])
    assert allows(opened, client=pod("two"))
    assert allows(opened, client=ip_network("198.51.100.1"))


@pytest.mark.parametrize("ports", [{}, {"ports": []}, {"ports": None}])
def test_a_rule_without_ports_is_for_every_port(ports: dict[str, Any]) -> None:
    """Deleting the last port of a rule opens them all, of every protocol."""
    opened = policy(ingress=[{"from": [{"podSelector": {}}], **ports}])
    assert all(
        allows(opened, port=port, protocol=protocol)
        for port in (1, 65535)
        for protocol in ("TCP", "UDP", "SCTP")
    )


def test_a_pod_selector_is_for_the_policy_s_own_namespace() -> None:
    """The same labels in another namespace do not count."""
    peer = {"podSelector": {"matchLabels": {"app": "client"}}}
    assert allowed_from(peer, pod(app="client"))
    assert not allowed_from(peer, pod("two", app="client"))
    assert not allowed_from(peer, pod(app="other"))


def test_an_empty_pod_selector_is_every_pod_of_the_namespace() -> None:
    """Pods of another namespace do not count."""
    assert allowed_from({"podSelector": {}}, pod())
    assert not allowed_from({"podSelector": {}}, pod("two"))


def test_a_namespace_selector_is_every_pod_of_those_namespaces() -> None:
    """Whatever the pod's labels are."""
    peer = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    assert allowed_from(peer, pod("two"))
    assert not allowed_from(peer, pod())


def test_an_empty_namespace_selector_is_every_namespace() -> None:
    """But not an address outside of the cluster."""
    assert allowed_from({"namespaceSelector": {}}, pod("two"))
    assert not allowed_from({"namespaceSelector": {}}, ip_network("198.51.100.1"))


def test_a_namespace_can_be_selected_by_its_name() -> None:
    """Every cluster labels each namespace with its name; the manifests need not."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "two"}}}
    assert allowed_from(peer, pod("two"))
    assert not allowed_from(peer, pod())


def test_two_selectors_in_one_peer_must_both_match() -> None:
    """The classic mistake is a dash too many, which makes them two peers."""
    both = {
        "namespaceSelector": {"matchLabels": {"team": "b"}},
        "podSelector": {"matchLabels": {"app": "client"}},
    }
    assert allowed_from(both, pod("two", app="client"))
    assert not allowed_from(both, pod("two", app="other"))
    assert not allowed_from(both, pod("one", app="client"))


def test_an_expression_beside_a_namespace_selector_is_about_those_namespaces() -> None:
    """It does not apply to the policy's own namespace."""
    peer = {
        "namespaceSelector": {"matchLabels": {"team": "b"}},
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
    }
    assert allowed_from(peer, pod("two", app="any"))
    assert not allowed_from(peer, pod("two"))
    assert not allowed_from(peer, pod("one", app="any"))


def test_either_of_two_peers_may_match() -> None:
    """The same two selectors with that dash."""
    peers = [
        {"namespaceSelector": {"matchLabels": {"team": "b"}}},
        {"podSelector": {"matchLabels": {"app": "client"}}},
    ]
    either = policy(ingress=[{"from": peers}])
    assert allows(either, client=pod("two", app="other"))
    assert allows(either, client=pod("one", app="client"))
    assert not allows(either, client=pod("one", app="other"))


def test_a_rule_needs_both_its_peer_and_its_port() -> None:
    """The port of one rule does not combine with the peer of another."""
    rules = [
        {"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": [{"port": 80}]},
        {"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 81}]},
    ]
    assert allows(policy(ingress=rules), client=pod(app="a"), port=80)
    assert not allows(policy(ingress=rules), client=pod(app="a"), port=81)


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ({"operator": "In", "values": ["a", "b"]}, {"a", "b"}),
        ({"operator": "NotIn", "values": ["a", "b"]}, {"c", None}),
        ({"operator": "Exists"}, {"a", "b", "c"}),
        ({"operator": "DoesNotExist"}, {None}),
    ],
)
def test_expressions_select(expression: Manifest, selected: set[str | None]) -> None:
    """A label that is missing is not in any list."""
    selector = {"matchExpressions": [{"key": "app", **expression}]}
    assert {
        value
        for value in ("a", "b", "c", None)
        if selects(selector, {"app": value} if value else {})
    } == selected


def test_labels_and_expressions_must_all_match() -> None:
    """They narrow each other."""
    selector = {
        "matchLabels": {"app": "a"},
        "matchExpressions": [{"key": "tier", "operator": "Exists"}],
    }
    assert selects(selector, {"app": "a", "tier": "x"})
    assert not selects(selector, {"app": "a"})
    assert not selects(selector, {"app": "b", "tier": "x"})


def test_an_unknown_operator_is_an_error() -> None:
    """The API server refuses it; a guess would prove something that never runs."""
    with pytest.raises(KeyError, match="Like"):
        selects({"matchExpressions": [{"key": "app", "operator": "Like"}]}, {})


def test_the_protocol_of_a_port_is_tcp_unless_stated() -> None:
    """DNS needs its UDP spelled out."""
    assert allowed_to({"port": 53}, 53, "TCP")
    assert not allowed_to({"port": 53}, 53, "UDP")


@pytest.mark.parametrize("protocol", ["UDP", "SCTP"])
def test_a_port_is_for_its_own_protocol(protocol: str) -> None:
    """The same number is another port in another protocol."""
    assert allowed_to({"port": 53, "protocol": protocol}, 53, protocol)
    assert not allowed_to({"port": 53, "protocol": protocol}, 53, "TCP")


def test_a_protocol_without_a_port_is_every_port_of_it() -> None:
    """It does not open another protocol."""
    assert allowed_to({"protocol": "UDP"}, 65535, "UDP")
    assert not allowed_to({"protocol": "UDP"}, 65535, "TCP")


def test_an_end_port_makes_a_range_with_both_ends() -> None:
    """One port too few is an outage, one too many is a hole."""
    ports = {"port": 80, "endPort": 82}
    assert [port for port in range(78, 85) if allowed_to(ports, port)] == [80, 81, 82]


def test_a_named_port_is_the_server_s() -> None:
    """The name is looked up in the pod that listens."""
    assert allowed_to({"port": "http"}, 80)
    assert not allowed_to({"port": "http"}, 81)


def test_a_named_port_counts_only_with_its_protocol() -> None:
    """`dns` is UDP in the pod, but the default of a rule is TCP."""
    assert allowed_to({"port": "dns", "protocol": "UDP"}, 53, "UDP")
    assert not allowed_to({"port": "dns"}, 53, "TCP")


def test_a_named_port_of_an_egress_rule_is_the_server_s_too() -> None:
    """The client may have a port of the same name with another number."""
    server = Pod(name="b", namespace="one", labels={}, named_ports={("TCP", "http"): 8080})
    opened = policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}])
    assert allows(opened, server=server, port=8080)
    assert not allows(opened, server=server, port=80)


def test_a_named_port_opens_nothing_outside_of_the_cluster() -> None:
    """No pod there gives the name a number."""
    opened = policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}])
    assert not allows(opened, server=ip_network("198.51.100.1"))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.1", True),
        ("10.1.0.1", False),
        ("11.0.0.1", False),
        # Half of it is an exception.
        ("10.0.0.0/15", False),
        ("2001:db8::1", False),
    ],
)
def test_an_ip_block_is_its_addresses_without_its_exceptions(address: str, allowed: bool) -> None:  # noqa: FBT001 - a parameter
    """A network counts only if all of it is included."""
    peer = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    assert allowed_from(peer, ip_network(address)) is allowed


def test_an_ip_block_may_be_of_version_6() -> None:
    """A dual-stack cluster has both versions."""
    peer = {"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}}
    assert allowed_from(peer, ip_network("2001:db8::1"))
    assert not allowed_from(peer, ip_network("2001:db8:1::1"))


def test_an_ip_block_is_not_for_pods() -> None:
    """Which address a pod shows there depends on the network plugin: never rely on it."""
    assert not allowed_from({"ipBlock": {"cidr": "0.0.0.0/0"}}, pod())


def test_a_pod_always_reaches_itself() -> None:
    """No policy can forbid it."""
    same = pod()
    assert allows(policy(policyTypes=["Ingress", "Egress"]), client=same, server=same)


def test_two_pods_of_one_workload_are_not_the_same_pod() -> None:
    """Connections between replicas need an edge like all others."""
    assert not allows(policy(policyTypes=["Ingress"]), client=pod(app="a"), server=pod(app="a"))


CORPUS = Path(__file__).parent / "policy_corpus.json"


def _pod(manifest: Manifest) -> Pod:
    ports = {(port["protocol"], port["name"]): port["containerPort"] for port in manifest["ports"]}
    return Pod(
        name=manifest["name"],
        namespace=manifest["namespace"],
        labels=manifest["labels"],
        named_ports=ports,
    )


def _bits(network: Network, client: Peer, server: Peer, ports: list[tuple[str, int]]) -> str:
    """Return the allowed ports as the corpus writes them: one bit each, the first one lowest."""
    answers = [not network.blocks(client, server, protocol, port) for protocol, port in ports]
    return format(sum(1 << index for index, allowed in enumerate(answers) if allowed), "x")


def test_an_independent_checker_gives_the_same_answers() -> None:
    """An author who misreads a specification also writes wrong tests for it.

    The corpus holds random clusters with the answers of network-config-analyzer 2.1.0, of the
    np-guard project: for each client, the ports that it may use on each pod and address. It was
    recorded once, one process per cluster, because that package pins old dependencies and keeps
    state; a run over 1000 clusters, 8.7 million questions, found no difference.

    The random policies leave out the cases in which the two differ, each time with Kubernetes on
    our side: an empty `egress` without types, which the API server ignores, and the operators
    Exists and DoesNotExist beside a namespaceSelector, which that package evaluates only in the
    policy's own namespace. It also refuses rules of a direction that is not among the types. Each
    of these cases has a test of its own above.
    """
    corpus = json.loads(CORPUS.read_text())
    outside: list[Peer] = [ip_network(address) for address in corpus["addresses"]]
    wrong = []
    for case in corpus["cases"]:
        network = Network(case["policies"], corpus["namespaces"])
        pods: list[Peer] = [_pod(manifest) for manifest in case["pods"]]
        for client, recorded in zip([*pods, *outside], case["allowed"].values(), strict=True):
            servers = [*pods, *outside] if client in pods else pods
            answers = [
                _bits(network, client, server, corpus["ports"])
                for server in servers
                if server is not client
            ]
            if answers != recorded.split(" "):
                wrong.append((case["seed"], client))
    assert (len(corpus["cases"]), wrong) == (50, [])
