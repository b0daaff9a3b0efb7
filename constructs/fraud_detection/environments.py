"""The environments, with everything that differs between them."""

from dataclasses import dataclass

from fraud_detection.platform.dns import KUBE_DNS, Dns
from fraud_detection.platform.monitoring import Monitoring
from fraud_detection.platform.namespace import NamespaceSettings
from fraud_detection.platform.pods import Resources
from fraud_detection.services.alert_monitor import AlertMonitorSettings
from fraud_detection.services.flink import FlinkSettings
from fraud_detection.services.payment_api import PaymentApiSettings
from fraud_detection.services.prober import ProberSettings
from fraud_detection.services.redis import RedisSettings
from fraud_detection.services.redpanda import RedpandaSettings
from fraud_detection.services.topic import TopicSettings


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A namespace in which the whole system runs, and its settings.

    Attributes:
        name: Name of its folder in `dist/` and of its pins in images.yaml.
        application: Name of its Argo CD Application.
        branch: The branch that Argo CD tracks for it.
        namespace: The namespace in which it runs.
        limits: Quota and other settings of the namespace.
        payment_api: Settings of payment-api.
        alert_monitor: Settings of alert-monitor.
        flink: Settings of Flink.
        redpanda: Settings of the brokers.
        topic: Layout of the topic of the transactions.
        redis: Settings of Redis.
        prober: Settings of the prober, whose frauds appear among the alerts. Default: none.
        dns: Where pods resolve names; `platform/dns.py` has that of common clusters. Default: that
            of most clusters.
        soak: Minutes for which it must be Synced and Healthy until its commit counts as proved:
            Argo CD reports that to GitHub, once docs/github.md is followed, and only what is
            proved is promoted. Default: it reports nothing, and everything is promoted.
        monitoring: Prometheus as it runs in the cluster. Default: nothing is measured.
    """

    name: str
    application: str
    branch: str
    namespace: str
    limits: NamespaceSettings
    payment_api: PaymentApiSettings
    alert_monitor: AlertMonitorSettings
    flink: FlinkSettings
    redpanda: RedpandaSettings
    topic: TopicSettings
    redis: RedisSettings
    prober: ProberSettings | None = None
    dns: Dns = KUBE_DNS
    soak: float | None = None
    monitoring: Monitoring | None = None


DEV = Environment(
    name="dev",
    application="fraud-detection-system",
    branch="develop",
    namespace="fraud-detection",
    limits=NamespaceSettings(
        cpu_requests=2, cpu_limits=12, memory=12, storage=20, volume_claims=4, pods=18
    ),
    payment_api=PaymentApiSettings(
        min_replicas=1,
        max_replicas=1,
        resources=Resources(cpu=50, cpu_limit=500, memory=256),
    ),
    alert_monitor=AlertMonitorSettings(resources=Resources(cpu=50, cpu_limit=500, memory=192)),
    flink=FlinkSettings(
        jobmanager=Resources(cpu=200, cpu_limit=1000, memory=1280),
        taskmanager=Resources(cpu=300, cpu_limit=1500, memory=2048),
        checkpoints=2,
    ),
    redpanda=RedpandaSettings(
        brokers=1, resources=Resources(cpu=500, cpu_limit=1000, memory=2560), volume=10
    ),
    topic=TopicSettings(partitions=2, replicas=1),
    redis=RedisSettings(resources=Resources(cpu=50, cpu_limit=500, memory=256), volume=1),
    prober=ProberSettings(every=60, within=30),
)

STAGING = Environment(
    name="staging",
    application="fraud-detection-system-staging",
    branch="main",
    namespace="fraud-detection-staging",
    limits=NamespaceSettings(
        cpu_requests=8, cpu_limits=24, memory=24, storage=80, volume_claims=6, pods=30
    ),
    payment_api=PaymentApiSettings(
        min_replicas=2,
        max_replicas=4,
        resources=Resources(cpu=100, cpu_limit=1000, memory=256),
    ),
    alert_monitor=AlertMonitorSettings(resources=Resources(cpu=50, cpu_limit=500, memory=256)),
    flink=FlinkSettings(
        jobmanager=Resources(cpu=250, cpu_limit=1000, memory=1536),
        taskmanager=Resources(cpu=1000, cpu_limit=3000, memory=3072),
        slots=3,
        checkpoints=5,
    ),
    redpanda=RedpandaSettings(
        brokers=3, resources=Resources(cpu=1000, cpu_limit=1000, memory=2560), volume=20
    ),
    topic=TopicSettings(partitions=6, replicas=3),
    redis=RedisSettings(resources=Resources(cpu=100, cpu_limit=500, memory=512), volume=2),
    prober=ProberSettings(every=60, within=30),
)

ENVIRONMENTS = (DEV, STAGING)
