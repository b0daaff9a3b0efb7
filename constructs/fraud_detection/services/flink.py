"""Flink: the job that detects fraud, in standalone Application mode.

The JobManager runs the job itself, so that no sync can submit it a second time.
"""

from dataclasses import dataclass

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.autoscaling import scale_on_cpu
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.placement import together
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
    tcp_probe,
    temporary_folder,
    variable_from_field,
)
from fraud_detection.platform.storage import AccessMode, claim_spec
from fraud_detection.platform.sync import KEEP_DATA
from fraud_detection.services.redis import client_variables
from fraud_detection.services.topic import Topic

_USER = User(uid=9999, gid=9999)
"""User and group `flink` of the image."""
_RPC_PORT = 6123
_BLOB_PORT = 6124
_REST_PORT = 8081
_TASKMANAGER_RPC_PORT = 6122
_TASKMANAGER_DATA_PORT = 6121
_METRICS_QUERY_PORT = 6125
_PYTHON_CLIENT_MEMORY = 256
"""Memory in MiB for the Python process that builds the job graph, beside the JVM of the JobManager;
Flink does not account for it. Measured: 151 MiB."""


@dataclass(frozen=True, kw_only=True)
class FlinkSettings:
    """Settings of Flink.

    Attributes:
        jobmanager: Resources of the one JobManager.
        taskmanager: Resources of each TaskManager, including its Python workers.
        min_taskmanagers: The minimum number of TaskManagers; it is the parallelism of the job.
        max_taskmanagers: The maximum number of TaskManagers; if it equals the minimum, nothing
            scales. More TaskManagers than partitions of the topic have nothing to read.
        checkpoints: Size of the checkpoint volume, in GiB.
        access_mode: ONE_NODE keeps all Flink pods on one node, which the storage of any cluster
            supports; ALL_NODES lets them spread. Immutable once the volume exists.
        storage_class: StorageClass of the checkpoint volume. Default: that of the cluster.
    """

    jobmanager: Resources
    taskmanager: Resources
    min_taskmanagers: int
    max_taskmanagers: int
    checkpoints: int
    access_mode: AccessMode = AccessMode.ONE_NODE
    storage_class: str | None = None


