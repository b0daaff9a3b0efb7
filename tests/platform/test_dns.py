"""DNS differs between clusters; policies and their proof follow the one setting."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from delivery.network.connection import Verdict
from delivery.network.connections import analyze
from fraud_detection.platform.dns import (
    CLOUD_DNS,
    DECLARATION,
    KUBE_DNS,
    NODE_LOCAL_DNS_PODS,
    OPENSHIFT_DNS,
    Dns,
    node_local_dns,
)
from rendering import LIVE, Manifest, Manifests
from settings import LARGE, SMALL

CLUSTERS = {
    "usual": KUBE_DNS,
    "node-local-iptables": node_local_dns("10.96.0.10"),
    "node-local-pods": NODE_LOCAL_DNS_PODS,
    "cloud-dns": CLOUD_DNS,
    "openshift": OPENSHIFT_DNS,
    "ipv6": Dns(addresses=("fd00::a/128",)),
}


def _rendered(dns: Dns) -> dict[str, list[Manifest]]:
    """Return two environments of a cluster."""
    return {
        environment.name: deepcopy(list(Manifests(replace(environment, dns=dns))))
        for environment in (SMALL, LARGE)
    }


def _rule(manifests: list[Manifest]) -> Any:  # noqa: ANN401 - a part of a manifest
    [policy] = [each for each in manifests if each["metadata"]["name"] == "dns"]
    [rule] = policy["spec"]["egress"]
    return rule


@pytest.mark.parametrize("dns", CLUSTERS.values(), ids=CLUSTERS)
def test_every_pod_resolves_names_and_nothing_is_surplus(dns: Dns) -> None:
    """A wrong verdict on the one policy that a cluster needs teaches people to skip the proof."""
    rows = list(analyze(_rendered(dns)))
    assert [row for row in rows if row.verdict is not Verdict.REACHABLE] == []
    assert {row.port for row in rows if row.servers == ("cluster DNS",)} == {dns.port}


@pytest.mark.parametrize("dns", CLUSTERS.values(), ids=CLUSTERS)
def test_a_resolver_that_a_policy_forgets_is_reported(dns: Dns) -> None:
    """Without DNS nothing finds anything, and every program reports something else."""
    folders = _rendered(dns)
    _rule(folders["small"])["to"].pop()
    _rule(folders["small"])["to"].append({"ipBlock": {"cidr": "192.0.2.1/32"}})
    found = {row.verdict for row in analyze(folders) if row.environment == "small"}
    assert found >= {Verdict.BLOCKED, Verdict.UNUSED}


def test_what_the_policy_alone_allows_is_surplus() -> None:
    """The declaration counts, not the rule: a rule cannot prove itself."""
    folders = _rendered(CLOUD_DNS)
    for manifests in folders.values():
        for each in manifests:
            each["metadata"].get("annotations", {}).pop(DECLARATION, None)
    assert Verdict.UNUSED in {row.verdict for row in analyze(folders)}


def test_openshift_listens_on_another_port() -> None:
    """Policies apply to the port of the pods, behind that of the Service."""
    rule = _rule(_rendered(OPENSHIFT_DNS)["small"])
    assert {(each["protocol"], each["port"]) for each in rule["ports"]} == {
        ("UDP", 5353),
        ("TCP", 5353),
    }


def test_no_manifest_depends_on_the_domain_of_the_cluster() -> None:
    """A cluster may have another one than cluster.local: names are short, in their namespace."""
    manifests = [each for system in LIVE for each in system]
    assert [each["metadata"]["name"] for each in manifests if ".svc." in str(each)] == []
