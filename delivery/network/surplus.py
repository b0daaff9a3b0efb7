"""Permissions of NetworkPolicies that nobody uses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from delivery.network.policy import Direction, Grant, Network, Peer, Pod

Uses: TypeAlias = Mapping[tuple[Peer, Peer], set[tuple[str, int]]]
"""Protocols and ports in use, by client and server."""


def surplus(
    network: Network,
    uses: Uses,
    *,
    pods: Sequence[Pod],
    strangers: Sequence[Pod],
    others: Sequence[Pod],
    published: Collection[Grant],
) -> Iterator[tuple[Grant, str]]:
    """Return every grant that allows more than is used.

    Each grant is tried on the pods that exist, and on pods that could exist: without labels, or
    with the labels of existing pods in another namespace.

    Args:
        network: The policies.
        uses: Connections in use.
        pods: All pods that the manifests make.
        strangers: A pod without labels in each of their namespaces.
        others: Known pods that the manifests do not make.
        published: Grants to ingress controllers, which only the policies know.

    Yields:
        The grant, and a sentence about what it allows without need.
    """
    existing = [*pods, *others, *strangers]
    candidates = [*existing, *_lookalikes(network, existing)]
    for policy in network.policies:
        subjects = [
            pod
            for pod in [*pods, *strangers]
            if any(policy.isolates(pod, direction) for direction in Direction)
        ]
        for grant in policy.grants:
            peers: list[Peer] = [
                peer
                for peer in (pods if grant in published else candidates)
                if grant.admits(peer, network.namespaces)
            ]
            if grant.block is not None and grant not in published:
                peers.append(grant.block)
            egress = grant.direction is Direction.EGRESS
            pairs: list[tuple[Peer, Peer]] = [
                (subject, peer) if egress else (peer, subject)
                for subject in subjects
                for peer in peers
            ]
            used, unused = _divide(grant, pairs, uses)
            if not used and grant not in published:
                yield grant, "nobody uses it"
            elif unused:
                yield grant, f"it also allows {', '.join(unused)}"


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
    by_labels = {_labels(pod): pod for pod in pods}
    existing = {(pod.namespace, _labels(pod)) for pod in pods}
    for namespace in network.namespaces:
        for labels, pod in by_labels.items():
            if (namespace, labels) not in existing:
                which = f"pods like {pod.name}" if labels else "any pod"
                yield replace(pod, name=f"{which} of {namespace}", namespace=namespace)


def _labels(pod: Pod) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pod.labels.items()))


def peer_name(peer: Peer) -> str:
    """Return the name of a pod, or an address or range of addresses."""
    if isinstance(peer, Pod):
        return peer.name
    return str(peer.network_address if peer.num_addresses == 1 else peer)
