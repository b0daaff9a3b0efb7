"""Redpanda: the brokers that keep the transactions until Flink has read them."""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.monitoring.redpanda import redpanda
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Target, Watch
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.placement import apart, leave_one_by_one, spread
from fraud_detection.platform.pods import (
    Mount,
    Resources,
    User,
    command_probe,
    container,
    environment_variables,
    mount_files,
    pod_template,
    scratch,
    tcp_probe,
    temporary_folder,
    variable_from_field,
)
from fraud_detection.platform.storage import KEEP_CLAIMS, StatefulSet, claim_template

_KAFKA_PORT = 9093
_RPC_PORT = 33145
_ADMIN = "admin"
_ADMIN_PORT = 9644
USER = User(uid=101, gid=101)
"""User and group `redpanda` of the image."""
_BROKERS = "redpanda-brokers"
"""The headless Service; the name of each broker is `redpanda-<n>.redpanda-brokers`."""
_MEMORY_SHARE = 0.9
"""Share of the pod's memory that Redpanda allocates, as its documentation recommends; the rest is
for the operating system and for other programs, such as probes."""
_QUORUM = 3
"""With at least this many brokers, one can leave without a partition losing its majority."""
_GRACE_SECONDS = 90
_DRAIN_SECONDS = 45
"""Half of the grace period; the other half is for the stop itself."""
_UNDRAIN_SECONDS = 300
"""A broker that recovers much data takes long to answer after its start."""
_CORE = 1000
_GIBIBYTE = 2**30
_FREE = 1
"""GiB that a broker keeps free: `storage_min_free_bytes`."""
_INTERNAL = 1
"""GiB for the topics and logs of the cluster itself: most of it is the space that each of the 16
partitions of the consumer offsets reserves, 32 MiB."""
_INDEXED_SHARE = 0.9
"""Share of the rest that is data; indexes and logs of the file system come on top."""
SEGMENT_BYTES = 128 * 2**20
"""Size of a file of a partition. Only whole files are deleted, so that a partition exceeds its
limit by the file in use and by one that waits for its deletion."""


@dataclass(frozen=True, kw_only=True)
class RedpandaSettings:
    """Settings of the brokers.

    Attributes:
        brokers: Number of brokers; odd, so that a majority exists.
        resources: Resources of one broker. It runs one thread per full core of `cpu`, at least one;
            each thread needs 2 GiB of 90 % of the memory, and with less than 1 GiB it fails.
        volume: Size of the volume of each broker, in GiB; writes stop when 1 GiB is left.
        storage_class: StorageClass of the volumes, XFS or ext4. Default: that of the cluster.
    """

    brokers: int
    resources: Resources
    volume: int
    storage_class: str | None = None

    def retention(self, *, partitions: int) -> int:
        """Return the bytes that each partition may keep, so that no volume fills up.

        Args:
            partitions: Partitions of the one topic; a broker has a replica of each at most.

        Raises:
            ValueError: If the volume is too small.
        """
        data = (self.volume - _FREE - _INTERNAL) * _GIBIBYTE * _INDEXED_SHARE
        retention = int(data / partitions) - 2 * SEGMENT_BYTES
        if retention < SEGMENT_BYTES:
            raise ValueError(
                f"A broker's volume of {self.volume} GiB is too small for {partitions} partitions: "
                "give it a larger volume or the topic fewer partitions."
            )
        return retention


