"""Who may talk to whom, as the rendered NetworkPolicies say it."""

from dataclasses import replace
from typing import Any

import pytest

from fraud_detection.environments import DEV, STAGING, Environment
from fraud_detection.platform.publication import Publication
from rendering import Manifest, Manifests, container, dev, render, staging, variables

ENVIRONMENTS = {"dev": dev, "staging": staging}


@pytest.fixture(params=ENVIRONMENTS)
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each environment in turn."""
    return ENVIRONMENTS[request.param]()


def _edges(system: Manifests, direction: str, peers: str) -> set[tuple[str, str, int]]:
    """Every (client, server, port) that the policies of one direction allow."""
    found = set()
    for policy in system.kind("NetworkPolicy"):
        me = policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        for rule in policy["spec"].get(direction, []) if me else []:
            for port in rule["ports"]:
                for peer in rule[peers]:
                    other = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                    pair = (me, other) if direction == "egress" else (other, me)
                    found.add((*pair, port["port"]))
    return found


# What the applications need, from the data flow; the test is the second opinion on system.py.
FLOW = {
    ("payment-api", "redpanda", 9093),
    ("transactions-topic", "redpanda", 9093),
    ("redpanda", "redpanda", 33145),
    ("flink-jobmanager", "redpanda", 9093),
    ("flink-taskmanager", "redpanda", 9093),
    ("flink-jobmanager", "redis", 6379),
    ("flink-taskmanager", "redis", 6379),
    ("flink-taskmanager", "flink-jobmanager", 6123),
    ("flink-taskmanager", "flink-jobmanager", 6124),
    ("flink-jobmanager", "flink-taskmanager", 6122),
    ("flink-jobmanager", "flink-taskmanager", 6125),
    ("flink-taskmanager", "flink-taskmanager", 6121),
    ("alert-monitor", "redis", 6379),
}
SMOKE_TEST = {("smoke-test", "payment-api", 8000), ("smoke-test", "alert-monitor", 8080)}


def test_staging_allows_exactly_the_data_flow() -> None:
    """A missing edge is an outage that shows itself only as restarts; a surplus one is a hole."""
    assert _edges(staging(), "egress", "to") == FLOW


def test_dev_allows_the_smoke_test_in_addition() -> None:
    """Without its own edges the smoke test would fail every sync."""
    assert _edges(dev(), "egress", "to") == FLOW | SMOKE_TEST


def test_every_egress_edge_has_its_ingress_edge(system: Manifests) -> None:
    """Both sides must allow a connection; one alone is as good as none."""
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


def test_policies_are_in_force_before_the_first_pod(system: Manifests) -> None:
    """A pod that starts before its policies would begin cut off, or wide open."""
    assert {
        policy["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
        for policy in system.kind("NetworkPolicy")
    } == {"-1"}


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
        ("flink-taskmanager", "KAFKA_BROKER", "redpanda:9093"),
        ("flink-jobmanager", "REDIS_HOST", "redis"),
        ("flink-taskmanager", "REDIS_HOST", "redis"),
        ("alert-monitor", "REDIS_HOST", "redis"),
    ],
)
def test_a_client_is_told_the_address_of_its_connection(
    system: Manifests, workload: str, variable: str, address: str
) -> None:
    """The address comes from the same object as the network edge, so they cannot disagree."""
    template = system.get("Deployment", workload)["spec"]["template"]
    main = template["spec"]["containers"][0]
    assert variables(main)[variable] == address


def _published(environment: Environment, **publication: Any) -> Manifests:  # noqa: ANN401
    door = Publication(
        host="pay.example.test",
        ingress_class="nginx",
        controller_namespace="ingress-nginx",
        controller_labels={"app.kubernetes.io/name": "ingress-nginx"},
        **publication,
    )
    return render(
        replace(environment, payment_api=replace(environment.payment_api, publication=door))
    )


def _ingress_rules(system: Manifests, name: str) -> list[Manifest]:
    rules: list[Manifest] = system.get("NetworkPolicy", name)["spec"]["ingress"]
    return rules


def test_nothing_is_published_unless_it_is_set(system: Manifests) -> None:
    """An Ingress without a controller never becomes healthy, and no sync would ever finish."""
    assert system.kind("Ingress") == []


def test_publishing_opens_the_way_for_the_controller_only() -> None:
    """Both selectors in one item: pods with that label in that namespace, not either of them."""
    rules = _ingress_rules(_published(STAGING), "payment-api")
    assert rules == [
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
    ingress = _published(STAGING).get("Ingress", "payment-api")
    assert ingress["spec"] == {
        "ingressClassName": "nginx",
        "rules": [
            {
                "host": "pay.example.test",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {
                                "service": {"name": "payment-api", "port": {"number": 8000}}
                            },
                        }
                    ]
                },
            }
        ],
    }


def test_publishing_with_a_tls_secret_serves_the_host_over_tls() -> None:
    """The secret belongs to the very host that the rule routes."""
    ingress = _published(STAGING, tls_secret="pay-tls").get("Ingress", "payment-api")  # noqa: S106
    assert ingress["spec"]["tls"] == [{"hosts": ["pay.example.test"], "secretName": "pay-tls"}]


def test_publishing_keeps_the_smoke_test_s_own_edge() -> None:
    """Two kinds of client for one port: the second must not replace the first."""
    [rule] = _ingress_rules(_published(DEV), "payment-api")
    assert len(rule["from"]) == 2


def test_the_init_container_waits_on_the_same_connection_as_the_application() -> None:
    """Waiting for another address than the one used would wait for nothing."""
    template = dev().get("Deployment", "payment-api")["spec"]["template"]
    waiting = variables(container(template, "wait-for-topic"))
    assert waiting == variables(container(template, "payment-api"))


def test_no_policy_has_an_empty_list() -> None:
    """It means the same as none, but the API server makes a new version of it at each apply."""
    for manifest in (*dev().kind("NetworkPolicy"), *staging().kind("NetworkPolicy")):
        assert [] not in manifest["spec"].values()
