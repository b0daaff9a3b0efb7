"""Connections that a product's processes open to each other without being given each address."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from delivery.network.addresses import OWN_ADDRESS, Address
from delivery.network.cluster import Container, Workload
from delivery.network.connection import (
    Connection,
    UnreachableError,
    Verdict,
    given,
    require_listening,
    unless_listening,
)
from delivery.network.routes import Routes, Target
from delivery.products.product import Discovery, Product


def discovered(routes: Routes, product: Product) -> Iterator[Connection]:
    """Judge how the processes of a product find each other.

    Args:
        routes: Routes of the cluster.
        product: The product.
    """
    if product.discovery is not None:
        yield from _Processes(routes, product, product.discovery).connections()


def unadvertised(routes: Routes, product: Product) -> Iterator[Connection]:
    """Return the listeners on every address of a pod that no address is advertised for.

    Args:
        routes: Routes of the cluster.
        product: The product whose listeners they are.
    """
    for workload in routes.cluster.workloads:
        addresses = [
            address
            for container in routes.cluster.containers
            if container.workload is workload
            for address in container.configuration.addresses
        ]
        for listener in addresses:
            flag = product.listeners.get(re.sub(r"(\[\d+\])?\.address$", "", listener.key))
            if flag and not any(
                address.key == flag and address.port == listener.port for address in addresses
            ):
                yield Connection(
                    environment=workload.environment,
                    client=workload.name,
                    source=listener.source,
                    address=listener.text,
                    verdict=Verdict.DANGLING,
                    reason=f"--{flag} does not advertise an address for this port",
                )


@dataclass(frozen=True, kw_only=True)
class _Process:
    """A container that is given the leader's address."""

    container: Container
    address: Address

    @property
    def workload(self) -> Workload:
        return self.container.workload

    @property
    def row(self) -> Connection:
        return given(self.container, self.address.source, self.address.text)


class _Processes:
    """The processes of one product."""

    def __init__(self, routes: Routes, product: Product, discovery: Discovery) -> None:
        self._routes = routes
        self._product = product
        self._discovery = discovery
        self._processes = [
            _Process(container=container, address=address)
            for container in routes.cluster.containers
            for address in container.configuration.addresses
            if address.key == discovery.leader
        ]
        self._by_leader: dict[tuple[str, ...], set[Workload]] = defaultdict(set)
        for process in self._processes:
            self._by_leader[process.address.hosts].add(process.workload)

    def connections(self) -> Iterator[Connection]:
        for process in self._processes:
            found = self._routes.follow(
                process.row, process.workload, process.address, connects=False
            )
            try:
                leaders = {
                    target.workload
                    for host in process.address.hosts
                    for target in self._routes.resolve(
                        process.workload, host, process.address.port or 0
                    )
                }
            except UnreachableError:
                yield found
                continue
            if process.workload in leaders:
                yield found
                yield from self._served(process)
            else:
                yield from self._of_follower(process, leaders)

    def _served(self, leader: _Process) -> Iterator[Connection]:
        key, default = self._discovery.served
        setting = leader.container.configuration.get(key)
        port = setting.value if setting else str(default)
        row = replace(leader.row, source=key, address=port)
        yield from unless_listening(row, leader.workload, int(port))

    def _of_follower(self, follower: _Process, leaders: set[Workload]) -> Iterator[Connection]:
        row = follower.row
        for leader in leaders - self._by_leader[follower.address.hosts]:
            yield replace(
                row,
                verdict=Verdict.DANGLING,
                reason=f"{leader.name} is not configured with the same name, and "
                f"{self._product.name} drops messages for any other name",
            )
        yield from self._to_leader(follower)
        own = follower.container.configuration.get(self._discovery.own_host)
        if own is None or follower.container.configuration.expand(own.value) != (OWN_ADDRESS,):
            yield replace(
                row,
                address=self._discovery.own_host,
                verdict=Verdict.DANGLING,
                reason="it is not the pod's IP, and DNS does not have the pod's name",
            )
        for leader in leaders:
            yield from self._to_pods(follower, leader, self._discovery.follower_ports)
        yield from self._to_pods(follower, follower.workload, self._discovery.shared_ports)

    def _to_leader(self, follower: _Process) -> Iterator[Connection]:
        [host, *_] = follower.address.hosts
        for key in self._discovery.leader_ports:
            row, port = self._port(follower, key, host)
            if port is None:
                yield row
            else:
                address = Address(source=key, key=key, text=row.address, hosts=(host,), port=port)
                yield self._routes.follow(row, follower.workload, address)

    def _to_pods(
        self, follower: _Process, client: Workload, keys: Sequence[str]
    ) -> Iterator[Connection]:
        """Judge connections to a follower's own pods, which pass no Service."""
        server = follower.workload
        for key in keys:
            row, port = self._port(follower, key, server.name)
            row = replace(row, client=client.name)
            if port is None:
                yield row
                continue
            try:
                require_listening(server, port)
                self._routes.connect(client, Target(workload=server, port=port))
            except UnreachableError as error:
                yield error.judge(row)
            else:
                yield replace(row, servers=(server.name,), port=port)

    def _port(self, follower: _Process, key: str, host: str) -> tuple[Connection, int | None]:
        """Return the connection to a port that a setting fixes; no port if it is not fixed."""
        setting = follower.container.configuration.get(key)
        port = setting.value if setting else "0"
        row = replace(follower.row, source=key, address=f"{host}:{port}")
        if port.isdecimal() and int(port):
            return row, int(port)
        reason = f"{key} is not fixed: {self._product.name} takes any free port"
        return replace(row, verdict=Verdict.DANGLING, reason=reason), None
