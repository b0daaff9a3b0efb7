"""The semantics of NetworkPolicies, as the Kubernetes specification defines them.

Nothing here is specific to this repository.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

from delivery.manifests.manifest import Labels, Manifest, selects

Addresses: TypeAlias = IPv4Network | IPv6Network
"""Addresses outside of the cluster; a single address is a network of one."""

PROTOCOLS = ("TCP", "UDP", "SCTP")
HIGHEST_PORT = 65535


class Direction(Enum):
    """A side of a connection; the value is its name in a policy."""

    INGRESS = "Ingress"
    EGRESS = "Egress"

    @property
    def rules(self) -> str:
        """Field of a policy with the rules of this direction."""
        return self.value.lower()

    @property
    def peers(self) -> str:
        """Field of such a rule with the other side."""
        return "from" if self is Direction.INGRESS else "to"


# Compared by identity: two pods may be alike in every respect.
@dataclass(frozen=True, kw_only=True, eq=False)
class Pod:
    """A pod as a policy sees it; its name is for messages only."""

    name: str
    namespace: str
    labels: Labels
    named_ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Numbers of the named container ports, by protocol and name."""


Peer: TypeAlias = Pod | Addresses


def peer_name(peer: Peer) -> str:
    """Return the name of a pod, or an address or range of addresses."""
    if isinstance(peer, Pod):
        return peer.name
    return str(peer.network_address if peer.num_addresses == 1 else peer)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A range of ports of one protocol, both ends included."""

    protocol: str
    first: int
    last: int

    def holds(self, protocol: str, port: int) -> bool:
        """Tell whether a port is in the range."""
        return protocol == self.protocol and self.first <= port <= self.last

    def __str__(self) -> str:
        """Return it as in `TCP 53` or `UDP 1-65535`."""
        numbers = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol} {numbers}"


_EVERY_PORT = tuple(Ports(protocol=protocol, first=1, last=HIGHEST_PORT) for protocol in PROTOCOLS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grant:
    """The smallest part of a policy: one peer and one port of one rule.

    Attributes:
        policy: Name of the policy.
        path: Path in the policy's `spec`, as in `egress[0].to[1].ports[0]`.
        peer: The NetworkPolicyPeer; None means everyone, inside and outside of the cluster.
        port: The NetworkPolicyPort; None means every port of every protocol.
    """

    policy: str
    namespace: str
    direction: Direction
    path: str
    peer: Manifest | None
    port: Manifest | None

    @cached_property
    def block(self) -> Addresses | None:
        """Addresses outside of the cluster that it names, including exceptions; None if none."""
        if self.peer is None:
            return ip_network("0.0.0.0/0")
        block = self.peer.get("ipBlock")
        return ip_network(block["cidr"], strict=False) if block else None

    def admits(self, peer: Peer, namespaces: Mapping[str, Labels]) -> bool:
        """Tell whether its peer includes this one.

        An ipBlock is meant for addresses outside of the cluster. Whether it matches those of pods
        depends on the network plugin, so that it never includes a pod here. A range of
        addresses is admitted only as a whole.
        """
        if self.peer is None:
            return True
        if isinstance(peer, Pod):
            elsewhere = self.peer.get("namespaceSelector")
            if "ipBlock" in self.peer or (elsewhere is None and peer.namespace != self.namespace):
                return False
            # Without a podSelector: every pod of those namespaces.
            return selects(self.peer.get("podSelector") or {}, peer.labels) and (
                elsewhere is None or selects(elsewhere, namespaces[peer.namespace])
            )
        return (
            self.block is not None
            and peer.network_address in self.block
            and peer.broadcast_address in self.block
            and not any(
                peer.overlaps(ip_network(exception, strict=False))
                for exception in self.peer["ipBlock"].get("except") or []
            )
        )

    def ports(self, server: Peer) -> tuple[Ports, ...]:
        """Return the ports that it opens on a server; none for a name that the server lacks."""
        if self.port is None:
            return _EVERY_PORT
        protocol, port = self.port.get("protocol") or "TCP", self.port.get("port")
        if isinstance(port, str):
            port = server.named_ports.get((protocol, port)) if isinstance(server, Pod) else None
            if port is None:
                return ()
        last = self.port.get("endPort") or port or HIGHEST_PORT
        return (Ports(protocol=protocol, first=port or 1, last=last),)


class Policy:
    """A NetworkPolicy."""

    def __init__(self, manifest: Manifest) -> None:
        spec = manifest["spec"]
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"].get("namespace", "default")
        self._selector: Manifest = spec.get("podSelector") or {}
        # Without types, a policy isolates for ingress, and for egress if it has an egress rule.
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
        self._directions = {Direction(name) for name in types}
        self.grants = [grant for direction in Direction for grant in self._grants(direction, spec)]

    def isolates(self, pod: Pod, direction: Direction) -> bool:
        """Tell whether it isolates a pod in a direction: only what is granted is allowed then."""
        return (
            direction in self._directions
            and pod.namespace == self.namespace
            and selects(self._selector, pod.labels)
        )

    def _grants(self, direction: Direction, spec: Manifest) -> Iterator[Grant]:
        if direction not in self._directions:
            return
        for r, rule in enumerate(spec.get(direction.rules) or []):
            for p, peer in enumerate(rule.get(direction.peers) or [None]):
                for q, port in enumerate(rule.get("ports") or [None]):
                    yield Grant(
                        policy=self.name,
                        namespace=self.namespace,
                        direction=direction,
                        path=f"{direction.rules}[{r}]"
                        + (f".{direction.peers}[{p}]" if peer is not None else "")
                        + (f".ports[{q}]" if port is not None else ""),
                        peer=peer,
                        port=port,
                    )


@dataclass(frozen=True, kw_only=True)
class Block:
    """The side of a connection that forbids it, and the names of the policies that isolate it."""

    direction: Direction
    policies: tuple[str, ...]


class Network:
    """The policies of a cluster.

    Args:
        policies: All NetworkPolicies.
        namespaces: Labels of each namespace. `kubernetes.io/metadata.name`, which every cluster
            sets, is added where it is missing.
    """

    def __init__(self, policies: Collection[Manifest], namespaces: Mapping[str, Labels]) -> None:
        self.policies: Sequence[Policy] = [Policy(policy) for policy in policies]
        self._isolating: dict[tuple[Pod, Direction], list[Policy]] = {}
        self.namespaces: Mapping[str, Labels] = {
            name: {"kubernetes.io/metadata.name": name, **labels}
            for name, labels in namespaces.items()
        }

    def isolating(self, pod: Pod, direction: Direction) -> list[Policy]:
        """Return the policies that isolate a pod in a direction; if none, all is allowed."""
        key = (pod, direction)
        if key not in self._isolating:
            self._isolating[key] = [each for each in self.policies if each.isolates(pod, direction)]
        return self._isolating[key]

    def blocks(self, client: Peer, server: Peer, protocol: str, port: int) -> list[Block]:
        """Return the sides that forbid a connection; none if it is allowed.

        Policies add up, and both sides must allow it. A pod always reaches itself. The kubelet of
        a pod's node always reaches the pod, too; it is not a peer here. The server is the pod that
        a Service has chosen, and the port is the pod's own, not that of the Service.
        """
        if client is server:
            return []
        blocks = []
        for direction, subject, peer in (
            (Direction.EGRESS, client, server),
            (Direction.INGRESS, server, client),
        ):
            policies = self.isolating(subject, direction) if isinstance(subject, Pod) else []
            if policies and not any(
                grant.direction is direction
                and any(ports.holds(protocol, port) for ports in grant.ports(server))
                and grant.admits(peer, self.namespaces)
                for policy in policies
                for grant in policy.grants
            ):
                names = tuple(policy.name for policy in policies)
                blocks.append(Block(direction=direction, policies=names))
        return blocks
