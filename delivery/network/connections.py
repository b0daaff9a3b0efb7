"""Whether every address that a container is given can be reached, and nothing else can.

All of it is read from the rendered manifests; what the Python says does not count.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address, ip_network

from delivery.manifests.manifest import Manifest
from delivery.network.addresses import OWN_ADDRESS, PROBES, Address, Setting, Told
from delivery.network.cluster import Cluster, Service, Workload
from delivery.network.policy import Direction, Grant, Peer, Pod, Ports
from delivery.network.surplus import Uses, peer_name, surplus


class Verdict(Enum):
    """What becomes of an address or a permission."""

    REACHABLE = "reachable"
    BLOCKED = "blocked"
    DANGLING = "dangling"
    FOREIGN = "foreign"
    UNUSED = "unused permission"
    UNENCRYPTED = "unencrypted credentials"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One address or one permission, and what becomes of it.

    Attributes:
        environment: The folder of dist.
        client: Who is given the address; for a permission the policy, for a name the Service.
        source: Where it is given: variable, argument, file, or the rule of the policy.
        address: As it is given; for a permission the port.
        servers: Where it leads: the names of workloads.
        port: The port of their pods. None: it leads nowhere.
        verdict: What becomes of it.
        reason: Why; empty for what is reachable.
    """

    environment: str
    client: str
    source: str
    address: str
    servers: tuple[str, ...] = ()
    port: int | None = None
    verdict: Verdict = Verdict.REACHABLE
    reason: str = ""


class _UnreachableError(Exception):
    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where an address leads: to a port of a workload's pods, through a Service if by name."""

    workload: Workload
    port: int
    service: Service | None = None


def analyze(folders: Mapping[str, Sequence[Manifest]]) -> Iterator[Connection]:
    """Judge every address and every permission of dist.

    Args:
        folders: The objects of each folder of dist, as `cluster.load` reads them: always all of
            them, because what one environment can reach depends on the others.

    Yields:
        Each address and what becomes of it, then each permission that nobody uses.
    """
    yield from _Analysis(Cluster(folders)).connections()


DNS = "cluster DNS"
_KUBE_SYSTEM = "kube-system"
_RESOLVER = Pod(name=DNS, namespace=_KUBE_SYSTEM, labels={"k8s-app": "kube-dns"})
# The cache on each node is on the host's network, where no pod selector finds it.
_NODE_LOCAL_RESOLVER = ip_network("169.254.20.10/32")
_DNS_PORTS = {("UDP", 53), ("TCP", 53)}
_ELSEWHERE = "another-namespace"
OUTSIDE = "the outside"

# The addresses that an image reads when it runs its own command, by the last part of its name.
# Source: the application repository.
_READ_BY_IMAGE = {
    "payment-api": ("KAFKA_BROKER",),
    "alert-monitor": ("REDIS_HOST", "REDIS_PORT"),
}

# The listeners of redpanda.yaml, and the flag that says what clients are told in their place.
_REDPANDA_LISTENERS = {
    "redpanda.kafka_api": "advertise-kafka-addr",
    "redpanda.rpc_server": "advertise-rpc-addr",
}

# Flink's own ports: which setting fixes it, who dials it, who listens. From the measurements in
# standalone application mode; a TaskManager finds the JobManager by name, all else is by pod IP.
_JOBMANAGER_PORTS = ("jobmanager.rpc.port", "blob.server.port")
_TASKMANAGER_PORTS = ("taskmanager.rpc.port", "metrics.internal.query-service.port")
_DATA_PORT = "taskmanager.data.port"
_JOBMANAGER_ADDRESS = "jobmanager.rpc.address"


