"""Who may talk to whom: endpoints, connections, and the NetworkPolicies that follow from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.sync import Wave, metadata
from fraud_detection.platform.values import number


@dataclass(frozen=True, kw_only=True)
class Component:
    """A group of alike pods, found by one label that never changes.

    Attributes:
        name: Value of the label `app.kubernetes.io/name`, unique in a namespace.
    """

    name: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels that select exactly these pods."""
        return {"app.kubernetes.io/name": self.name}

    @property
    def selector(self) -> k8s.LabelSelector:
        """Selects exactly these pods, in the object's own namespace."""
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
    """A TCP port that a service offers.

    Attributes:
        component: The pods that listen.
        host: Name of the Service (or of a pod behind a headless one) in the same namespace.
        port: The port, the same on the Service and on the pods.
    """

    component: Component
    host: str
    port: int

    @property
    def address(self) -> str:
        """`host:port`, as clients take it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A client's use of an endpoint: what one side's egress and the other's ingress must allow."""

    client: Component | OutsidePods
    endpoint: Endpoint


@dataclass(frozen=True, kw_only=True)
class Edges:
    """A service's place in the network of its namespace.

    Attributes:
        owner: The service, which gets the NetworkPolicies.
        components: Its groups of alike pods.
        connections: What they connect to, and who outside of the namespace connects to them.
    """

    owner: Construct
    components: Sequence[Component]
    connections: Sequence[Connection] = ()


@cache
def _tcp(port: int) -> k8s.NetworkPolicyPort:
    """A TCP port of a NetworkPolicy rule."""
    return k8s.NetworkPolicyPort(protocol="TCP", port=number(port))


def allow_connections(services: Sequence[Edges]) -> None:
    """Allow each component its own connections, on top of the namespace's default deny.

    Args:
        services: The edges of all services of the namespace.
    """
    connections = [connection for edges in services for connection in edges.connections]
    for edges in services:
        for component in edges.components:
            _allow(edges.owner, component, connections)


def _allow(scope: Construct, component: Component, connections: Iterable[Connection]) -> None:
    """The NetworkPolicy of one component, with one rule per port."""
    clients: dict[int, list[k8s.NetworkPolicyPeer]] = {}
    servers: dict[int, list[k8s.NetworkPolicyPeer]] = {}
    for connection in connections:
        endpoint = connection.endpoint
        if endpoint.component == component:
            clients.setdefault(endpoint.port, []).append(connection.client.peer)
        if connection.client == component:
            servers.setdefault(endpoint.port, []).append(endpoint.component.peer)
    k8s.KubeNetworkPolicy(
        scope,
        f"{component.name}-network",
        metadata=metadata(component.name, wave=Wave.NAMESPACE),
        spec=k8s.NetworkPolicySpec(
            pod_selector=component.selector,
            policy_types=["Ingress", "Egress"],
            # An empty list, which means the same as none, would be another version at each apply.
            ingress=[
                k8s.NetworkPolicyIngressRule(from_=peers, ports=[_tcp(port)])
                for port, peers in clients.items()
            ]
            or None,
            egress=[
                k8s.NetworkPolicyEgressRule(to=peers, ports=[_tcp(port)])
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
    wave: Wave,
    headless: bool = False,
    publish_not_ready: bool = False,
) -> None:
    """Give a component's ports a name in DNS: a Service, with the same port numbers as the pods.

    Args:
        scope: The construct that owns the component.
        name: Name of the Service.
        component: The pods behind it.
        ports: TCP port numbers by name.
        wave: When Argo CD applies it.
        headless: No address of its own: the name, and one name per pod of a StatefulSet, resolve
            to the pods. Default: one stable address.
        publish_not_ready: Also list pods that are not ready. Default: only ready ones.
    """
    k8s.KubeService(
        scope,
        f"{name}-service",
        metadata=metadata(name, wave=wave),
        spec=k8s.ServiceSpec(
            type="ClusterIP",
            cluster_ip="None" if headless else None,
            publish_not_ready_addresses=publish_not_ready or None,
            selector=component.labels,
            ports=[
                k8s.ServicePort(name=port_name, port=port, target_port=number(port), protocol="TCP")
                for port_name, port in ports.items()
            ],
        ),
    )
