"""The rules of a whole namespace: default deny, access to DNS, quota, limits, pull secret."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.dns import DECLARATION, Dns
from fraud_detection.platform.values import quantity


@dataclass(frozen=True, kw_only=True)
class NamespaceSettings:
    """The quota of an environment.

    It must fit all pods at the maximum of the autoscalers during the largest rollout.

    Attributes:
        cpu_requests: Sum of all CPU requests, in cores.
        cpu_limits: Sum of all CPU limits, in cores.
        memory: Sum of all memory limits (requests are the same), in GiB.
        storage: Sum of all volume claims, in GiB.
        volume_claims: Number of volume claims.
        pods: Number of pods.
        image_pull_secret: Name of a Secret of type `kubernetes.io/dockerconfigjson` in the
            namespace, created by hand, for registries that need credentials. Default: none.
    """

    cpu_requests: int
    cpu_limits: int
    memory: int
    storage: int
    volume_claims: int
    pods: int
    image_pull_secret: str | None = None


class Namespace(Construct):
    """The rules of the namespace of an environment; Argo CD creates the namespace itself."""

    def __init__(self, scope: Construct, id: str, *, settings: NamespaceSettings, dns: Dns) -> None:
        super().__init__(scope, id)

        everything = k8s.LabelSelector()
        k8s.KubeNetworkPolicy(
            self,
            "default-deny",
            metadata=k8s.ObjectMeta(name="default-deny"),
            spec=k8s.NetworkPolicySpec(pod_selector=everything, policy_types=["Ingress", "Egress"]),
        )
        k8s.KubeNetworkPolicy(
            self,
            "dns",
            metadata=k8s.ObjectMeta(name="dns", annotations={DECLARATION: dns.declaration}),
            spec=k8s.NetworkPolicySpec(
                pod_selector=everything, policy_types=["Egress"], egress=[dns.egress]
            ),
        )
        k8s.KubeResourceQuota(
            self,
            "quota",
            metadata=k8s.ObjectMeta(name="quota"),
            spec=k8s.ResourceQuotaSpec(
                hard={
                    "limits.cpu": quantity(str(settings.cpu_limits)),
                    "limits.memory": quantity(f"{settings.memory}Gi"),
                    "persistentvolumeclaims": quantity(str(settings.volume_claims)),
                    "pods": quantity(str(settings.pods)),
                    "requests.cpu": quantity(str(settings.cpu_requests)),
                    "requests.memory": quantity(f"{settings.memory}Gi"),
                    "requests.storage": quantity(f"{settings.storage}Gi"),
                }
            ),
        )
        # The quota refuses a container without resources; a debugging pod gets these.
        k8s.KubeLimitRange(
            self,
            "limits",
            metadata=k8s.ObjectMeta(name="limits"),
            spec=k8s.LimitRangeSpec(
                limits=[
                    k8s.LimitRangeItem(
                        type="Container",
                        default_request={"cpu": quantity("50m"), "memory": quantity("64Mi")},
                        default={"cpu": quantity("250m"), "memory": quantity("128Mi")},
                        max={"cpu": quantity("4"), "memory": quantity("8Gi")},
                    )
                ]
            ),
        )
        secret = settings.image_pull_secret
        k8s.KubeServiceAccount(
            self,
            "service-account",
            metadata=k8s.ObjectMeta(name="default"),
            automount_service_account_token=False,
            image_pull_secrets=[k8s.LocalObjectReference(name=secret)] if secret else None,
        )
