"""Publication of a service outside of the cluster: an Ingress and the connection it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.network import Connection, Endpoint, OutsidePods


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The public name of a service, and the ingress controller that serves it.

    Set it only where the controller runs: without one an Ingress never gets an address, and Argo CD
    never reports it as healthy.

    Attributes:
        host: The DNS name.
        ingress_class: Name of the IngressClass.
        tls_secret: Secret of type `kubernetes.io/tls` in the namespace. Default: plain HTTP.
        controller_namespace: Namespace of the controller's pods.
        controller_labels: Labels of the controller's pods.
    """

    host: str
    ingress_class: str
    controller_namespace: str
    controller_labels: Mapping[str, str]
    tls_secret: str | None = None


def publish(scope: Construct, endpoint: Endpoint, publication: Publication) -> None:
    """Route the requests for a host to an endpoint, and let the ingress controller connect to it.

    Args:
        scope: The construct that owns the endpoint.
        endpoint: The target of the requests; its Service is in the same namespace.
        publication: The host and the controller.
    """
    k8s.KubeIngress(
        scope,
        "ingress",
        metadata=k8s.ObjectMeta(name=endpoint.host),
        spec=k8s.IngressSpec(
            ingress_class_name=publication.ingress_class,
            tls=None
            if publication.tls_secret is None
            else [k8s.IngressTls(hosts=[publication.host], secret_name=publication.tls_secret)],
            rules=[
                k8s.IngressRule(
                    host=publication.host,
                    http=k8s.HttpIngressRuleValue(
                        paths=[
                            k8s.HttpIngressPath(
                                path="/",
                                path_type="Prefix",
                                backend=k8s.IngressBackend(
                                    service=k8s.IngressServiceBackend(
                                        name=endpoint.host,
                                        port=k8s.ServiceBackendPort(number=endpoint.port),
                                    )
                                ),
                            )
                        ]
                    ),
                )
            ],
        ),
    )
    controller = OutsidePods(
        namespace=publication.controller_namespace, labels=publication.controller_labels
    )
    Connection(client=controller, endpoint=endpoint)
