"""The topic of the transactions, made by the platform before an application makes a lesser one."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint, Network
from fraud_detection.platform.pods import (
    Resources,
    container,
    environment_variables,
    mount_files,
    pod_template,
    temporary_folder,
)
from fraud_detection.platform.sync import Hook, Wave, metadata
from fraud_detection.services.redpanda import USER

_DEADLINE_SECONDS = 300
"""Of one attempt: a cluster of fresh brokers needs a minute or two to elect its leaders."""
_ATTEMPTS = 2
_TEARDOWN_SECONDS = 30
"""What an attempt gets beyond the script's own deadline, so that its sentence is in the log."""


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """How the topic is laid out.

    Attributes:
        partitions: How many readers can share the work; can grow, never shrink.
        replicas: On how many brokers each partition is kept; odd, at most the number of brokers.
    """

    partitions: int
    replicas: int


class Topic(Construct):
    """A Job that makes or adjusts the topic at every sync, between brokers and applications.

    payment-api would make it too, with 1 partition on 1 broker; here it never comes to that.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        name: str,
        image: Image,
        broker: Endpoint,
        settings: TopicSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name=f"{name}-topic", service=self, network=network)
        kafka = Connection(client=component, endpoint=broker)
        self.name = name
        """The topic's name, as producers and consumers take it."""

        files = mount_files(
            self,
            "files",
            name=f"{component.name}-files",
            wave=Wave.TOPIC,
            path="/files",
            files=["redpanda/ensure-topic.sh"],
        )
        tmp = temporary_folder(size=16)
        k8s.KubeJob(
            self,
            "job",
            metadata=metadata(component.name, wave=Wave.TOPIC, hook=Hook.SYNC),
            spec=k8s.JobSpec(
                backoff_limit=_ATTEMPTS - 1,
                active_deadline_seconds=_ATTEMPTS * (_DEADLINE_SECONDS + _TEARDOWN_SECONDS),
                template=pod_template(
                    component,
                    user=USER,
                    files=files,
                    mounts=[files.mount, tmp],
                    restart_policy="Never",
                    containers=[
                        container(
                            "ensure-topic",
                            image=image,
                            resources=Resources(cpu=50, cpu_limit=500, memory=256),
                            mounts=[files.mount, tmp],
                            command=["bash", "/files/ensure-topic.sh"],
                            env=environment_variables(
                                {
                                    "RPK_BROKERS": kafka.address,
                                    "TOPIC": name,
                                    "PARTITIONS": str(settings.partitions),
                                    "REPLICAS": str(settings.replicas),
                                    "DEADLINE_SECONDS": str(_DEADLINE_SECONDS),
                                    "HOME": tmp.path,
                                }
                            ),
                        )
                    ],
                ),
            ),
        )
