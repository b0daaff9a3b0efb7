"""The topic of the transactions, which exists before the job that reads it starts."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint
from fraud_detection.platform.pods import (
    Mount,
    MountedFiles,
    Resources,
    container,
    environment_variables,
)
from fraud_detection.services.redpanda import SEGMENT_BYTES


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """Layout of the topic.

    Attributes:
        partitions: Number of partitions, the maximum number of readers; it can only grow.
        replicas: Number of copies of each partition; odd, at most the number of brokers.
    """

    partitions: int
    replicas: int


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic that one of its clients creates and adjusts.

    Attributes:
        name: Name of the topic, for producers and consumers.
        image: Image with `rpk`.
        broker: The brokers.
        retention: Size of a partition, in bytes, beyond which its oldest transactions are deleted.
        settings: The layout.
    """

    FILE = "redpanda/ensure-topic.sh"
    """The script of the init container, which its pod must mount."""

    name: str
    image: Image
    broker: Endpoint
    retention: int
    settings: TopicSettings

    def ensure(self, client: Component, *, files: MountedFiles, tmp: Mount) -> k8s.Container:
        """Return an init container that ends when the topic has its layout.

        Exactly one pod may run it at a time: two that add partitions at once could add too many,
        and Kafka cannot remove any.

        Args:
            client: The component of the pod.
            files: Files of the pod, with `FILE`.
            tmp: `/tmp` of the pod.
        """
        return container(
            "ensure-topic",
            image=self.image,
            resources=Resources(cpu=50, cpu_limit=500, memory=256),
            mounts=[files.mount, tmp],
            command=["bash", f"{files.mount.path}/ensure-topic.sh"],
            env=environment_variables(
                {
                    "RPK_BROKERS": Connection(client=client, endpoint=self.broker).address,
                    "TOPIC": self.name,
                    "PARTITIONS": str(self.settings.partitions),
                    "REPLICAS": str(self.settings.replicas),
                    # Deletes the oldest transactions before a volume is full.
                    "TOPIC_CONFIG": f"retention.bytes={self.retention} "
                    f"segment.bytes={SEGMENT_BYTES}",
                    "HOME": tmp.path,
                }
            ),
        )
