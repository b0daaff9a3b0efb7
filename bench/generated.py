"""A system of many services from our own constructs: `python bench/generated.py N FOLDER`."""

import sys
from pathlib import Path

from cdk8s import App, Chart, YamlOutputType

from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Watch
from fraud_detection.platform.network import Network
from fraud_detection.services.alert_monitor import AlertMonitor
from fraud_detection.services.payment_api import PaymentApi
from fraud_detection.services.redis import Redis
from fraud_detection.services.redpanda import Redpanda
from fraud_detection.services.topic import Topic

_IMAGE = Image(repository="registry.test/service", tag="1.2.3")


def render(folder: Path, environment: Environment, services: int) -> None:
    """Render one environment with a file per service.

    Args:
        folder: The output folder.
        environment: The settings, the same for all services of a kind.
        services: The number of services, half payment-api and half alert-monitor, beside one data
            store of each kind.
    """
    app = App(
        outdir=str(folder),
        output_file_extension=".yaml",
        yaml_output_type=YamlOutputType.FILE_PER_CHART,
    )

    def chart(id: str) -> Chart:
        return Chart(app, id, namespace=environment.namespace, disable_resource_name_hashes=True)

    network = Network()
    watch = Watch(namespace=environment.namespace, settings=environment.monitoring)
    redis = Redis(
        chart("redis"),
        "redis",
        network=network,
        watch=watch,
        image=_IMAGE,
        exporter=_IMAGE,
        settings=environment.redis,
    )
    redpanda = Redpanda(
        chart("redpanda"),
        "redpanda",
        network=network,
        watch=watch,
        image=_IMAGE,
        settings=environment.redpanda,
    )
    topic = Topic(
        name="transactions",
        image=_IMAGE,
        broker=redpanda.kafka,
        retention=environment.redpanda.retention(partitions=environment.topic.partitions),
        settings=environment.topic,
    )
    for number in range(services // 2):
        PaymentApi(
            chart(f"payment-api-{number}"),
            "payment-api",
            network=network,
            image=_IMAGE,
            broker=redpanda.kafka,
            topic=topic,
            settings=environment.payment_api,
        )
        AlertMonitor(
            chart(f"alert-monitor-{number}"),
            "alert-monitor",
            network=network,
            image=_IMAGE,
            redis=redis.endpoint,
            settings=environment.alert_monitor,
        )
    network.add_policies()
    app.synth()


if __name__ == "__main__":
    for each in ENVIRONMENTS:
        render(Path(sys.argv[2]) / each.name, each, int(sys.argv[1]))
