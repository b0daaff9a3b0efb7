"""Settings for tests of a mechanism, which must not depend on those of the live environments.

What a test does not override here, such as the settings of a new service, comes from the first
environment.
"""

from dataclasses import replace

from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.platform.monitoring import Monitoring
from fraud_detection.platform.namespace import NamespaceSettings
from fraud_detection.platform.network import OutsidePods
from fraud_detection.platform.pods import Resources
from fraud_detection.platform.publication import Publication
from fraud_detection.platform.storage import AccessMode
from fraud_detection.services.alert_monitor import AlertMonitorSettings
from fraud_detection.services.flink import FlinkSettings
from fraud_detection.services.payment_api import PaymentApiSettings
from fraud_detection.services.prober import ProberSettings
from fraud_detection.services.redis import RedisSettings
from fraud_detection.services.redpanda import RedpandaSettings
from fraud_detection.services.topic import TopicSettings

_RESOURCES = Resources(cpu=500, cpu_limit=1000, memory=2560)
_FULL_CORE = Resources(cpu=1000, cpu_limit=1000, memory=2560)

SMALL = replace(
    ENVIRONMENTS[0],
    name="small",
    application="small",
    branch="small",
    namespace="small",
    limits=NamespaceSettings(
        cpu_requests=4, cpu_limits=12, memory=20, storage=20, volume_claims=4, pods=20
    ),
    payment_api=PaymentApiSettings(min_replicas=1, max_replicas=1, resources=_RESOURCES),
    alert_monitor=AlertMonitorSettings(resources=_RESOURCES),
    flink=FlinkSettings(
        jobmanager=_RESOURCES,
        taskmanager=_RESOURCES,
        checkpoints=2,
    ),
    redpanda=RedpandaSettings(brokers=1, resources=_RESOURCES, volume=10),
    topic=TopicSettings(partitions=2, replicas=1),
    redis=RedisSettings(resources=_RESOURCES, volume=1),
    prober=None,
    monitoring=None,
)
"""One pod of each service, nothing optional."""

MONITORING = Monitoring(
    prometheus=OutsidePods(namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"}),
    operator={"release": "monitoring"},
)

LARGE = replace(
    SMALL,
    name="large",
    application="large",
    branch="large",
    namespace="large",
    payment_api=PaymentApiSettings(min_replicas=2, max_replicas=4, resources=_RESOURCES),
    flink=FlinkSettings(
        jobmanager=_RESOURCES,
        taskmanager=_RESOURCES,
        checkpoints=5,
        access_mode=AccessMode.ALL_NODES,
        min_taskmanagers=1,
        max_taskmanagers=3,
    ),
    redpanda=RedpandaSettings(brokers=3, resources=_FULL_CORE, volume=20),
    topic=TopicSettings(partitions=6, replicas=3),
    prober=ProberSettings(every=60, within=30),
    monitoring=MONITORING,
)
"""Several pods, autoscalers, a quorum of brokers, the prober, and monitoring."""

PUBLICATION = Publication(
    host="pay.example.test",
    ingress_class="nginx",
    controller_namespace="ingress-nginx",
    controller_labels={"app.kubernetes.io/name": "ingress-nginx"},
    tls_secret="pay-tls",  # noqa: S106 - the name of a Secret
)
