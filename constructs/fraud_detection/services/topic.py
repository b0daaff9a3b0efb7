"""The topic of the transactions, which exists before an application could create a lesser one."""

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
"""Time limit of one attempt: new brokers need a minute or two to elect their leaders."""
_ATTEMPTS = 2
_TEARDOWN_SECONDS = 30
"""Time beyond the deadline of the script itself, so that it can still log the reason."""


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """Layout of the topic.

    Attributes:
        partitions: Number of partitions, the maximum number of readers; it can only grow.
        replicas: Number of copies of each partition; odd, at most the number of brokers.
    """

    partitions: int
    replicas: int


class Topic(Construct):
    """A Job that creates or adjusts the topic at every sync, between brokers and applications.

    Without it payment-api would create the topic, with 1 partition on 1 broker.
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
        """Name of the topic, for producers and consumers."""

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
