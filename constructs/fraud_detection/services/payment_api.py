"""payment-api: accepts transactions over HTTP and sends them to the broker."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.autoscaling import scale_on_cpu
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.placement import leave_one_by_one, spread
from fraud_detection.platform.pods import (
    PYTHON_USER,
    Resources,
    container,
    environment_variables,
    http_probe,
    mount_files,
    pod_template,
    temporary_folder,
)
from fraud_detection.platform.publication import Publication, publish
from fraud_detection.platform.values import number
from fraud_detection.services.topic import Topic

_PORT = 8000
"""Port of uvicorn in the image."""
_SERVER = ("python", "-m", "uvicorn", "main:app", "--host", "0.0.0.0", "--port", str(_PORT))  # noqa: S104 - as in the image
"""Command of the image, by its module: a script need not be on the PATH."""
_DRAIN_SECONDS = 5
"""Time for which a stopping pod still serves, until all nodes know that it has left the Service."""


@dataclass(frozen=True, kw_only=True)
class PaymentApiSettings:
    """Settings of payment-api.

    Attributes:
        min_replicas: The minimum number of pods. With 2 or more, a drain leaves one serving.
        max_replicas: The maximum number of pods; if it equals `min_replicas`, nothing scales.
        resources: Resources of each pod.
        publication: Access for clients outside of the cluster. Default: none.
    """

    min_replicas: int
    max_replicas: int
    resources: Resources
    publication: Publication | None = None


class PaymentApi(Construct):
    """Pods that start only when the topic exists, and are replaced without losing a request."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        image: Image,
        broker: Endpoint,
        topic: Topic,
        settings: PaymentApiSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="payment-api", service=self, network=network)
        self.http = Endpoint(component=component, host="payment-api", port=_PORT)
        """The endpoint to which transactions are posted."""
        kafka = Connection(client=component, endpoint=broker)
        if settings.publication is not None:
            publish(self, self.http, settings.publication)
        expose(self, name=self.http.host, component=component, ports={"http": _PORT})
        files = mount_files(
            self,
            "files",
            name="payment-api-files",
            path="/files",
            files=["payment_api/wait_for_topic.py"],
        )
        tmp = temporary_folder(size=64)
        autoscaled = settings.max_replicas > settings.min_replicas
        k8s.KubeDeployment(
            self,
            "deployment",
            metadata=k8s.ObjectMeta(name="payment-api"),
            spec=k8s.DeploymentSpec(
                # If there is an autoscaler, it owns the number.
                replicas=None if autoscaled else settings.min_replicas,
                strategy=k8s.DeploymentStrategy(
                    type="RollingUpdate",
                    rolling_update=k8s.RollingUpdateDeployment(
                        max_surge=number(1), max_unavailable=number(0)
                    ),
                ),
                selector=component.selector,
                template=pod_template(
                    component,
                    user=PYTHON_USER,
                    files=files,
                    mounts=[files.mount, tmp],
                    topology_spread=spread(component),
                    containers=[
                        container(
                            "payment-api",
                            image=image,
                            resources=settings.resources,
                            mounts=[files.mount, tmp],
                            command=["python", "/files/wait_for_topic.py", *_SERVER],
                            ports={"http": _PORT},
                            env=environment_variables(
                                {"KAFKA_BROKER": kafka.address, "TRANSACTIONS_TOPIC": topic.name}
                            ),
                            # An hour: before it listens, it waits for the broker.
                            startup=http_probe("/openapi.json", _PORT, period=5, failures=720),
                            readiness=http_probe("/health", _PORT, period=5, failures=2),
                            # While the broker is down, `/health` waits behind the transactions.
                            liveness=http_probe("/openapi.json", _PORT, period=10, failures=3),
                            lifecycle=k8s.Lifecycle(
                                pre_stop=k8s.LifecycleHandler(
                                    exec=k8s.ExecAction(command=["sleep", str(_DRAIN_SECONDS)])
                                )
                            ),
                        )
                    ],
                ),
            ),
        )
        if autoscaled:
            scale_on_cpu(
                self,
                deployment="payment-api",
                min_replicas=settings.min_replicas,
                max_replicas=settings.max_replicas,
                busy_seconds=30,
                calm_seconds=300,
            )
        if settings.min_replicas > 1:
            leave_one_by_one(component)
