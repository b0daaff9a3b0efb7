"""audit-log: a service that the tests add to a copy of this repository, as a newcomer would."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.pods import (
    PYTHON_USER,
    Resources,
    container,
    environment_variables,
    http_probe,
    pod_template,
    temporary_folder,
)

_PORT = 8090


@dataclass(frozen=True, kw_only=True)
class AuditLogSettings:
    """How audit-log runs.

    Attributes:
        resources: Resources of its one pod.
    """

    resources: Resources


class AuditLog(Construct):
    """One pod that reads every transaction and shows the newest."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        image: Image,
        broker: Endpoint,
        settings: AuditLogSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="audit-log", service=self, network=network)
        transactions = Connection(client=component, endpoint=broker)
        expose(
            self,
            name="audit-log",
            component=component,
            ports={"http": _PORT},
        )
        tmp = temporary_folder(size=64)
        k8s.KubeDeployment(
            self,
            "deployment",
            metadata=k8s.ObjectMeta(name="audit-log"),
            spec=k8s.DeploymentSpec(
                replicas=1,
                strategy=k8s.DeploymentStrategy(type="Recreate"),
                selector=component.selector,
                template=pod_template(
                    component,
                    user=PYTHON_USER,
                    mounts=[tmp],
                    containers=[
                        container(
                            "audit-log",
                            image=image,
                            resources=settings.resources,
                            mounts=[tmp],
                            ports={"http": _PORT},
                            env=environment_variables({"KAFKA_BROKER": transactions.address}),
                            startup=http_probe("/", _PORT, period=2, failures=30),
                            readiness=http_probe("/", _PORT, period=5, failures=2),
                            liveness=http_probe("/", _PORT, period=10, failures=3),
                        )
                    ],
                ),
            ),
        )
