"""The routes of a cluster: where an address leads, and which of them are used."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from delivery.network.addresses import Address
from delivery.network.cluster import Cluster, Service
from delivery.network.connection import Connection, UnreachableError, Verdict, require_listening
from delivery.network.policy import Direction, Grant, Peer, Pod, peer_name
from delivery.network.workload import Workload

Uses: TypeAlias = Mapping[tuple[Peer, Peer], set[tuple[str, int]]]
"""Protocols and ports in use, by client and server."""
_ELSEWHERE = "another-namespace"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A port of a workload's pods to which an address leads, and the Service in between, if any."""

    workload: Workload
    port: int
    service: Service | None = None


class Routes:
    """The routes of a cluster, with a record of those that were used."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.network = cluster.network(
            [*{each.namespace for each in cluster.resolving_pods}, _ELSEWHERE]
        )
        self.uses: Uses = defaultdict(set)
        """Protocols and ports that were used, by client and server."""
        self.waits_for: dict[tuple[Workload, Workload], Service] = {}
        """Services through which a client waits until a server is ready."""
        self.doors: set[Grant] = set()
        """Grants to ingress controllers; which pods these are, only the policies know."""
        self.pods = [workload.pod for workload in cluster.workloads]
        self.strangers = [
            Pod(name=f"any pod of {namespace}", namespace=namespace, labels={})
            for namespace in cluster.namespaces
        ]
        """A pod without labels for each namespace: any pod that may come."""
        # Policies cannot distinguish the pods of a workload, but a pod always reaches itself.
        self._siblings = {workload: replace(workload.pod) for workload in cluster.workloads}

    def follow(
        self, row: Connection, client: Workload, address: Address, *, connects: bool = True
    ) -> Connection:
        """Judge a connection: follow its address from a client to every pod that may answer.

        Unless the client connects to it, policies do not matter.
        """
        if address.port is None:
            return row.finding("no port is configured")
        try:
            targets = [
                target
                for host in address.hosts
                for target in self.resolve(client, host, address.port)
            ]
            if connects:
                for target in targets:
                    self.connect(client, target)
        except UnreachableError as error:
            return error.judge(row)
        if not targets or not connects:
            return row
        servers = dict.fromkeys(target.workload.name for target in targets)
        return replace(row, servers=tuple(servers), port=targets[0].port)

    def resolve(self, client: Workload, host: str, port: int) -> list[Target]:
        """Return the pods to which a host and port lead.

        Returns:
            The pods; empty if the address leads to the client's own pod or out of the cluster.

        Raises:
            UnreachableError: If it leads nowhere, or to another environment.
        """
        if "$(" in host:
            raise UnreachableError(f"the value of the variable in {host} is unknown")
        if is_own(host):
            require_listening(client, port)
            return []
        service, pod_name = self._find_service(client, host)
        if service is None:
            self._require_way_out(client, host, port)
            return []
        return self.behind(service, pod_name, port)

    def behind(self, service: Service, pod_name: str | None, port: int) -> list[Target]:
        """Return the pods behind a port of a Service, or the one of that name.

        Raises:
            UnreachableError: If there is no such pod or port.
        """
        if not service.workloads:
            raise UnreachableError(f"the Service {service.name} selects no pod")
        targets = _targets(service, port)
        if pod_name is not None:
            targets = [
                (workload, target)
                for workload, target in targets
                if service.headless
                and pod_name in workload.pod_names
                and workload.manifest["spec"].get("serviceName") == service.name
            ]
        if not targets:
            raise UnreachableError(
                f"the Service {service.name} has no port {port}"
                if pod_name is None
                else f"the headless Service {service.name} has no pod {pod_name}"
            )
        for workload, target in targets:
            require_listening(workload, target)
        return [
            Target(workload=workload, port=target, service=service) for workload, target in targets
        ]

    def connect(self, client: Workload, target: Target) -> None:
        """Record a connection, and raise UnreachableError if a policy forbids it."""
        server = target.workload
        self.uses[client.pod, server.pod].add(("TCP", target.port))
        if target.service and target.service.lists_only_ready:
            self.waits_for[client, server] = target.service
        self.require_allowed(client, self._siblings[server], "TCP", target.port)

    def require_allowed(self, client: Workload, server: Peer, protocol: str, port: int) -> None:
        """Raise UnreachableError if a policy forbids a connection."""
        blocks = self.network.blocks(client.pod, server, protocol, port)
        if not blocks:
            return
        sides = {Direction.EGRESS: client.name, Direction.INGRESS: peer_name(server)}
        reasons = (
            f"no {block.direction.rules} rule for {sides[block.direction]} in "
            f"{', '.join(block.policies)} allows {protocol} {port}"
            for block in blocks
        )
        raise UnreachableError("; ".join(reasons), Verdict.BLOCKED)

    def _find_service(self, client: Workload, host: str) -> tuple[Service | None, str | None]:
        """Return the Service and the pod that a name means to a pod's resolver, if any.

        Raises:
            UnreachableError: If only a Service can have that name, but there is none, or it is in
                another environment.
        """
        name = host.rstrip(".")
        short = re.sub(r"\.svc(\.cluster\.local)?$", "", name)
        labels = short.split(".")
        within = [(client.namespace, labels)] if short == name else []
        for namespace, (*pod, service_name) in [*within, (labels[-1], labels[:-1] or [""])]:
            service = self.cluster.services.get((namespace, service_name))
            if service is not None and len(pod) <= 1:
                if namespace != client.namespace:
                    raise UnreachableError(
                        f"the Service is in the namespace {namespace}", Verdict.FOREIGN
                    )
                return service, pod[0] if pod else None
        is_internal = short != name or len(labels) == 1 or labels[-1] in self.cluster.namespaces
        if is_internal and labels != ["kubernetes", "default"]:
            raise UnreachableError(f"there is no Service {short}")
        return None, None

    def _require_way_out(self, client: Workload, host: str, port: int) -> None:
        """Raise UnreachableError unless a policy lets the client out, as for the Kubernetes API."""
        ip = _ip(host)
        policies = self.network.isolating(client.pod, Direction.EGRESS)
        blocks = [
            grant.block
            for policy in policies
            for grant in policy.grants
            if grant.direction is Direction.EGRESS and grant.block is not None
            if any(ports.holds("TCP", port) for ports in grant.ports(grant.block))
            if ip is None or grant.admits(ip_network(ip), {})
        ]
        for block in blocks:
            self.uses[client.pod, block].add(("TCP", port))
        if policies and not blocks:
            raise UnreachableError(
                f"{host} is not in this cluster, and none of "
                f"{', '.join(policy.name for policy in policies)} lets {client.name} out to it",
                Verdict.BLOCKED,
            )


def _targets(service: Service, port: int) -> list[tuple[Workload, int]]:
    if service.headless:
        return [(workload, port) for workload in service.workloads]
    return [
        (workload, target or 0)
        for entry in service.manifest["spec"]["ports"]
        if entry["port"] == port and entry.get("protocol", "TCP") == "TCP"
        for workload, target in service.targets(entry)
    ]


def is_own(host: str) -> bool:
    """Return whether a host is the pod itself, whose containers share one network."""
    ip = _ip(host)
    return host == "localhost" or (ip is not None and ip.is_loopback)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
