"""The prober: measures whether, and how fast, a fraud travels from HTTP to the browser."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.monitoring.detection import detection
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Target, Watch
from fraud_detection.platform.network import Component, Connection, Endpoint, Network
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
from fraud_detection.platform.settings import SettingsError

_HTTP = Target(name="http", port=8001)
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Upper bounds of the histogram in prober.py, in seconds."""


@dataclass(frozen=True, kw_only=True)
class ProberSettings:
    """Settings of the prober.

    Attributes:
        every: Time from one probe to the next, in seconds.
        within: Time limit for the alert, in seconds. The prober is ready while the last alert is
            not older than two rounds, each of `every` and `within`.
    """

    every: int
    within: int


class Prober(Construct):
    """One pod that is ready while frauds raise alerts.

    So the health of the environment in Argo CD tells whether detection works.

    Raises:
        SettingsError: If the prober cannot tell whether alerts keep to the time limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        watch: Watch,
        image: Image,
        payment_api: Endpoint,
        alert_monitor: Endpoint,
        settings: ProberSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="prober", service=self, network=network)
        posts = Connection(client=component, endpoint=payment_api)
        alerts = Connection(client=component, endpoint=alert_monitor)
        files = mount_files(
            self, "files", name="prober-files", path="/files", files=["prober/prober.py"]
        )
        annotations = watch.scrape(component, _HTTP)
        if watch.settings is not None:
            delay = watch.settings.delay
            if delay not in BUCKETS:
                raise SettingsError(
                    f"environments.py: monitoring.delay is {delay:g} s, which the prober does not "
                    f"count; set it to one of {', '.join(f'{each:g}' for each in BUCKETS)}."
                )
            watch.evaluate(self, component.name, detection(delay=float(delay)))
        tmp = temporary_folder(size=16)
        k8s.KubeDeployment(
            self,
            "deployment",
            metadata=k8s.ObjectMeta(name="prober"),
            spec=k8s.DeploymentSpec(
                replicas=1,
                selector=component.selector,
                template=pod_template(
                    component,
                    user=PYTHON_USER,
                    files=files,
                    annotations=annotations,
                    mounts=[files.mount, tmp],
                    containers=[
                        container(
                            "prober",
                            image=image,
                            resources=Resources(cpu=20, cpu_limit=200, memory=128),
                            mounts=[files.mount, tmp],
                            command=["python", "/files/prober.py"],
                            env=environment_variables(
                                {
                                    "PAYMENT_API": posts.address,
                                    "ALERT_MONITOR": alerts.address,
                                    "EVERY_SECONDS": str(settings.every),
                                    "WITHIN_SECONDS": str(settings.within),
                                    "PORT": str(_HTTP.port),
                                }
                            ),
                            ports={_HTTP.name: _HTTP.port},
                            startup=http_probe(_HTTP.path, _HTTP.port, period=2, failures=30),
                            readiness=http_probe("/ready", _HTTP.port, period=5, failures=2),
                            liveness=http_probe(_HTTP.path, _HTTP.port, period=10, failures=3),
                        )
                    ],
                ),
            ),
        )
