"""alert-monitor: the dashboard that shows each alert as soon as Flink finds it."""

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
from fraud_detection.platform.publication import Publication, publish
from fraud_detection.services.redis import client_variables

_PORT = 8080
"""Port of uvicorn in the image."""


@dataclass(frozen=True, kw_only=True)
class AlertMonitorSettings:
    """Settings of alert-monitor.

    Attributes:
        resources: Resources of the one pod.
        publication: Access for browsers outside of the cluster. Default: none.
    """

    resources: Resources
    publication: Publication | None = None


class AlertMonitor(Construct):
    """Exactly one pod, also during a rollout.

    It takes the alerts off the list: two pods would share them, and each would show only half.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        image: Image,
        redis: Endpoint,
        settings: AlertMonitorSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="alert-monitor", service=self, network=network)
        self.http = Endpoint(component=component, host="alert-monitor", port=_PORT)
        """The dashboard, and alerts as a WebSocket at `/ws`."""
        alerts = Connection(client=component, endpoint=redis)
        if settings.publication is not None:
            publish(self, self.http, settings.publication)

        expose(
            self,
            name=self.http.host,
            component=component,
            ports={"http": _PORT},
        )
        tmp = temporary_folder(size=64)
        k8s.KubeDeployment(
            self,
            "deployment",
            metadata=k8s.ObjectMeta(name="alert-monitor"),
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
                            "alert-monitor",
                            image=image,
                            resources=settings.resources,
                            mounts=[tmp],
                            ports={"http": _PORT},
                            env=environment_variables(client_variables(alerts)),
                            startup=http_probe("/", _PORT, period=2, failures=30),
                            readiness=http_probe("/", _PORT, period=5, failures=2),
                            liveness=http_probe("/", _PORT, period=10, failures=3),
                        )
                    ],
                ),
            ),
        )
