"""Connections that a product's processes open to each other without being given each address."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from delivery.network.addresses import Address, Container
from delivery.network.connection import (
    Connection,
    UnreachableError,
    Verdict,
    given,
    require_listening,
    unless_listening,
)
from delivery.network.routes import Routes, Target, is_own
from delivery.network.workload import OWN_ADDRESS, Workload
from delivery.products.product import Discovery, Product


def discovered(routes: Routes, product: Product) -> Iterator[Connection]:
    """Judge how the processes of a product find each other."""
    if product.discovery is None:
        return
    processes = [
        _Process(
            routes=routes,
            product=product.name,
            discovery=product.discovery,
            container=container,
            address=address,
        )
        for container in routes.cluster.containers
        for address in container.addresses
        if address.key == product.discovery.leader
    ]
    for process in processes:
        row = routes.follow(process.row, process.workload, process.address, connects=False)
        if row.verdict is not Verdict.REACHABLE:
            yield row
            continue
        leaders = {
            target.workload
            for host in process.address.hosts
            for target in routes.resolve(process.workload, host, process.address.port or 0)
        }
        if all(map(is_own, process.address.hosts)):
            yield row
            yield from process.beside()
            continue
        if process.workload in leaders:
            yield row
            yield from process.served()
            continue
        hosts = process.address.hosts
        namesakes = {each.workload for each in processes if each.address.hosts == hosts}
        for leader in leaders - namesakes:
            yield row.finding(
                f"{leader.name} is not configured with the same name, and {product.name} drops "
                "messages for any other name"
            )
        yield from process.followed(leaders)


def unadvertised(routes: Routes, product: Product) -> Iterator[Connection]:
    """Return the listeners on every address of a pod that no address is advertised for."""
    for workload in routes.cluster.workloads:
        addresses = [
            address
            for container in routes.cluster.containers
            if container.workload is workload
            for address in container.addresses
        ]
        for listener in addresses:
            flag = product.listeners.get(re.sub(r"(\[\d+\])?\.address$", "", listener.key))
            if flag and not any(
                address.key == flag and address.port == listener.port for address in addresses
            ):
                yield given(workload, listener.source, listener.text).finding(
                    f"--{flag} does not advertise an address for this port"
                )


@dataclass(frozen=True, kw_only=True)
class _Process:
    """A container of a product that is given the leader's address."""

    routes: Routes
    product: str
    discovery: Discovery
    container: Container
    address: Address

    @property
    def workload(self) -> Workload:
        return self.container.workload

    @property
    def row(self) -> Connection:
        source = self.container.place(self.address.source)
        return given(self.workload, source, self.address.text)

    def served(self) -> Iterator[Connection]:
        """Judge the port on which a leader serves people."""
        key, default = self.discovery.served
        port = self.container.get(key) or str(default)
        row = replace(self.row, source=key, address=port)
        yield from unless_listening(row, self.workload, int(port))

    def beside(self) -> Iterator[Connection]:
        """Judge the ports of a process that shares its pod with all others of the product.

        No policy is between them, but each port is taken only once.
        """
        discovery, [host, *_] = self.discovery, self.address.hosts
        free = {
            str(port["containerPort"])
            for port in self.container.manifest.get("ports", [])
            if port.get("protocol", "TCP") == "TCP"
        }
        if self.container.get(discovery.own_host) is None:
            keys = discovery.leader_ports
            yield from self.served()
            key, default = discovery.served
            free.discard(self.container.get(key) or str(default))
        else:
            keys = (*discovery.follower_ports, *discovery.shared_ports)
        for key in keys:
            row, port = self._port(key, host)
            if port is not None and str(port) not in free:
                row = row.finding(f"{self.container.name} lists no port TCP {port} of its own")
            free.discard(str(port))
            yield row

    def followed(self, leaders: Collection[Workload]) -> Iterator[Connection]:
        """Judge the connections of a follower with its leaders and with other followers."""
        [host, *_] = self.address.hosts
        for key in self.discovery.leader_ports:
            row, port = self._port(key, host)
            if port is not None:
                address = replace(self.address, hosts=(host,), port=port)
                row = self.routes.follow(row, self.workload, address)
            yield row
        own = self.container.get(self.discovery.own_host)
        if own is None or self.container.expand(own) != (OWN_ADDRESS,):
            yield replace(self.row, address=self.discovery.own_host).finding(
                "it is not the pod's IP, and DNS does not have the pod's name"
            )
        for leader in leaders:
            yield from self._reached(leader, self.discovery.follower_ports)
        yield from self._reached(self.workload, self.discovery.shared_ports)

    def _reached(self, client: Workload, keys: Sequence[str]) -> Iterator[Connection]:
        """Judge connections to a follower's own pods, which pass no Service."""
        for key in keys:
            row, port = self._port(key, self.workload.name)
            row = replace(row, client=client.name)
            if port is not None:
                try:
                    require_listening(self.workload, port)
                    self.routes.connect(client, Target(workload=self.workload, port=port))
                    row = replace(row, servers=(self.workload.name,), port=port)
                except UnreachableError as error:
                    row = error.judge(row)
            yield row

    def _port(self, key: str, host: str) -> tuple[Connection, int | None]:
        """Return the connection to a port that a setting fixes; no port if it is not fixed."""
        port = self.container.get(key) or "0"
        row = replace(self.row, source=key, address=f"{host}:{port}")
        if port.isdecimal() and int(port):
            return row, int(port)
        return row.finding(f"{key} is not fixed: {self.product} takes any free port"), None