class Flink(Construct):
    """A JobManager and its TaskManagers, which resume from the newest complete checkpoint."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        image: Image,
        broker: Endpoint,
        topic: Topic,
        redis: Endpoint,
        settings: FlinkSettings,
    ) -> None:
        super().__init__(scope, id)
        jobmanager = Component(name="flink-jobmanager", service=self, network=network)
        taskmanager = Component(name="flink-taskmanager", service=self, network=network)
        _connect(jobmanager, taskmanager)
        # The pod is ready only when the job runs, and TaskManagers must register before that.
        expose(
            self,
            name=jobmanager.name,
            component=jobmanager,
            ports={"rpc": _RPC_PORT, "blob": _BLOB_PORT},
            publish_not_ready=True,
        )
        k8s.KubePersistentVolumeClaim(
            self,
            "checkpoints",
            metadata=k8s.ObjectMeta(name="flink-checkpoints", annotations=dict(KEEP_DATA)),
            spec=claim_spec(
                size=settings.checkpoints,
                access_mode=settings.access_mode,
                storage_class=settings.storage_class,
            ),
        )
        files = mount_files(
            self,
            "files",
            name="flink-files",
            path="/etc/flink",
            files=[
                "flink/flink-conf.yaml",
                "flink/log4j-console.properties",
                "flink/jobmanager.sh",
                "flink/ready.py",
                topic.FILE,
            ],
        )
        checkpoints = Mount(
            volume=k8s.Volume(
                name="checkpoints",
                persistent_volume_claim=k8s.PersistentVolumeClaimVolumeSource(
                    claim_name="flink-checkpoints"
                ),
            ),
            path="/checkpoints",
        )
        # Flink keeps blobs, the Python environment and the table planner in /tmp.
        tmp = temporary_folder(size=2048)
        mounts = [files.mount, checkpoints, tmp]

        def env(component: Component) -> list[k8s.EnvVar]:
            # The JobManager builds the job graph and the TaskManagers run it: both read the
            # partitions of the topic, and both need the address of Redis.
            return environment_variables(
                {
                    "FLINK_CONF_DIR": files.mount.path,
                    "KAFKA_BROKER": Connection(client=component, endpoint=broker).address,
                    "TRANSACTIONS_TOPIC": topic.name,
                    **client_variables(Connection(client=component, endpoint=redis)),
                }
            )

        jvm_memory = settings.jobmanager.memory - _PYTHON_CLIENT_MEMORY
        affinity = (
            together([jobmanager, taskmanager])
            if settings.access_mode is AccessMode.ONE_NODE
            else None
        )
        k8s.KubeDeployment(
            self,
            "jobmanager",
            metadata=k8s.ObjectMeta(name=jobmanager.name),
            spec=k8s.DeploymentSpec(
                replicas=1,
                # Two JobManagers would run the job twice.
                strategy=k8s.DeploymentStrategy(type="Recreate"),
                selector=jobmanager.selector,
                template=pod_template(
                    jobmanager,
                    user=_USER,
                    files=files,
                    mounts=mounts,
                    affinity=affinity,
                    # The job reads the partitions that exist when it starts.
                    init_containers=[topic.ensure(jobmanager, files=files, tmp=tmp)],
                    containers=[
                        container(
                            "jobmanager",
                            image=image,
                            resources=settings.jobmanager,
                            mounts=mounts,
                            command=[
                                "bash",
                                f"{files.mount.path}/jobmanager.sh",
                                f"-Djobmanager.rpc.address={jobmanager.name}",
                                f"-Djobmanager.memory.process.size={jvm_memory}m",
                            ],
                            env=env(jobmanager),
                            ports={"rpc": _RPC_PORT, "blob": _BLOB_PORT, "rest": _REST_PORT},
                            startup=http_probe("/overview", _REST_PORT, period=5, failures=60),
                            # The REST API answers even if the job does not run.
                            readiness=command_probe(
                                "python3",
                                f"{files.mount.path}/ready.py",
                                period=10,
                                failures=3,
                            ),
                            liveness=http_probe("/overview", _REST_PORT, period=10, failures=6),
                        )
                    ],
                ),
            ),
        )
        autoscaled = settings.max_taskmanagers > settings.min_taskmanagers
        k8s.KubeDeployment(
            self,
            "taskmanager",
            metadata=k8s.ObjectMeta(name=taskmanager.name),
            spec=k8s.DeploymentSpec(
                # If there is an autoscaler, it owns the number.
                replicas=None if autoscaled else settings.min_taskmanagers,
                # Each pod that stops restarts the job: one restart per rollout, not one per pod.
                strategy=k8s.DeploymentStrategy(type="Recreate"),
                selector=taskmanager.selector,
                template=pod_template(
                    taskmanager,
                    user=_USER,
                    files=files,
                    mounts=mounts,
                    affinity=affinity,
                    # Flink does not reap the Python workers that it stops; the pause container of a
                    # shared process namespace does.
                    share_process_namespace=True,
                    containers=[
                        container(
                            "taskmanager",
                            image=image,
                            resources=settings.taskmanager,
                            mounts=mounts,
                            command=[
                                "/opt/flink/bin/taskmanager.sh",
                                "start-foreground",
                                f"-Djobmanager.rpc.address={jobmanager.name}",
                                "-Dtaskmanager.host=$(POD_IP)",
                                f"-Dtaskmanager.memory.process.size={settings.taskmanager.memory}m",
                            ],
                            env=[*env(taskmanager), variable_from_field("POD_IP", "status.podIP")],
                            ports={
                                "rpc": _TASKMANAGER_RPC_PORT,
                                "data": _TASKMANAGER_DATA_PORT,
                                "metrics-query": _METRICS_QUERY_PORT,
                            },
                            startup=tcp_probe(_TASKMANAGER_RPC_PORT, period=5, failures=60),
                            readiness=tcp_probe(_TASKMANAGER_RPC_PORT, period=10, failures=3),
                            liveness=tcp_probe(_TASKMANAGER_RPC_PORT, period=10, failures=6),
                        )
                    ],
                ),
            ),
        )
        if autoscaled:
            scale_on_cpu(
                self,
                deployment=taskmanager.name,
                min_replicas=settings.min_taskmanagers,
                max_replicas=settings.max_taskmanagers,
                # Each change of the number restarts the job.
                calm_seconds=900,
            )


def _connect(jobmanager: Component, taskmanager: Component) -> None:
    """Connect Flink's own processes to each other, on the ports that flink-conf.yaml fixes."""
    for client, server, port in (
        (taskmanager, jobmanager, _RPC_PORT),
        (taskmanager, jobmanager, _BLOB_PORT),
        (jobmanager, taskmanager, _TASKMANAGER_RPC_PORT),
        (jobmanager, taskmanager, _METRICS_QUERY_PORT),
        (taskmanager, taskmanager, _TASKMANAGER_DATA_PORT),
    ):
        endpoint = Endpoint(component=server, host=server.name, port=port)
        Connection(client=client, endpoint=endpoint)
