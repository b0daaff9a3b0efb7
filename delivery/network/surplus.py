"""Permissions of NetworkPolicies that nobody uses."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from delivery.network.connection import Connection, Verdict
from delivery.network.policy import Direction, Grant, Network, Peer, Pod, peer_name
from delivery.network.routes import Routes, Uses


def surplus(routes: Routes) -> Iterator[Connection]:
    """Return every grant that allows more than is used.

    Each grant is tried on the pods that exist, and on pods that could exist: without labels, or
    with the labels of existing pods in another namespace.

    Args:
        routes: Routes of the cluster, after every connection was recorded.
    """
    network = routes.network
    existing = [*routes.pods, *routes.cluster.resolving_pods, *routes.strangers]
    candidates = [*existing, *_lookalikes(network, existing)]
    for policy in network.policies:
        subjects = [
            pod
            for pod in [*routes.pods, *routes.strangers]
            if any(policy.isolates(pod, direction) for direction in Direction)
        ]
        for grant in policy.grants:
            # Only the policy knows the pods of an ingress controller.
            published = grant in routes.doors
            peers: list[Peer] = [
                peer
                for peer in (routes.pods if published else candidates)
                if grant.admits(peer, network.namespaces)
            ]
            if grant.block is not None and not published:
                peers.append(grant.block)
            pairs: list[tuple[Peer, Peer]] = [
                (subject, peer) if grant.direction is Direction.EGRESS else (peer, subject)
                for subject, peer in product(subjects, peers)
            ]
            used, unused = _divide(grant, pairs, routes.uses)
            if unused or not (used or published):
                also = f"it also allows {', '.join(unused)}"
                yield Connection(
                    environment=routes.cluster.namespaces.get(grant.namespace, ""),
                    client=f"NetworkPolicy {grant.policy}",
                    source=grant.path,
                    address=_port(grant),
                    verdict=Verdict.UNUSED,
                    reason=also if used or published else "nobody uses it",
                )


def _divide(grant: Grant, pairs: Sequence[tuple[Peer, Peer]], uses: Uses) -> tuple[bool, list[str]]:
    """Tell whether a grant is used, and by which client and server not fully."""
    used = False
    unused: dict[str, None] = {}
    for client, server in pairs:
        needs = uses.get((client, server), set())
        for ports in grant.ports(server):
            needed = [need for need in needs if ports.holds(*need)]
            used = used or bool(needed)
            if len(needed) <= ports.last - ports.first:
                unused[f"{peer_name(client)} to {peer_name(server)}"] = None
    return used, list(unused)


def _lookalikes(network: Network, pods: Sequence[Pod]) -> Iterator[Pod]:
    """Return pods with the labels of others, in each namespace that has no such pod."""
    by_labels = {frozenset(pod.labels.items()): pod for pod in pods}
    existing = {(pod.namespace, frozenset(pod.labels.items())) for pod in pods}
    for namespace in network.namespaces:
        for labels, pod in by_labels.items():
            if (namespace, labels) not in existing:
                which = f"pods like {pod.name}" if labels else "any pod"
                yield replace(pod, name=f"{which} of {namespace}", namespace=namespace)


def _port(grant: Grant) -> str:
    """Return the port of a grant as its policy writes it."""
    if grant.port is None:
        return "every port"
    port = grant.port.get("port", "every port")
    end = f"-{grant.port['endPort']}" if "endPort" in grant.port else ""
    return f"{grant.port.get('protocol', 'TCP')} {port}{end}"
