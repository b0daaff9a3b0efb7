"""DNS of the cluster: where pods resolve names, which differs between clusters."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cdk8s_plus_27 import k8s

from fraud_detection.platform.network import OutsidePods
from fraud_detection.platform.values import number

DECLARATION = "delivery/dns"
"""Annotation from which `delivery connections` learns where pods resolve names."""


@dataclass(frozen=True, kw_only=True)
class Dns:
    """The resolvers of a cluster: a pod must reach each of them, by UDP and TCP.

    Attributes:
        pods: Pods that answer. Default: none.
        addresses: CIDR blocks that answer and are not addresses of pods. Default: none.
        port: Port on which they listen: that of the pods, not that of a Service.
    """

    pods: Sequence[OutsidePods] = ()
    addresses: Sequence[str] = ()
    port: int = 53

    @property
    def egress(self) -> k8s.NetworkPolicyEgressRule:
        """The rule that lets a pod resolve names."""
        blocks = [k8s.NetworkPolicyPeer(ip_block=k8s.IpBlock(cidr=each)) for each in self.addresses]
        return k8s.NetworkPolicyEgressRule(
            to=[*(each.peer for each in self.pods), *blocks],
            ports=[
                k8s.NetworkPolicyPort(protocol=protocol, port=number(self.port))
                for protocol in ("UDP", "TCP")
            ],
        )

    @property
    def declaration(self) -> str:
        """The value of the annotation."""
        pods = [{"namespace": each.namespace, "labels": dict(each.labels)} for each in self.pods]
        declared = {"pods": pods, "addresses": list(self.addresses), "port": self.port}
        return json.dumps(declared, sort_keys=True)


def node_local_dns(cluster_ip: str) -> Dns:
    """Return NodeLocal DNSCache in iptables mode, given the address of the Service kube-dns.

    The cache also listens on that address, on the host network, where no pod selector finds it.
    """
    return replace(KUBE_DNS, addresses=(*KUBE_DNS.addresses, f"{cluster_ip}/32"))


_KUBE_DNS_PODS = OutsidePods(namespace="kube-system", labels={"k8s-app": "kube-dns"})

KUBE_DNS = Dns(pods=(_KUBE_DNS_PODS,), addresses=("169.254.20.10/32",))
"""CoreDNS or kube-dns, and NodeLocal DNSCache on its usual address: most clusters."""
NODE_LOCAL_DNS_PODS = Dns(
    pods=(
        _KUBE_DNS_PODS,
        OutsidePods(namespace="kube-system", labels={"k8s-app": "node-local-dns"}),
    )
)
"""NodeLocal DNSCache as pods of the pod network: GKE with Dataplane V2, Cilium."""
CLOUD_DNS = Dns(addresses=("169.254.169.254/32",))
"""Cloud DNS for GKE, at the address of the metadata server."""
OPENSHIFT_DNS = Dns(
    pods=(
        OutsidePods(
            namespace="openshift-dns",
            labels={"dns.operator.openshift.io/daemonset-dns": "default"},
        ),
    ),
    port=5353,
)
"""The DNS operator of OpenShift; its Service has port 53, its pods have another."""