class Redpanda(Construct):
    """Brokers that form the same cluster after any restart, on volumes that every sync keeps."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        watch: Watch,
        image: Image,
        settings: RedpandaSettings,
    ) -> None:
        super().__init__(scope, id)
        component = Component(name="redpanda", service=self, network=network)
        self.kafka = Endpoint(component=component, host="redpanda", port=_KAFKA_PORT)
        """The endpoint to which clients connect first; the answer names all brokers."""
        rpc = Endpoint(component=component, host=_BROKERS, port=_RPC_PORT)
        Connection(client=component, endpoint=rpc)
        # For rpk in a broker's pod, which asks the leader of each partition.
        any_broker = Endpoint(component=component, host=_BROKERS, port=_KAFKA_PORT)
        rpk = Connection(client=component, endpoint=any_broker)
        expose(
            self,
            name=self.kafka.host,
            component=component,
            ports={"kafka": _KAFKA_PORT},
        )
        # Brokers must find each other before any of them is ready.
        expose(
            self,
            name=_BROKERS,
            component=component,
            ports={"kafka": _KAFKA_PORT, "rpc": _RPC_PORT},
            headless=True,
            publish_not_ready=True,
        )
        annotations = watch.scrape(
            component,
            Target(name=_ADMIN, port=_ADMIN_PORT, path="/public_metrics"),
            Target(name=_ADMIN, port=_ADMIN_PORT),
        )
        watch.evaluate(self, component.name, redpanda(brokers=settings.brokers))
        survives_drain = settings.brokers >= _QUORUM
        if survives_drain:
            leave_one_by_one(component)
        files = mount_files(
            self,
            "files",
            name="redpanda-files",
            path="/files",
            files=[
                "redpanda/redpanda.yaml",
                "redpanda/.bootstrap.yaml",
                "redpanda/ready.sh",
                "redpanda/drain.sh",
                "redpanda/undrain.sh",
            ],
        )
        # rpk rewrites its configuration at each start, so it needs a writable copy.
        configuration = scratch("configuration", "/etc/redpanda", size=1)
        data = Mount(volume=k8s.Volume(name="data"), path="/var/lib/redpanda/data")
        tmp = temporary_folder(size=64)
        ready = f"{files.mount.path}/ready.sh"
        StatefulSet(
            self,
            "stateful-set",
            metadata=k8s.ObjectMeta(name="redpanda"),
            spec=k8s.StatefulSetSpec(
                service_name=_BROKERS,
                replicas=settings.brokers,
                # A broker waits for its peers: started in order, the first would wait for ever.
                pod_management_policy="Parallel",
                selector=component.selector,
                template=pod_template(
                    component,
                    user=USER,
                    files=files,
                    annotations=annotations,
                    mounts=[files.mount, configuration, tmp],
                    grace_seconds=_GRACE_SECONDS,
                    affinity=apart(component),
                    topology_spread=spread(component),
                    init_containers=[
                        container(
                            "copy-configuration",
                            image=image,
                            resources=settings.resources,
                            mounts=[files.mount, configuration],
                            command=[
                                "cp",
                                # The copy exists after a restart in the same pod.
                                "--force",
                                f"{files.mount.path}/redpanda.yaml",
                                f"{files.mount.path}/.bootstrap.yaml",
                                configuration.path,
                            ],
                        )
                    ],
                    containers=[
                        container(
                            "redpanda",
                            image=image,
                            resources=settings.resources,
                            mounts=[files.mount, configuration, data, tmp],
                            command=_start(settings),
                            env=[
                                variable_from_field("POD_NAME", "metadata.name"),
                                *environment_variables(
                                    {
                                        "RPK_BROKERS": rpk.address,
                                        "ADMIN_API": f"127.0.0.1:{_ADMIN_PORT}",
                                        "DRAIN_SECONDS": str(_DRAIN_SECONDS),
                                        "UNDRAIN_SECONDS": str(_UNDRAIN_SECONDS),
                                    }
                                ),
                            ],
                            ports={"kafka": _KAFKA_PORT, "rpc": _RPC_PORT, _ADMIN: _ADMIN_PORT},
                            startup=command_probe("bash", ready, period=5, failures=120),
                            readiness=command_probe("bash", ready, period=10, failures=3),
                            liveness=tcp_probe(_ADMIN_PORT, period=10, failures=6),
                            lifecycle=_drain_hooks(files.mount.path) if survives_drain else None,
                        )
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


def _start(settings: RedpandaSettings) -> list[str]:
    """Return the command line of a broker, with the settings that depend on its name or size."""
    resources = settings.resources
    me = f"$(POD_NAME).{_BROKERS}"
    seeds = ",".join(f"redpanda-{n}.{_BROKERS}:{_RPC_PORT}" for n in range(settings.brokers))
    command = [
        "rpk",
        "redpanda",
        "start",
        f"--seeds={seeds}",
        f"--advertise-kafka-addr=internal://{me}:{_KAFKA_PORT}",
        f"--advertise-rpc-addr={me}:{_RPC_PORT}",
        f"--smp={max(1, resources.cpu // _CORE)}",
        f"--memory={int(resources.memory * _MEMORY_SHARE)}M",
        "--reserve-memory=0M",
        # The checks are made for a dedicated machine and refuse the limits of a container.
        "--check=false",
    ]
    if resources.cpu < _CORE:
        # With less than a core it must not poll while it is idle.
        command.append("--overprovisioned")
    return command


def _drain_hooks(files: str) -> k8s.Lifecycle:
    """Return hooks that hand over leadership before the stop and take it back after the start."""

    def run(script: str) -> k8s.LifecycleHandler:
        return k8s.LifecycleHandler(exec=k8s.ExecAction(command=["bash", f"{files}/{script}"]))

    return k8s.Lifecycle(pre_stop=run("drain.sh"), post_start=run("undrain.sh"))