class _Analysis:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._network = cluster.network([_KUBE_SYSTEM, _ELSEWHERE])
        self._uses: Uses = defaultdict(set)
        self._published: set[Grant] = set()
        self._waits_for: dict[tuple[Workload, Workload], Service] = {}
        self._told = [
            (workload, container, cluster.told(workload, container))
            for workload in cluster.workloads
            for container in workload.containers
        ]
        # Policies cannot tell one pod of a workload from another, but a pod reaches itself.
        self._siblings = {workload: replace(workload.pod) for workload in cluster.workloads}
        self._strangers = [
            Pod(name=f"any pod of {namespace}", namespace=namespace, labels={})
            for namespace in cluster.namespaces
        ]

    def connections(self) -> Iterator[Connection]:
        yield from self._given()
        yield from self._not_given()
        yield from self._advertised()
        yield from self._flink()
        yield from self._redpanda()
        yield from self._dns()
        yield from self._ingresses()
        yield from self._probes()
        yield from self._services()
        yield from self._governing_services()
        yield from self._never_ready()
        yield from self._open()
        yield from self._unused()

    # --- What each container is given

    def _given(self) -> Iterator[Connection]:
        for workload, container, told in self._told:
            for address in told.addresses:
                row = Connection(
                    environment=workload.environment,
                    client=workload.name,
                    source=f"{container['name']}: {address.source}",
                    address=address.text,
                )
                if address.exposed:
                    yield replace(
                        row,
                        verdict=Verdict.UNENCRYPTED,
                        reason="anyone who reads this repository or the network knows it",
                    )
                # A Flink process is told where the JobManager is also if it is the JobManager.
                if not address.hosts or address.key == _JOBMANAGER_ADDRESS:
                    continue
                if address.listening:
                    yield from _unless_listening(row, workload, address.port)
                elif address.advertised:
                    yield self._judge(row, workload, address, dialled=False)
                else:
                    yield self._judge(row, workload, address)

    def _not_given(self) -> Iterator[Connection]:
        """A program that is not told its address fails, or falls back to a foreign default."""
        for workload, container, told in self._told:
            row = Connection(
                environment=workload.environment,
                client=workload.name,
                source=container["name"],
                address="",
                verdict=Verdict.DANGLING,
            )
            for setting in told.unset:
                yield replace(
                    row, address=setting.key, reason=f"{setting.source} needs it; nothing sets it"
                )
            image = container["image"].rpartition("/")[2].partition(":")[0]
            for name in () if "command" in container else _READ_BY_IMAGE.get(image, ()):
                if told.get(name) is None:
                    yield replace(
                        row, address=name, reason="the image would use a default of its own"
                    )

    def _advertised(self) -> Iterator[Connection]:
        """Whoever connects to a broker is sent on to the address that the broker advertises."""
        for server, container, told in self._told:
            for address in told.addresses:
                if not address.advertised:
                    continue
                clients = [
                    client
                    for client in self._cluster.workloads
                    if ("TCP", address.port) in self._uses[client.pod, server.pod]
                ]
                row = Connection(
                    environment=server.environment,
                    client=server.name,
                    source=f"{container['name']}: {address.source}",
                    address=address.text,
                )
                if not clients:
                    yield replace(
                        row, verdict=Verdict.UNUSED, reason="nobody connects to what it stands for"
                    )
                for client in clients:
                    told_by = f"{server.name}: {address.source}"
                    sent = replace(
                        row, environment=client.environment, client=client.name, source=told_by
                    )
                    yield self._judge(sent, client, address)

    def _judge(
        self, row: Connection, client: Workload, address: Address, *, dialled: bool = True
    ) -> Connection:
        """Follow an address from a client to every pod that may answer."""
        if address.port is None:
            return replace(row, verdict=Verdict.DANGLING, reason="nothing says which port")
        try:
            targets = [
                target
                for host in address.hosts
                for target in self._resolve(client, host, address.port)
            ]
            if dialled:
                for target in targets:
                    self._dial(client, target)
        except _UnreachableError as error:
            return replace(row, verdict=error.verdict, reason=str(error))
        if not targets or not dialled:
            return row
        servers = dict.fromkeys(target.workload.name for target in targets)
        return replace(row, servers=tuple(servers), port=targets[0].port)

    # --- Where an address leads

    def _resolve(self, client: Workload, host: str, port: int) -> list[_Target]:
        """The pods to which a host and port lead; none: to the client's own pod, or outside.

        Raises:
            _UnreachableError: If it leads nowhere, or where the client has no business.
        """
        if "$(" in host:
            raise _UnreachableError(Verdict.DANGLING, f"nothing says what is in {host}")
        if host == "localhost" or _is_own(host):
            _require_listening(client, port)
            return []
        service, pod_name = self._find_service(client, host)
        if service is None:
            self._require_way_out(client, host, port)
            return []
        return self._behind(service, pod_name, port)

    def _find_service(self, client: Workload, host: str) -> tuple[Service | None, str | None]:
        """The Service that a name stands for as a pod's resolver completes it, and the pod's name.

        Raises:
            _UnreachableError: If it can only be a Service but there is none, or not of this
                environment.
        """
        name = host.rstrip(".")
        short = re.sub(r"\.svc(\.cluster\.local)?$", "", name)
        labels = short.split(".")
        within = [(client.namespace, labels)] if short == name else []
        for namespace, (*pod, service_name) in [*within, (labels[-1], labels[:-1] or [""])]:
            service = self._cluster.services.get((namespace, service_name))
            if service is not None and len(pod) <= 1:
                if namespace != client.namespace:
                    raise _UnreachableError(
                        Verdict.FOREIGN, f"the Service is in the namespace {namespace}"
                    )
                return service, pod[0] if pod else None
        if labels == ["kubernetes", "default"]:
            return None, None
        if short != name or len(labels) == 1 or labels[-1] in self._cluster.namespaces:
            raise _UnreachableError(Verdict.DANGLING, f"there is no Service {short}")
        return None, None

    def _behind(self, service: Service, pod_name: str | None, port: int) -> list[_Target]:
        """The pods behind a Service, and the port there.

        Raises:
            _UnreachableError: If there is no such pod or port.
        """
        if not service.workloads:
            raise _UnreachableError(Verdict.DANGLING, f"the Service {service.name} selects no pod")
        if service.headless:
            targets = [(workload, port) for workload in service.workloads]
        else:
            targets = [
                (workload, target or 0)
                for entry in service.manifest["spec"]["ports"]
                if entry["port"] == port and entry.get("protocol", "TCP") == "TCP"
                for workload, target in service.targets(entry)
            ]
        if pod_name is not None:
            targets = [
                (workload, target)
                for workload, target in targets
                if service.headless
                and pod_name in workload.pod_names
                and workload.manifest["spec"].get("serviceName") == service.name
            ]
            if not targets:
                raise _UnreachableError(
                    Verdict.DANGLING, f"{pod_name} is no pod of the headless Service {service.name}"
                )
        if not targets:
            raise _UnreachableError(
                Verdict.DANGLING, f"the Service {service.name} has no port {port}"
            )
        for workload, target in targets:
            _require_listening(workload, target)
        return [
            _Target(workload=workload, port=target, service=service) for workload, target in targets
        ]

    def _dial(self, client: Workload, target: _Target) -> None:
        """Note that a connection is used.

        Raises:
            _UnreachableError: If a policy forbids it.
        """
        server = target.workload
        self._uses[client.pod, server.pod].add(("TCP", target.port))
        if target.service and target.service.lists_only_ready:
            self._waits_for[client, server] = target.service
        self._require_allowed(client, self._siblings[server], "TCP", target.port)

    def _require_allowed(self, client: Workload, server: Peer, protocol: str, port: int) -> None:
        blocks = self._network.blocks(client.pod, server, protocol, port)
        if not blocks:
            return
        sides = {Direction.EGRESS: client.name, Direction.INGRESS: peer_name(server)}
        raise _UnreachableError(
            Verdict.BLOCKED,
            "; ".join(
                f"no {block.direction.rules} rule for {sides[block.direction]} in "
                f"{', '.join(block.policies)} allows {protocol} {port}"
                for block in blocks
            ),
        )

    def _require_way_out(self, client: Workload, host: str, port: int) -> None:
        """Let a host outside of the cluster, or the Kubernetes API, be reached where declared.

        Raises:
            _UnreachableError: If no policy lets the client out on that port.
        """
        policies = self._network.isolating(client.pod, Direction.EGRESS)
        ways = [
            (grant, grant.block)
            for policy in policies
            for grant in policy.grants
            if grant.direction is Direction.EGRESS and grant.block is not None
            if any(ports.holds("TCP", port) for ports in grant.ports(grant.block))
            if not _is_ip(host) or grant.admits(ip_network(host.strip("[]")), {})
        ]
        for _, block in ways:
            self._uses[client.pod, block].add(("TCP", port))
        if policies and not ways:
            raise _UnreachableError(
                Verdict.BLOCKED,
                f"{host} is not in this cluster, and none of "
                f"{', '.join(policy.name for policy in policies)} lets {client.name} out to it",
            )

    # --- What is known of the parts themselves

    def _flink(self) -> Iterator[Connection]:
        """Flink's processes find each other by ports that its configuration must fix.

        A TaskManager looks for the JobManager by name; all the other ways are by pod IP.
        """
        processes = [
            (workload, container, told, address)
            for workload, container, told in self._told
            for address in told.addresses
            if address.key == _JOBMANAGER_ADDRESS
        ]
        by_address: dict[tuple[str, ...], set[Workload]] = defaultdict(set)
        for workload, _, _, address in processes:
            by_address[address.hosts].add(workload)
        for workload, container, told, address in processes:
            row = Connection(
                environment=workload.environment,
                client=workload.name,
                source=f"{container['name']}: {address.source}",
                address=address.text,
            )
            found = self._judge(row, workload, address, dialled=False)
            try:
                jobmanagers = {
                    target.workload
                    for host in address.hosts
                    for target in self._resolve(workload, host, address.port or 0)
                }
            except _UnreachableError:
                yield found
                continue
            if workload in jobmanagers:
                yield found
                port = (told.get("rest.port") or Setting(source="", key="", value="8081")).value
                row = replace(row, source="rest.port", address=port)
                yield from _unless_listening(row, workload, int(port))
                continue
            for jobmanager in jobmanagers - by_address[address.hosts]:
                yield replace(
                    row,
                    verdict=Verdict.DANGLING,
                    reason=f"{jobmanager.name} is not told the same name, and Flink drops "
                    "messages for another name than its own",
                )
            for key in _JOBMANAGER_PORTS:
                yield self._dial_flink(row, workload, told, key, address.hosts[0])
            own = told.get("taskmanager.host")
            if own is None or told.expand(own.value) != (OWN_ADDRESS,):
                yield replace(
                    row,
                    address="taskmanager.host",
                    verdict=Verdict.DANGLING,
                    reason="it is not the pod's IP, and the name of the pod is in no DNS",
                )
            for key in _TASKMANAGER_PORTS:
                for jobmanager in jobmanagers:
                    yield self._dial_flink(
                        replace(row, client=jobmanager.name), jobmanager, told, key, workload
                    )
            yield self._dial_flink(row, workload, told, _DATA_PORT, workload)

    def _dial_flink(
        self, row: Connection, client: Workload, told: Told, key: str, server: str | Workload
    ) -> Connection:
        setting = told.get(key)
        port = setting.value if setting else "0"
        name = server if isinstance(server, str) else server.name
        row = replace(row, source=key, address=f"{name}:{port}")
        if not port.isdecimal() or int(port) == 0:
            reason = f"{key} is not fixed: Flink takes any free port"
            return replace(row, verdict=Verdict.DANGLING, reason=reason)
        if isinstance(server, str):
            address = Address(
                source=key, key=key, text=row.address, hosts=(server,), port=int(port)
            )
            return self._judge(row, client, address)
        try:
            _require_listening(server, int(port))
            self._dial(client, _Target(workload=server, port=int(port)))
        except _UnreachableError as error:
            return replace(row, verdict=error.verdict, reason=str(error))
        return replace(row, servers=(server.name,), port=int(port))

    def _redpanda(self) -> Iterator[Connection]:
        """A broker that listens on every address must say under which one it is reached."""
        for workload in self._cluster.workloads:
            addresses = [
                address
                for owner, _, told in self._told
                if owner is workload
                for address in told.addresses
            ]
            for listener in addresses:
                flag = _REDPANDA_LISTENERS.get(re.sub(r"(\[\d+\])?\.address$", "", listener.key))
                if flag and not any(
                    address.key == flag and address.port == listener.port for address in addresses
                ):
                    yield Connection(
                        environment=workload.environment,
                        client=workload.name,
                        source=listener.source,
                        address=listener.text,
                        verdict=Verdict.DANGLING,
                        reason=f"--{flag} does not say under which name others reach this port",
                    )

    def _dns(self) -> Iterator[Connection]:
        """Every pod resolves names, whatever it runs; a cluster may have either resolver."""
        for pod in [*(workload.pod for workload in self._cluster.workloads), *self._strangers]:
            for resolver in (_RESOLVER, _NODE_LOCAL_RESOLVER):
                self._uses[pod, resolver] |= _DNS_PORTS
        for workload in self._cluster.workloads:
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
                        self._require_allowed(workload, resolver, protocol, port)
                except _UnreachableError as error:
                    row = replace(row, verdict=error.verdict, reason=str(error))
                yield row

    def _ingresses(self) -> Iterator[Connection]:
        """A published Service must let in its controller, of which only the policy knows more."""
        for manifest in self._cluster.kind("Ingress"):
            namespace = manifest["metadata"]["namespace"]
            for rule in manifest["spec"].get("rules", []):
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    row = Connection(
                        environment=self._cluster.namespaces[namespace],
                        client=OUTSIDE,
                        source=f"Ingress {manifest['metadata']['name']}",
                        address=f"{rule.get('host', '*')}{path.get('path', '/')}",
                    )
                    try:
                        targets = self._published_by(namespace, backend)
                    except _UnreachableError as error:
                        yield replace(row, verdict=error.verdict, reason=str(error))
                        continue
                    servers = tuple(target.workload.name for target in targets)
                    yield replace(row, servers=servers, port=targets[0].port)

    def _published_by(self, namespace: str, backend: Manifest) -> list[_Target]:
        service = self._cluster.services.get((namespace, backend["name"]))
        if service is None:
            raise _UnreachableError(Verdict.DANGLING, f"there is no Service {backend['name']}")
        wanted = backend["port"]
        port = wanted.get("number") or next(
            (
                entry["port"]
                for entry in service.manifest["spec"]["ports"]
                if entry.get("name") == wanted["name"]
            ),
            0,
        )
        targets = self._behind(service, None, port)
        for target in targets:
            policies = self._network.isolating(target.workload.pod, Direction.INGRESS)
            doors = [
                grant
                for policy in policies
                for grant in policy.grants
                if grant.direction is Direction.INGRESS
                if grant.peer is None or grant.peer.keys() & {"namespaceSelector", "ipBlock"}
                if [Ports(protocol="TCP", first=target.port, last=target.port)]
                == list(grant.ports(target.workload.pod))
            ]
            self._published |= set(doors)
            if policies and not doors:
                raise _UnreachableError(
                    Verdict.BLOCKED,
                    f"no policy lets an ingress controller in to {target.workload.name}",
                )
        return targets

    # --- What would surprise whoever connects

    def _probes(self) -> Iterator[Connection]:
        """The kubelet of a pod's own node always reaches it; only the port can be wrong."""
        for workload in self._cluster.workloads:
            for container in workload.containers:
                for name in PROBES:
                    handler = container.get(name, {})
                    port = (handler.get("httpGet") or handler.get("tcpSocket") or {}).get("port")
                    if isinstance(port, str):
                        port = workload.pod.named_ports.get(("TCP", port), 0)
                    row = Connection(
                        environment=workload.environment,
                        client=workload.name,
                        source=f"{container['name']}: {name}",
                        address=f"port {port}",
                    )
                    if port is not None:
                        yield from _unless_listening(row, workload, port)

    def _services(self) -> Iterator[Connection]:
        for (namespace, name), service in self._cluster.services.items():
            row = Connection(
                environment=self._cluster.namespaces.get(namespace, namespace),
                client=f"Service {name}",
                source="spec",
                address=name,
                verdict=Verdict.DANGLING,
            )
            if not service.workloads:
                yield replace(row, reason="it selects no pod")
            for entry in service.manifest["spec"].get("ports", []):
                row = replace(row, address=f"{name}:{entry['port']}")
                protocol = entry.get("protocol", "TCP")
                for workload, target in service.targets(entry):
                    yield from _unless_listening(row, workload, target, protocol)
                    if service.headless and target != entry["port"]:
                        yield replace(row, reason=f"no headless Service turns it into {target}")

    def _governing_services(self) -> Iterator[Connection]:
        """The pods of a StatefulSet get their names in DNS from the Service it says."""
        for workload in self._cluster.workloads:
            name = workload.manifest["spec"].get("serviceName")
            service = self._cluster.services.get((workload.namespace, name))
            if name and (service is None or workload not in service.workloads):
                yield Connection(
                    environment=workload.environment,
                    client=workload.name,
                    source="serviceName",
                    address=name,
                    verdict=Verdict.DANGLING,
                    reason=f"there is no Service {name} that selects its pods",
                )

    def _never_ready(self) -> Iterator[Connection]:
        """Of two that need each other, none may wait until the other one is ready."""
        for (client, server), service in self._waits_for.items():
            if self._uses[server.pod, client.pod]:
                yield Connection(
                    environment=client.environment,
                    client=client.name,
                    source=f"Service {service.name}",
                    address=service.name,
                    verdict=Verdict.DANGLING,
                    reason=f"it lists only ready pods, and {server.name} itself connects to "
                    f"{client.name}: neither can be the first",
                )

    # --- What nobody needs

    def _open(self) -> Iterator[Connection]:
        """A pod that no policy isolates may talk to everyone."""
        for pod in [*(workload.pod for workload in self._cluster.workloads), *self._strangers]:
            for direction in Direction:
                if not self._network.isolating(pod, direction):
                    yield Connection(
                        environment=self._cluster.namespaces[pod.namespace],
                        client=pod.name,
                        source="no policy",
                        address=f"all {direction.rules}",
                        verdict=Verdict.UNUSED,
                        reason=f"no policy isolates it for {direction.rules}",
                    )

    def _unused(self) -> Iterator[Connection]:
        permissions = surplus(
            self._network,
            self._uses,
            pods=[workload.pod for workload in self._cluster.workloads],
            strangers=self._strangers,
            others=[_RESOLVER],
            published=self._published,
        )
        for grant, reason in permissions:
            yield Connection(
                environment=self._cluster.namespaces.get(grant.namespace, ""),
                client=f"NetworkPolicy {grant.policy}",
                source=grant.path,
                address=_describe(grant),
                verdict=Verdict.UNUSED,
                reason=reason,
            )


def _unless_listening(
    row: Connection, workload: Workload, port: int | None, protocol: str = "TCP"
) -> Iterator[Connection]:
    """A finding, if no container of a workload says that it listens on a port."""
    try:
        _require_listening(workload, port, protocol)
    except _UnreachableError as error:
        yield replace(row, verdict=error.verdict, reason=str(error))


def _require_listening(workload: Workload, port: int | None, protocol: str = "TCP") -> None:
    if (protocol, port) not in workload.listening:
        raise _UnreachableError(
            Verdict.DANGLING, f"no container of {workload.name} lists the port {protocol} {port}"
        )


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_own(host: str) -> bool:
    return _is_ip(host) and ip_address(host.strip("[]")).is_loopback


def _describe(grant: Grant) -> str:
    """A grant's port, as its policy says it."""
    if grant.port is None:
        return "every port"
    port = grant.port.get("port", "every port")
    end = f"-{grant.port['endPort']}" if "endPort" in grant.port else ""
    return f"{grant.port.get('protocol', 'TCP')} {port}{end}"
