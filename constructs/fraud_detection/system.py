"""The whole system of one environment: its services and how they are connected."""

from cdk8s import App, Chart

from fraud_detection.environments import Environment
from fraud_detection.images import Images
from fraud_detection.monitoring.overview import Overview
from fraud_detection.platform.monitoring import Watch
from fraud_detection.platform.namespace import Namespace
from fraud_detection.platform.network import Network
from fraud_detection.services.alert_monitor import AlertMonitor
from fraud_detection.services.flink import Flink
from fraud_detection.services.payment_api import PaymentApi
from fraud_detection.services.prober import Prober
from fraud_detection.services.redis import Redis
from fraud_detection.services.redpanda import Redpanda
from fraud_detection.services.topic import Topic


class System:
    """The charts of one environment, one file per service.

    Args:
        app: The app that renders them.
        environment: The settings.
        images: The images of the containers.
    """

    def __init__(self, app: App, *, environment: Environment, images: Images) -> None:
        def chart(id: str) -> Chart:
            return Chart(
                app,
                id,
                namespace=environment.namespace,
                labels={"app.kubernetes.io/part-of": "fraud-detection"},
                disable_resource_name_hashes=True,
            )

        network = Network()
        watch = Watch(namespace=environment.namespace, settings=environment.monitoring)
        Namespace(chart("namespace"), "namespace", settings=environment.limits, dns=environment.dns)
        redis = Redis(
            chart("redis"),
            "redis",
            network=network,
            watch=watch,
            image=images.redis,
            exporter=images.redis_exporter,
            settings=environment.redis,
        )
        redpanda = Redpanda(
            chart("redpanda"),
            "redpanda",
            network=network,
            watch=watch,
            image=images.redpanda,
            settings=environment.redpanda,
        )
        topic = Topic(
            name="transactions",
            image=images.redpanda,
            broker=redpanda.kafka,
            retention=environment.redpanda.retention(partitions=environment.topic.partitions),
            settings=environment.topic,
        )
        Flink(
            chart("flink"),
            "flink",
            network=network,
            watch=watch,
            image=images.flink_app,
            broker=redpanda.kafka,
            topic=topic,
            redis=redis.endpoint,
            settings=environment.flink,
        )
        payment_api = PaymentApi(
            chart("payment-api"),
            "payment-api",
            network=network,
            image=images.payment_api,
            broker=redpanda.kafka,
            topic=topic,
            settings=environment.payment_api,
        )
        alert_monitor = AlertMonitor(
            chart("alert-monitor"),
            "alert-monitor",
            network=network,
            image=images.alert_monitor,
            redis=redis.endpoint,
            settings=environment.alert_monitor,
        )
        if environment.prober is not None:
            Prober(
                chart("prober"),
                "prober",
                network=network,
                watch=watch,
                image=images.payment_api,
                payment_api=payment_api.http,
                alert_monitor=alert_monitor.http,
                settings=environment.prober,
            )
        monitoring = environment.monitoring
        if monitoring is not None and monitoring.operator is not None:
            Overview(
                chart("monitoring"),
                "monitoring",
                watch=watch,
                namespace=environment.namespace,
                application=environment.application,
                delay=monitoring.delay,
            )
        network.add_policies()
