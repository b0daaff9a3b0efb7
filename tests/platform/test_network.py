"""The rendered NetworkPolicies allow the data flow and nothing else."""

import json
from dataclasses import replace
from operator import attrgetter

import pytest

from fraud_detection.environments import Environment
from fraud_detection.platform.publication import Publication
from rendering import LIVE, Manifest, Manifests, live_manifests, small, variables
from settings import LARGE, PUBLICATION, SMALL


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


def _edges(system: Manifests, direction: str, peers: str) -> set[tuple[str, str, int]]:
    """Return each (client, server, port) that the policies allow in one direction.

    Ingress controllers are left out: they are not part of the system.
    """
    found = set()
    for policy in system.kind("NetworkPolicy"):
        me = policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        for rule in policy["spec"].get(direction, []) if me else []:
            for port in rule["ports"]:
                for peer in rule[peers]:
                    if "namespaceSelector" in peer:
                        continue
                    other = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                    pair = (me, other) if direction == "egress" else (other, me)
                    found.add((*pair, port["port"]))
    return found


# The data flow of the applications, as a second opinion on the constructs.
FLOW = {
    ("payment-api", "redpanda", 9093),
    ("redpanda", "redpanda", 33145),
    # rpk in a broker's pod.
    ("redpanda", "redpanda", 9093),
    ("flink-jobmanager", "redpanda", 9093),
    ("flink-jobmanager", "redis", 6379),
    ("alert-monitor", "redis", 6379),
}
PROBER = {("prober", "payment-api", 8000), ("prober", "alert-monitor", 8080)}
COMPONENTS = {component for client, server, _ in FLOW | PROBER for component in (client, server)}


def test_exactly_the_data_flow_is_allowed(system: Manifests) -> None:
    """A missing edge is an outage that shows only as restarts; a surplus edge is a hole."""
    edges = _edges(system, "egress", "to")
    among_these = {edge for edge in edges if {edge[0], edge[1]} <= COMPONENTS}
    assert among_these == FLOW | (PROBER if system.environment.prober else set())


def test_every_workload_has_its_network_policy(system: Manifests) -> None:
    """Pods under the default deny alone reach nobody and nobody reaches them."""
    selected = [
        policy["spec"]["podSelector"].get("matchLabels") for policy in system.kind("NetworkPolicy")
    ]
    for name, template in system.pod_templates():
        labels = {
            "app.kubernetes.io/name": template["metadata"]["labels"]["app.kubernetes.io/name"]
        }
        assert selected.count(labels) == 1, name


def test_every_egress_edge_has_its_ingress_edge(system: Manifests) -> None:
    """Both sides must allow a connection; one side alone allows nothing."""
    assert _edges(system, "egress", "to") == _edges(system, "ingress", "from")


