"""The smoke test: after each sync, one fraud must travel all the way from HTTP to the browser."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint, Network
from fraud_detection.platform.pods import (
    PYTHON_USER,
    Resources,
    container,
    environment_variables,
    mount_files,
    pod_template,
    temporary_folder,
)
from fraud_detection.platform.sync import Hook, Wave, metadata

_TEARDOWN_SECONDS = 30
"""Time beyond the deadline of the script itself, so that it can still log the reason."""


@dataclass(frozen=True, kw_only=True)
class SmokeTestSettings:
    """Settings of the smoke test.

    Attributes:
        deadline: Time limit for the alert, in seconds.
    """

    deadline: int


class SmokeTest(Construct):
    """A PostSync Job that posts a fraud to payment-api and waits for it at alert-monitor."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        image: Image,
        payment_api: Endpoint,
        alert_monitor: Endpoint,
        settings: SmokeTestSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="smoke-test", service=self, network=network)
        posts = Connection(client=component, endpoint=payment_api)
        alerts = Connection(client=component, endpoint=alert_monitor)
        files = mount_files(
            self,
            "files",
            name="smoke-test-files",
            wave=Wave.APPLICATIONS,
            path="/files",
            files=["smoke_test/smoke_test.py"],
        )
        tmp = temporary_folder(size=16)
        k8s.KubeJob(
            self,
            "job",
            metadata=metadata("smoke-test", wave=Wave.APPLICATIONS, hook=Hook.POST_SYNC),
            spec=k8s.JobSpec(
                # The script itself retries until its deadline.
                backoff_limit=0,
                active_deadline_seconds=settings.deadline + _TEARDOWN_SECONDS,
                template=pod_template(
                    component,
                    user=PYTHON_USER,
                    files=files,
                    mounts=[files.mount, tmp],
                    restart_policy="Never",
                    containers=[
                        container(
                            "smoke-test",
                            image=image,
                            resources=Resources(cpu=50, cpu_limit=500, memory=128),
                            mounts=[files.mount, tmp],
                            command=["python", "/files/smoke_test.py"],
                            env=environment_variables(
                                {
                                    "PAYMENT_API": posts.address,
                                    "ALERT_MONITOR": alerts.address,
                                    "DEADLINE_SECONDS": str(settings.deadline),
                                }
                            ),
                        )
                    ],
                ),
            ),
        )
