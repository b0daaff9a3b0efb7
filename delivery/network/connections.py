"""The proof that every configured address is reachable, and that nothing else is allowed.

Everything is read from the rendered manifests; the Python that renders them does not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from delivery.manifests.manifest import Manifest
from delivery.network.cluster import Cluster
from delivery.network.connection import (
    Connection,
    UnreachableError,
    Verdict,
    given,
    unless_listening,
)
from delivery.network.discovery import discovered, unadvertised
from delivery.network.policy import Direction, Grant, Pod
from delivery.network.routes import KUBE_SYSTEM, Routes
from delivery.network.services import (
    broken_probes,
    broken_services,
    deadlocks,
    published,
    ungoverned_stateful_sets,
)
from delivery.network.surplus import peer_name, surplus
from delivery.products.catalog import PRODUCTS

DNS = "cluster DNS"
"""Name of the cluster's resolver."""
_RESOLVER = Pod(name=DNS, namespace=KUBE_SYSTEM, labels={"k8s-app": "kube-dns"})
# The cache on each node is on the host's network, where no pod selector finds it.
_NODE_LOCAL_RESOLVER = ip_network("169.254.20.10/32")
_DNS_PORTS = {("UDP", 53), ("TCP", 53)}
_IMAGE_ADDRESSES = {
    image: names for product in PRODUCTS for image, names in product.image_addresses.items()
}
# Leaders are configured with their own address, too, so that a discovery is judged as a whole.
_LEADERS = {product.discovery.leader for product in PRODUCTS if product.discovery}


def analyze(folders: Mapping[str, Sequence[Manifest]]) -> Iterator[Connection]:
    """Judge every address and every permission of dist.

    Args:
        folders: Objects of each folder of dist, as `cluster.load` reads them: always all of them,
            because the reach of one environment depends on the others.

    Yields:
        Each address with its verdict, then each permission that nobody uses.
    """
    cluster = Cluster(folders)
    routes = Routes(cluster)
    doors: set[Grant] = set()
    yield from _configured(routes)
    yield from _missing(cluster)
    yield from _advertised(routes)
    for product in PRODUCTS:
        yield from discovered(routes, product)
        yield from unadvertised(routes, product)
    yield from _dns(routes)
    yield from published(routes, doors)
    yield from broken_probes(cluster)
    yield from broken_services(cluster)
    yield from ungoverned_stateful_sets(cluster)
    yield from deadlocks(routes)
    yield from _open(routes)
    yield from _unused(routes, doors)


def _configured(routes: Routes) -> Iterator[Connection]:
    """Judge the addresses in the configuration of each container."""
    for container in routes.cluster.containers:
        workload = container.workload
        for address in container.configuration.addresses:
            row = given(container, address.source, address.text)
            if address.exposed:
                yield replace(
                    row,
                    verdict=Verdict.UNENCRYPTED,
                    reason="anyone who can read this repository or the network knows it",
                )
            if not address.hosts or address.key in _LEADERS:
                continue
            if address.listening:
                yield from unless_listening(row, workload, address.port)
            else:
                yield routes.follow(row, workload, address, connects=not address.advertised)


def _missing(cluster: Cluster) -> Iterator[Connection]:
    """Return addresses that nothing sets: the program fails, or uses a default of its own."""
    for container in cluster.containers:
        row = replace(
            given(container, "", ""),
            source=container.name,
            verdict=Verdict.DANGLING,
        )
        for setting in container.configuration.unset:
            yield replace(
                row, address=setting.key, reason=f"{setting.source} needs it; nothing sets it"
            )
        if "command" in container.manifest:
            continue
        image = container.manifest["image"].rpartition("/")[2].partition(":")[0]
        for name in _IMAGE_ADDRESSES.get(image, ()):
            if container.configuration.get(name) is None:
                yield replace(row, address=name, reason="the image would use its own default")


def _advertised(routes: Routes) -> Iterator[Connection]:
    """Judge the addresses that a server sends its clients to, from each of these clients."""
    for container in routes.cluster.containers:
        server = container.workload
        for address in container.configuration.addresses:
            if not address.advertised:
                continue
            clients = [
                client
                for client in routes.cluster.workloads
                if ("TCP", address.port) in routes.uses[client.pod, server.pod]
            ]
            row = given(container, address.source, address.text)
            if not clients:
                yield replace(
                    row, verdict=Verdict.UNUSED, reason="nobody connects to what it stands for"
                )
            for client in clients:
                sent = replace(
                    row,
                    environment=client.environment,
                    client=client.name,
                    source=f"{server.name}: {address.source}",
                )
                yield routes.follow(sent, client, address)


def _dns(routes: Routes) -> Iterator[Connection]:
    """Judge the way to DNS, which every pod needs; a cluster may have either resolver."""
    workloads = routes.cluster.workloads
    for pod in [*(workload.pod for workload in workloads), *routes.strangers]:
        for resolver in (_RESOLVER, _NODE_LOCAL_RESOLVER):
            routes.uses[pod, resolver] |= _DNS_PORTS
    for workload in workloads:
        for resolver in (_RESOLVER, _NODE_LOCAL_RESOLVER):
            row = Connection(
                environment=workload.environment,
                client=workload.name,
                source="every pod",
                address=f"{peer_name(resolver)}:53",
                servers=(DNS,),
                port=53,
            )
            try:
                for protocol, port in sorted(_DNS_PORTS):
                    routes.require_allowed(workload, resolver, protocol, port)
            except UnreachableError as error:
                row = error.judge(row)
            yield row


def _open(routes: Routes) -> Iterator[Connection]:
    """Return the pods that no policy isolates: they may connect to everyone."""
    for pod in [*(workload.pod for workload in routes.cluster.workloads), *routes.strangers]:
        for direction in Direction:
            if not routes.network.isolating(pod, direction):
                yield Connection(
                    environment=routes.cluster.namespaces[pod.namespace],
                    client=pod.name,
                    source="no policy",
                    address=f"all {direction.rules}",
                    verdict=Verdict.UNUSED,
                    reason=f"no policy isolates it for {direction.rules}",
                )


def _unused(routes: Routes, doors: set[Grant]) -> Iterator[Connection]:
    permissions = surplus(
        routes.network,
        routes.uses,
        pods=[workload.pod for workload in routes.cluster.workloads],
        strangers=routes.strangers,
        others=[_RESOLVER],
        published=doors,
    )
    for grant, reason in permissions:
        yield Connection(
            environment=routes.cluster.namespaces.get(grant.namespace, ""),
            client=f"NetworkPolicy {grant.policy}",
            source=grant.path,
            address=_port(grant),
            verdict=Verdict.UNUSED,
            reason=reason,
        )


def _port(grant: Grant) -> str:
    """Return the port of a grant as its policy writes it."""
    if grant.port is None:
        return "every port"
    port = grant.port.get("port", "every port")
    end = f"-{grant.port['endPort']}" if "endPort" in grant.port else ""
    return f"{grant.port.get('protocol', 'TCP')} {port}{end}"
