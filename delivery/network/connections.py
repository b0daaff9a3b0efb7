"""The proof that every configured address is reachable, and that nothing else is allowed.

Everything is read from the rendered manifests; the Python that renders them does not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

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
from delivery.network.policy import Direction, peer_name
from delivery.network.resolvers import DNS
from delivery.network.routes import Routes
from delivery.network.services import (
    broken_probes,
    broken_services,
    deadlocks,
    published,
    scraped,
    ungoverned_stateful_sets,
)
from delivery.network.surplus import surplus
from delivery.products.catalog import PRODUCTS

_IMAGE_ADDRESSES = {
    image: names for each in PRODUCTS for image, names in each.image_addresses.items()
}
# Leaders are configured with their own address, too, so that a discovery is judged as a whole.
_LEADERS = {each.discovery.leader for each in PRODUCTS if each.discovery}


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
    yield from _configured(routes)
    yield from _missing(cluster)
    yield from _advertised(routes)
    for each in PRODUCTS:
        yield from discovered(routes, each)
        yield from unadvertised(routes, each)
    yield from _dns(routes)
    yield from published(routes)
    yield from scraped(routes)
    yield from broken_probes(cluster)
    yield from broken_services(cluster)
    yield from ungoverned_stateful_sets(cluster)
    yield from deadlocks(routes)
    yield from _open(routes)
    yield from surplus(routes)


def _configured(routes: Routes) -> Iterator[Connection]:
    """Judge the addresses in the configuration of each container."""
    for container in routes.cluster.containers:
        workload = container.workload
        for address in container.addresses:
            row = given(workload, container.place(address.source), address.text)
            if address.exposed:
                reason = "anyone who can read this repository or the network knows it"
                yield row.finding(reason, Verdict.UNENCRYPTED)
            if not address.hosts or address.key in _LEADERS:
                continue
            if address.listening:
                yield from unless_listening(row, workload, address.port)
            else:
                yield routes.follow(row, workload, address, connects=not address.advertised)


def _missing(cluster: Cluster) -> Iterator[Connection]:
    """Return addresses that nothing sets: the program fails, or uses a default of its own."""
    for container in cluster.containers:
        for setting in container.unset:
            row = given(container.workload, container.name, setting.key)
            yield row.finding(f"{setting.source} needs it; nothing sets it")
        if "command" in container.manifest:
            continue
        image = container.manifest["image"].rpartition("/")[2].partition(":")[0]
        for name in _IMAGE_ADDRESSES.get(image, ()):
            if container.get(name) is None:
                row = given(container.workload, container.name, name)
                yield row.finding("the image would use its own default")


def _advertised(routes: Routes) -> Iterator[Connection]:
    """Judge the addresses that a server sends its clients to, from each of these clients."""
    for container in routes.cluster.containers:
        server = container.workload
        for address in container.addresses:
            if not address.advertised:
                continue
            clients = [
                client
                for client in routes.cluster.workloads
                if ("TCP", address.port) in routes.uses[client.pod, server.pod]
            ]
            if not clients:
                row = given(server, container.place(address.source), address.text)
                yield row.finding(
                    "no client connects to the port that it advertises", Verdict.UNUSED
                )
            for client in clients:
                row = given(client, f"{server.name}: {address.source}", address.text)
                yield routes.follow(row, client, address)


def _dns(routes: Routes) -> Iterator[Connection]:
    """Judge the way to DNS, which every pod needs; a cluster may have several resolvers."""
    for pod in [*routes.pods, *routes.strangers]:
        for resolver in routes.cluster.resolvers[pod.namespace]:
            routes.uses[pod, resolver.peer] |= resolver.ports
    for workload in routes.cluster.workloads:
        for resolver in routes.cluster.resolvers[workload.namespace]:
            row = given(workload, "every pod", f"{peer_name(resolver.peer)}:{resolver.port}")
            row = replace(row, servers=(DNS,), port=resolver.port)
            try:
                for protocol, port in sorted(resolver.ports):
                    routes.require_allowed(workload, resolver.peer, protocol, port)
            except UnreachableError as error:
                row = error.judge(row)
            yield row


def _open(routes: Routes) -> Iterator[Connection]:
    """Return the pods that no policy isolates: they may connect to everyone."""
    for pod, direction in product([*routes.pods, *routes.strangers], Direction):
        if not routes.network.isolating(pod, direction):
            yield Connection(
                environment=routes.cluster.namespaces[pod.namespace],
                client=pod.name,
                source="no policy",
                address=f"all {direction.rules}",
                verdict=Verdict.UNUSED,
                reason=f"no policy isolates it for {direction.rules}",
            )
