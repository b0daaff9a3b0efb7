"""Redis: the list of alerts between Flink and alert-monitor, kept on disk."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.monitoring.redis import redis
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Target, Watch
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.pods import (
    Mount,
    Resources,
    User,
    command_probe,
    container,
    environment_variables,
    http_probe,
    mount_files,
    pod_template,
    temporary_folder,
)
from fraud_detection.platform.storage import KEEP_CLAIMS, StatefulSet, claim_template

_PORT = 6379
_CONFIGURATION = "/etc/redis"
_USER = User(uid=999, gid=999)
"""User and group `redis` of the Debian image (the Alpine image has another group)."""
_DATASET_SHARE = 0.6
"""Share of the memory for the data: the fork for a snapshot or a rewrite of the append-only file
copies the pages that change meanwhile, and client buffers come on top."""


_METRICS = Target(name="metrics", port=9121)
"""The exporter beside Redis, on its default port."""


def client_variables(redis: Connection) -> dict[str, str]:
    """Return the environment variables from which our applications take Redis; database 0."""
    return {"REDIS_HOST": redis.host, "REDIS_PORT": str(redis.port), "REDIS_DB": "0"}


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """Settings of Redis.

    Attributes:
        resources: Resources of the one pod; 60 % of the memory holds data, the rest is headroom.
        volume: Size of the volume, in GiB; log, rewrite and snapshots need five times the data, and
            what start.sh puts aside gets at most a quarter of the volume.
        storage_class: StorageClass of the volume. Default: that of the cluster.
    """

    resources: Resources
    volume: int
    storage_class: str | None = None


class Redis(Construct):
    """One Redis with append-only persistence, which refuses writes instead of evicting alerts."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        watch: Watch,
        image: Image,
        exporter: Image,
        settings: RedisSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="redis", service=self, network=network)
        self.endpoint = Endpoint(component=component, host="redis", port=_PORT)
        """The endpoint for clients; it needs no password, because the NetworkPolicy protects it."""
        expose(self, name="redis", component=component, ports={"redis": _PORT})
        files = mount_files(
            self,
            "files",
            name="redis-files",
            path=_CONFIGURATION,
            files=["redis/redis.conf", "redis/start.sh", "redis/ready.sh", "redis/alive.sh"],
        )
        annotations = watch.scrape(component, _METRICS)
        watch.evaluate(self, component.name, redis())
        data = Mount(volume=k8s.Volume(name="data"), path="/data")
        tmp = temporary_folder(size=16)
        StatefulSet(
            self,
            "stateful-set",
            metadata=k8s.ObjectMeta(name="redis"),
            spec=k8s.StatefulSetSpec(
                service_name=self.endpoint.host,
                replicas=1,
                # In order, a fixed image would wait for the pod with the broken one.
                pod_management_policy="Parallel",
                selector=component.selector,
                template=pod_template(
                    component,
                    user=_USER,
                    files=files,
                    annotations=annotations,
                    mounts=[files.mount, tmp],
                    containers=[
                        container(
                            "redis",
                            image=image,
                            resources=settings.resources,
                            mounts=[files.mount, data, tmp],
                            command=[
                                "bash",
                                f"{_CONFIGURATION}/start.sh",
                                f"{_CONFIGURATION}/redis.conf",
                                "--maxmemory",
                                f"{int(settings.resources.memory * _DATASET_SHARE)}mb",
                            ],
                            ports={"redis": _PORT},
                            # It may have to check and fix a large log first.
                            startup=_probe("alive.sh", period=5, failures=60),
                            # While it loads its data it is alive but not ready.
                            readiness=_probe("ready.sh", period=10),
                            liveness=_probe("alive.sh", period=20),
                        ),
                        *([_exporter(exporter)] if watch.settings else []),
                    ],
                ),
                persistent_volume_claim_retention_policy=KEEP_CLAIMS,
                volume_claim_templates=[
                    claim_template(
                        "data", size=settings.volume, storage_class=settings.storage_class
                    )
                ],
            ),
        )


def _probe(script: str, *, period: int, failures: int = 3) -> k8s.Probe:
    return command_probe("bash", f"{_CONFIGURATION}/{script}", period=period, failures=failures)


def _exporter(image: Image) -> k8s.Container:
    """Return the exporter; if it fails, Redis stays ready."""
    return container(
        "exporter",
        image=image,
        resources=Resources(cpu=10, cpu_limit=100, memory=64),
        mounts=[],
        env=environment_variables({"REDIS_ADDR": f"redis://127.0.0.1:{_PORT}"}),
        ports={_METRICS.name: _METRICS.port},
        liveness=http_probe("/health", _METRICS.port, period=20, failures=3),
    )
