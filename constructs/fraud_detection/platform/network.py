"""The network of a namespace: endpoints, connections and the NetworkPolicies for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.values import number


class Network:
    """The components of one namespace and the connections between them.

    Components and connections register themselves here, so that none of them can be forgotten.
    """

    def __init__(self) -> None:
        self.components: list[Component] = []
        self.connections: list[Connection] = []

    def add_policies(self) -> None:
        """Allow all connections, on top of the namespace's default deny.

        Each component gets a NetworkPolicy with one rule per port, in the file of its service. Call
        it once all services exist: later components and connections have no effect.
        """
        for component in self.components:
            clients: dict[int, list[Component | OutsidePods]] = {}
            servers: dict[int, list[Component | OutsidePods]] = {}
            for connection in self.connections:
                client, endpoint = connection.client, connection.endpoint
                # Two containers of a pod may use the same endpoint.
                if endpoint.component is component:
                    peers = clients.setdefault(endpoint.port, [])
                    if client not in peers:
                        peers.append(client)
                if client is component:
                    peers = servers.setdefault(endpoint.port, [])
                    if endpoint.component not in peers:
                        peers.append(endpoint.component)
            _add_policy(component, clients=clients, servers=servers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """A group of identical pods, selected by one label that never changes.

    Attributes:
        name: Value of the label `app.kubernetes.io/name`, unique in a namespace.
        service: The construct of the service to which the pods belong.
        network: The network of the namespace, which learns about the component here.
    """

    name: str
    service: Construct
    network: Network

    def __post_init__(self) -> None:
        """Register the component."""
        self.network.components.append(self)

    @property
    def labels(self) -> dict[str, str]:
        """The labels that select exactly these pods."""
        return {"app.kubernetes.io/name": self.name}

    @property
    def selector(self) -> k8s.LabelSelector:
        """The selector of exactly these pods, in their own namespace."""
        return k8s.LabelSelector(match_labels=self.labels)

    @property
    def peer(self) -> k8s.NetworkPolicyPeer:
        """These pods as one side of a NetworkPolicy of the same namespace."""
        return k8s.NetworkPolicyPeer(pod_selector=self.selector)


@dataclass(frozen=True, kw_only=True)
class OutsidePods:
    """Pods of another namespace, such as those of an ingress controller.

    Attributes:
        namespace: The namespace's name.
        labels: Labels of the pods.
    """

    namespace: str
    labels: Mapping[str, str]

    @property
    def peer(self) -> k8s.NetworkPolicyPeer:
        """These pods as one side of a NetworkPolicy: both selectors in one item must match."""
        return k8s.NetworkPolicyPeer(
            namespace_selector=k8s.LabelSelector(
                match_labels={"kubernetes.io/metadata.name": self.namespace}
            ),
            pod_selector=k8s.LabelSelector(match_labels=dict(self.labels)),
        )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A TCP port that a service offers; clients get its address from their `Connection`.

    Attributes:
        component: The pods that listen.
        host: Name of the Service (or of a pod behind a headless one) in the same namespace.
        port: The port, the same on the Service and on the pods.
    """

    component: Component
    host: str
    port: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Connection:
    """A client's use of an endpoint.

    Making one allows it, as egress of the client and as ingress of the server, and gives the
    address that the client needs.

    Attributes:
        client: The pods that connect.
        endpoint: The port that they connect to.
    """

    client: Component | OutsidePods
    endpoint: Endpoint

    def __post_init__(self) -> None:
        """Register the connection in the server's namespace."""
        self.endpoint.component.network.connections.append(self)

    @property
    def host(self) -> str:
        """The host name that the client connects to."""
        return self.endpoint.host

    @property
    def port(self) -> int:
        """The port that the client connects to."""
        return self.endpoint.port

    @property
    def address(self) -> str:
        """The address as `host:port`."""
        return f"{self.host}:{self.port}"


@cache
def _tcp(port: int) -> k8s.NetworkPolicyPort:
    """Return a TCP port of a NetworkPolicy rule."""
    return k8s.NetworkPolicyPort(protocol="TCP", port=number(port))


def _add_policy(
    component: Component,
    *,
    clients: Mapping[int, list[Component | OutsidePods]],
    servers: Mapping[int, list[Component | OutsidePods]],
) -> None:
    k8s.KubeNetworkPolicy(
        component.service,
        f"{component.name}-network",
        metadata=k8s.ObjectMeta(name=component.name),
        spec=k8s.NetworkPolicySpec(
            pod_selector=component.selector,
            policy_types=["Ingress", "Egress"],
            # An empty list means the same as none, but counts as a change at each apply.
            ingress=[
                k8s.NetworkPolicyIngressRule(
                    from_=[each.peer for each in peers], ports=[_tcp(port)]
                )
                for port, peers in clients.items()
            ]
            or None,
            egress=[
                k8s.NetworkPolicyEgressRule(to=[each.peer for each in peers], ports=[_tcp(port)])
                for port, peers in servers.items()
            ]
            or None,
        ),
    )


def expose(
    scope: Construct,
    *,
    name: str,
    component: Component,
    ports: Mapping[str, int],
    headless: bool = False,
    publish_not_ready: bool = False,
) -> None:
    """Give the ports of a component a DNS name: a Service with the port numbers of the pods.

    Args:
        scope: The construct that owns the component.
        name: Name of the Service.
        component: The pods behind it.
        ports: TCP port numbers by name.
        headless: Whether the name, and one name per pod of a StatefulSet, resolve to the pods.
            Default: the name resolves to one stable address.
        publish_not_ready: Whether to list pods that are not ready. Default: only ready pods.
    """
    k8s.KubeService(
        scope,
        f"{name}-service",
        metadata=k8s.ObjectMeta(name=name),
        spec=k8s.ServiceSpec(
            type="ClusterIP",
            cluster_ip="None" if headless else None,
            # Our servers listen on IPv4 alone: a cluster without it refuses the Service.
            ip_families=["IPv4"],
            ip_family_policy="SingleStack",
            publish_not_ready_addresses=publish_not_ready or None,
            selector=component.labels,
            ports=[
                k8s.ServicePort(name=port_name, port=port, target_port=number(port), protocol="TCP")
                for port_name, port in ports.items()
            ],
        ),
    )