def test_everything_else_is_denied(system: Manifests) -> None:
    """The edges mean something only on top of a default deny in both directions."""
    assert system.get("NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_every_pod_reaches_the_cluster_dns_and_the_node_local_cache(system: Manifests) -> None:
    """NodeLocal DNS is on the host network: a pod selector alone would miss it."""
    [rule] = system.get("NetworkPolicy", "dns")["spec"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
    dns, cache = rule["to"]
    assert dns["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert dns["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
    assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}


def test_every_service_selects_a_workload_that_listens_on_its_ports(system: Manifests) -> None:
    """A Service that selects nothing, or points at a closed port, refuses every client."""
    listening: dict[str, set[int]] = {}
    for _, template in system.pod_templates():
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        listening[name] = {
            port["containerPort"]
            for c in template["spec"]["containers"]
            for port in c.get("ports", [])
        }
    for service in system.kind("Service"):
        name = service["spec"]["selector"]["app.kubernetes.io/name"]
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= listening[name], service["metadata"]["name"]


@pytest.mark.parametrize(
    ("workload", "variable", "address"),
    [
        ("payment-api", "KAFKA_BROKER", "redpanda:9093"),
        ("flink-jobmanager", "KAFKA_BROKER", "redpanda:9093"),
        ("flink-jobmanager", "REDIS_HOST", "redis"),
        ("alert-monitor", "REDIS_HOST", "redis"),
    ],
)
def test_a_client_gets_the_address_of_its_connection(
    system: Manifests, workload: str, variable: str, address: str
) -> None:
    """The address comes from the same object as the network edge, so they cannot disagree."""
    template = system.get("Deployment", workload)["spec"]["template"]
    main = template["spec"]["containers"][0]
    assert variables(main)[variable] == address


def _published(environment: Environment, publication: Publication = PUBLICATION) -> Manifests:
    settings = replace(environment.payment_api, publication=publication)
    return Manifests(replace(environment, payment_api=settings))


def _ingress_rules(system: Manifests, name: str) -> list[Manifest]:
    rules: list[Manifest] = system.get("NetworkPolicy", name)["spec"]["ingress"]
    return rules


def test_nothing_is_published_unless_it_is_set() -> None:
    """An Ingress without a controller never becomes healthy, and no sync would ever finish."""
    assert small.kind("Ingress") == []


def test_publishing_opens_the_way_for_the_controller_only() -> None:
    """Both selectors in one item: pods with that label in that namespace, not either of them."""
    assert _ingress_rules(_published(SMALL), "payment-api") == [
        {
            "from": [
                {
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}
                    },
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "ingress-nginx"}},
                }
            ],
            "ports": [{"port": 8000, "protocol": "TCP"}],
        }
    ]


def test_publishing_routes_the_host_to_the_service() -> None:
    """The Ingress and the Service must name the same port."""
    [rule] = _published(SMALL).get("Ingress", "payment-api")["spec"]["rules"]
    assert rule == {
        "host": "pay.example.test",
        "http": {
            "paths": [
                {
                    "path": "/",
                    "pathType": "Prefix",
                    "backend": {"service": {"name": "payment-api", "port": {"number": 8000}}},
                }
            ]
        },
    }


def test_publishing_names_the_controller_s_class() -> None:
    """An Ingress of no class is ignored where no class is the cluster's default."""
    assert _published(SMALL).get("Ingress", "payment-api")["spec"]["ingressClassName"] == "nginx"


def test_publishing_with_a_tls_secret_serves_the_host_over_tls() -> None:
    """The secret belongs to the very host that the rule routes."""
    ingress = _published(SMALL).get("Ingress", "payment-api")
    assert ingress["spec"]["tls"] == [{"hosts": ["pay.example.test"], "secretName": "pay-tls"}]


def test_publishing_without_a_tls_secret_is_plain_http() -> None:
    """An empty section would make the controller serve its own self-signed certificate."""
    ingress = _published(SMALL, replace(PUBLICATION, tls_secret=None)).get("Ingress", "payment-api")
    assert "tls" not in ingress["spec"]


def test_publishing_keeps_the_prober_s_own_edge() -> None:
    """Two kinds of client use one port: the second must not replace the first."""
    [rule] = _ingress_rules(_published(LARGE), "payment-api")
    assert len(rule["from"]) == 2


def test_a_connection_that_is_made_twice_is_one_permission() -> None:
    """Two containers of a pod may use the same endpoint; a peer that is listed twice misleads."""
    for manifest in live_manifests():
        if manifest["kind"] == "NetworkPolicy":
            for rule in (*manifest["spec"].get("ingress", []), *manifest["spec"].get("egress", [])):
                peers = [json.dumps(peer) for peer in rule.get("from", rule.get("to"))]
                assert len(peers) == len(set(peers)), manifest["metadata"]["name"]


def test_no_policy_has_an_empty_list() -> None:
    """An empty list means the same as none, but counts as a change at each apply."""
    for manifest in live_manifests():
        if manifest["kind"] == "NetworkPolicy":
            assert [] not in manifest["spec"].values()
