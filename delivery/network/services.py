"""Services, Ingresses, scrapes and probes that lead nowhere, or surprise whoever relies on them."""

from collections.abc import Iterator
from dataclasses import replace

from delivery.manifests import workloads
from delivery.manifests.manifest import Manifest, selects
from delivery.network.addresses import PROBES
from delivery.network.cluster import Cluster
from delivery.network.connection import (
    Connection,
    UnreachableError,
    Verdict,
    given,
    require_listening,
    unless_listening,
)
from delivery.network.policy import Direction, Grant, Ports
from delivery.network.routes import Routes, Target
from delivery.network.workload import Workload

OUTSIDE = "the outside"
"""Name of all clients outside of the cluster."""
PROMETHEUS = "Prometheus"
"""Name of the pods that scrape, which only the policies know."""


def broken_probes(cluster: Cluster) -> Iterator[Connection]:
    """Return the probes of a port on which nothing listens.

    No policy stops a probe: the kubelet of a pod's own node always reaches the pod.
    """
    for container in cluster.containers:
        for name in PROBES:
            handler = container.manifest.get(name, {})
            port = (handler.get("httpGet") or handler.get("tcpSocket") or {}).get("port")
            if isinstance(port, str):
                port = container.workload.pod.named_ports.get(("TCP", port), 0)
            if port is not None:
                row = given(container.workload, container.place(name), f"port {port}")
                yield from unless_listening(row, container.workload, port)


def broken_services(cluster: Cluster) -> Iterator[Connection]:
    """Return the Services that select no pod, and their ports that lead nowhere."""
    for (namespace, name), service in cluster.services.items():
        row = Connection(
            environment=cluster.namespaces.get(namespace, namespace),
            client=f"Service {name}",
            source="spec",
            address=name,
        )
        if not service.workloads:
            yield row.finding("it selects no pod")
        for entry in service.manifest["spec"].get("ports", []):
            row = replace(row, address=f"{name}:{entry['port']}")
            protocol = entry.get("protocol", "TCP")
            for workload, target in service.targets(entry):
                yield from unless_listening(row, workload, target, protocol)
                if service.headless and target != entry["port"]:
                    yield row.finding(f"a headless Service does not map it to {target}")


def ungoverned_stateful_sets(cluster: Cluster) -> Iterator[Connection]:
    """Return the StatefulSets whose pods get no names in DNS, for lack of their Service."""
    for workload in cluster.workloads:
        name = workload.manifest["spec"].get("serviceName")
        service = cluster.services.get((workload.namespace, name))
        if name and (service is None or workload not in service.workloads):
            yield given(workload, "serviceName", name).finding(
                f"there is no Service {name} that selects its pods"
            )


def deadlocks(routes: Routes) -> Iterator[Connection]:
    """Return the clients that wait until a server is ready that connects to them itself.

    Call it after every connection was recorded.
    """
    for (client, server), service in routes.waits_for.items():
        if routes.uses[server.pod, client.pod]:
            yield given(client, f"Service {service.name}", service.name).finding(
                f"it lists only ready pods, and {server.name} itself connects to {client.name}: "
                "neither can start first"
            )


def published(routes: Routes) -> Iterator[Connection]:
    """Judge the Ingresses: a published Service must let its controller in."""
    for manifest in routes.cluster.kind("Ingress"):
        namespace = manifest["metadata"]["namespace"]
        for rule in manifest["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                row = Connection(
                    environment=routes.cluster.namespaces[namespace],
                    client=OUTSIDE,
                    source=f"Ingress {manifest['metadata']['name']}",
                    address=f"{rule.get('host', '*')}{path.get('path', '/')}",
                )
                try:
                    targets = _backend(routes, namespace, path["backend"]["service"])
                    for target in targets:
                        routes.doors |= _doors(routes, target, "an ingress controller")
                except UnreachableError as error:
                    yield error.judge(row)
                    continue
                servers = tuple(target.workload.name for target in targets)
                yield replace(row, servers=servers, port=targets[0].port)


def _backend(routes: Routes, namespace: str, backend: Manifest) -> list[Target]:
    service = routes.cluster.services.get((namespace, backend["name"]))
    if service is None:
        raise UnreachableError(f"there is no Service {backend['name']}")
    wanted = backend["port"]
    ports = {entry.get("name"): entry["port"] for entry in service.manifest["spec"]["ports"]}
    return routes.behind(service, None, wanted.get("number") or ports.get(wanted["name"], 0))


def scraped(routes: Routes) -> Iterator[Connection]:
    """Judge what Prometheus scrapes, by PodMonitors or annotations: the pods must let it in."""
    for workload in routes.cluster.workloads:
        for source, port in _scrapes(routes.cluster, workload):
            row = Connection(
                environment=workload.environment,
                client=PROMETHEUS,
                source=source,
                address=f"{workload.name}:{port}",
            )
            try:
                target = _target(workload, port)
                routes.doors |= _doors(routes, target, PROMETHEUS)
            except UnreachableError as error:
                yield error.judge(row)
                continue
            yield replace(row, servers=(workload.name,), port=target.port)


def _target(workload: Workload, port: str | int) -> Target:
    number = workload.pod.named_ports.get(("TCP", port)) if isinstance(port, str) else port
    if number is None:
        raise UnreachableError(f"no container of {workload.name} names a port {port}")
    require_listening(workload, number)
    return Target(workload=workload, port=number)


def _scrapes(cluster: Cluster, workload: Workload) -> Iterator[tuple[str, str | int]]:
    """Return where a scrape of a workload's pods is set, and the port or its name."""
    for manifest in cluster.kind("PodMonitor"):
        spec = manifest["spec"]
        is_own = manifest["metadata"]["namespace"] == workload.namespace
        if is_own and selects(spec["selector"], workload.pod.labels):
            for port in dict.fromkeys(each["port"] for each in spec["podMetricsEndpoints"]):
                yield f"PodMonitor {manifest['metadata']['name']}", port
    annotations = workloads.template(workload.manifest)["metadata"].get("annotations") or {}
    if annotations.get("prometheus.io/scrape") == "true":
        yield "prometheus.io annotations", int(annotations["prometheus.io/port"])


def _doors(routes: Routes, target: Target, client: str) -> set[Grant]:
    """Return the grants that let pods of other namespaces, or outsiders, in to a target."""
    pod = target.workload.pod
    policies = routes.network.isolating(pod, Direction.INGRESS)
    doors = {
        grant
        for policy in policies
        for grant in policy.grants
        if grant.direction is Direction.INGRESS
        if grant.peer is None or grant.peer.keys() & {"namespaceSelector", "ipBlock"}
        if [Ports(protocol="TCP", first=target.port, last=target.port)] == list(grant.ports(pod))
    }
    if policies and not doors:
        raise UnreachableError(
            f"no policy lets {client} in to {target.workload.name}", Verdict.BLOCKED
        )
    return doors
