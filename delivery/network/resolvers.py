"""The resolvers of a cluster, as the DNS policy of each environment declares them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from typing import Any

from delivery.manifests.manifest import Manifest
from delivery.network.policy import Peer, Pod

DNS = "cluster DNS"
"""Name of the pods that resolve names."""
_DECLARATION = "delivery/dns"
"""Annotation of a NetworkPolicy with the resolvers that every pod must reach."""
_USUAL: Mapping[str, Any] = {
    "pods": [{"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}],
    "addresses": ["169.254.20.10/32"],
    "port": 53,
}
"""Resolvers of an environment that declares none: those of most clusters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resolver:
    """A resolver: pods, or addresses that are not those of pods."""

    peer: Peer
    port: int

    @property
    def ports(self) -> set[tuple[str, int]]:
        """The protocols and ports on which it listens."""
        return {("UDP", self.port), ("TCP", self.port)}


def resolvers(policies: Sequence[Manifest]) -> list[Resolver]:
    """Return the resolvers that the policies of a namespace declare, or the usual ones."""
    annotations = [each["metadata"].get("annotations") or {} for each in policies]
    declared = [json.loads(each[_DECLARATION]) for each in annotations if _DECLARATION in each]
    return [
        Resolver(peer=peer, port=each["port"])
        for each in declared or [_USUAL]
        for peer in (
            *(_pod(pods["namespace"], frozenset(pods["labels"].items())) for pods in each["pods"]),
            *(ip_network(block) for block in each["addresses"]),
        )
    ]


@cache
def _pod(namespace: str, labels: frozenset[tuple[str, str]]) -> Pod:
    """Return the pods of a resolver, the same ones for every environment of the cluster."""
    return Pod(name=DNS, namespace=namespace, labels=dict(labels))
