"""Flink: the job that detects fraud, in standalone Application mode.

The JobManager runs the job itself, so that no sync can submit it a second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.monitoring.flink import flink
from fraud_detection.platform.autoscaling import scale_on_cpu
from fraud_detection.platform.image import Image
from fraud_detection.platform.monitoring import Target, Watch
from fraud_detection.platform.network import Component, Connection, Endpoint, Network, expose
from fraud_detection.platform.placement import spread
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
from fraud_detection.platform.settings import SettingsError
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
_JOBMANAGER_METRICS_QUERY_PORT = 6126
"""The JobManager has this service, too, and may share its pod with a TaskManager."""
_JOBMANAGER_METRICS = Target(name="job-metrics", port=9249)
_TASKMANAGER_METRICS = Target(name="task-metrics", port=9250)
"""Not the JobManager's port, because both may share a pod."""
_REPORTER = "metrics.reporter.prom"
_PYTHON_CLIENT_MEMORY = 256
"""Memory in MiB for the Python process that builds the job graph, beside the JVM of the JobManager;
Flink does not account for it. Measured: 151 MiB."""
_FILES = "/etc/flink"
_CHECKPOINTS = Mount(
    volume=k8s.Volume(
        name="checkpoints",
        persistent_volume_claim=k8s.PersistentVolumeClaimVolumeSource(
            claim_name="flink-checkpoints"
        ),
    ),
    path="/checkpoints",
)
_SAME_POD = "127.0.0.1"
"""The address of the other container in the pod: no Service and no policy is between them."""


@dataclass(frozen=True, kw_only=True)
class FlinkSettings:
    """Settings of Flink.

    The parallelism of the job is the number of TaskManagers times `slots`. What exceeds the number
    of the topic's partitions has nothing to read.

    Attributes:
        jobmanager: Resources of the one JobManager.
        taskmanager: Resources of each TaskManager, including its Python workers: one per slot, with
            about 256 MiB each.
        checkpoints: Size of the checkpoint volume, in GiB.
        slots: Number of parallel tasks of each TaskManager.
        access_mode: ONE_NODE runs one TaskManager beside the JobManager, in the one pod that mounts
            the volume; the storage of any cluster supports it. ALL_NODES runs TaskManagers in pods
            of their own, on any nodes. Immutable once the volume exists.
        min_taskmanagers: The minimum number of TaskManagers.
        max_taskmanagers: The maximum number of TaskManagers; if it equals the minimum, nothing
            scales. More than one requires ALL_NODES.
        storage_class: StorageClass of the checkpoint volume. Default: that of the cluster.
    """

    jobmanager: Resources
    taskmanager: Resources
    checkpoints: int
    slots: int = 1
    access_mode: AccessMode = AccessMode.ONE_NODE
    min_taskmanagers: int = 1
    max_taskmanagers: int = 1
    storage_class: str | None = None


class Flink(Construct):
    """A JobManager and its TaskManagers, which resume from the newest complete checkpoint.

    Raises:
        SettingsError: If several TaskManagers would share a volume of one node.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        network: Network,
        watch: Watch,
        image: Image,
        broker: Endpoint,
        topic: Topic,
        redis: Endpoint,
        settings: FlinkSettings,
    ) -> None:
        super().__init__(scope, id)
        jobmanager = Component(name="flink-jobmanager", service=self, network=network)
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
            path=_FILES,
            files=[
                "flink/flink-conf.yaml",
                "flink/log4j-console.properties",
                "flink/jobmanager.sh",
                "flink/ready.py",
                topic.FILE,
            ],
        )

        watch.evaluate(self, "flink", flink())

        def connect(client: Component) -> list[k8s.EnvVar]:
            # The JobManager builds the job graph and the TaskManagers run it: both read the
            # partitions of the topic, and both need the address of Redis.
            return environment_variables(
                {
                    "FLINK_CONF_DIR": _FILES,
                    "KAFKA_BROKER": Connection(client=client, endpoint=broker).address,
                    "TRANSACTIONS_TOPIC": topic.name,
                    **client_variables(Connection(client=client, endpoint=redis)),
                }
            )

        # Flink keeps blobs, the Python environment and the table planner in /tmp.
        jobmanager_tmp, taskmanager_tmp = (
            temporary_folder(size=2048, name=f"{role}-tmp")
            for role in ("jobmanager", "taskmanager")
        )
        jobmanager_mounts = [files.mount, _CHECKPOINTS, jobmanager_tmp]
        taskmanager_mounts = [files.mount, _CHECKPOINTS, taskmanager_tmp]
        # The job reads the partitions that exist when it starts.
        ensure_topic = topic.ensure(jobmanager, files=files, tmp=jobmanager_tmp)

        def deploy(
            component: Component,
            *,
            containers: Sequence[k8s.Container],
            mounts: Sequence[Mount],
            replicas: int | None = 1,
            topology_spread: Sequence[k8s.TopologySpreadConstraint] = (),
            annotations: Mapping[str, str],
            init_containers: Sequence[k8s.Container] = (),
        ) -> None:
            k8s.KubeDeployment(
                self,
                component.name.removeprefix("flink-"),
                metadata=k8s.ObjectMeta(name=component.name),
                spec=k8s.DeploymentSpec(
                    replicas=replicas,
                    # Two JobManagers would run the job twice, and each TaskManager that stops
                    # restarts the job: one restart per rollout, not one per pod.
                    strategy=k8s.DeploymentStrategy(type="Recreate"),
                    selector=component.selector,
                    template=pod_template(
                        component,
                        user=_USER,
                        files=files,
                        annotations=annotations,
                        mounts=mounts,
                        topology_spread=topology_spread,
                        # Flink does not reap the Python workers that it stops; the pause container
                        # of a shared process namespace does.
                        share_process_namespace=True,
                        init_containers=init_containers,
                        containers=containers,
                    ),
                ),
            )

        env = connect(jobmanager)
        jobmanager_process = partial(
            _jobmanager,
            image=image,
            watch=watch,
            settings=settings,
            mounts=jobmanager_mounts,
            env=env,
        )
        taskmanager_process = partial(
            _taskmanager, image=image, watch=watch, settings=settings, mounts=taskmanager_mounts
        )
        if settings.access_mode is AccessMode.ONE_NODE:
            if settings.max_taskmanagers > 1:
                raise SettingsError(
                    f"environments.py: flink.max_taskmanagers is {settings.max_taskmanagers}, but "
                    "AccessMode.ONE_NODE has room for one; set flink.slots, or set "
                    "flink.access_mode to AccessMode.ALL_NODES."
                )
            deploy(
                jobmanager,
                annotations=watch.scrape(jobmanager, _JOBMANAGER_METRICS, _TASKMANAGER_METRICS),
                init_containers=[ensure_topic],
                containers=[
                    jobmanager_process(address=_SAME_POD),
                    taskmanager_process(env=env, leader=_SAME_POD, address=_SAME_POD),
                ],
                mounts=[*jobmanager_mounts, *taskmanager_mounts],
            )
            return
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
        deploy(
            jobmanager,
            annotations=watch.scrape(jobmanager, _JOBMANAGER_METRICS),
            init_containers=[ensure_topic],
            containers=[jobmanager_process(address=jobmanager.name)],
            mounts=jobmanager_mounts,
        )
        autoscaled = settings.max_taskmanagers > settings.min_taskmanagers
        deploy(
            taskmanager,
            annotations=watch.scrape(taskmanager, _TASKMANAGER_METRICS),
            containers=[
                taskmanager_process(
                    env=[*connect(taskmanager), variable_from_field("POD_IP", "status.podIP")],
                    leader=jobmanager.name,
                    address="$(POD_IP)",
                )
            ],
            mounts=taskmanager_mounts,
            # If there is an autoscaler, it owns the number.
            replicas=None if autoscaled else settings.min_taskmanagers,
            topology_spread=spread(taskmanager),
        )
        if autoscaled:
            scale_on_cpu(
                self,
                deployment=taskmanager.name,
                min_replicas=settings.min_taskmanagers,
                max_replicas=settings.max_taskmanagers,
                # Each change of the number restarts the job, and the JVM of each new TaskManager
                # compiles for a minute or two.
                busy_seconds=180,
                calm_seconds=900,
            )


def _jobmanager(
    *,
    image: Image,
    watch: Watch,
    settings: FlinkSettings,
    mounts: Sequence[Mount],
    env: Sequence[k8s.EnvVar],
    address: str,
) -> k8s.Container:
    """Return the JobManager, which knows itself by the address that the TaskManagers are given."""
    memory = settings.jobmanager.memory - _PYTHON_CLIENT_MEMORY
    return container(
        "jobmanager",
        image=image,
        resources=settings.jobmanager,
        mounts=mounts,
        command=[
            "bash",
            f"{_FILES}/jobmanager.sh",
            f"-Djobmanager.rpc.address={address}",
            f"-Djobmanager.memory.process.size={memory}m",
            f"-Dmetrics.internal.query-service.port={_JOBMANAGER_METRICS_QUERY_PORT}",
            *_report(_JOBMANAGER_METRICS, watch),
        ],
        env=env,
        ports={"rpc": _RPC_PORT, "blob": _BLOB_PORT, "rest": _REST_PORT}
        | _listed(_JOBMANAGER_METRICS, watch),
        startup=http_probe("/overview", _REST_PORT, period=5, failures=60),
        # The REST API answers even if the job does not run.
        readiness=command_probe("python3", f"{_FILES}/ready.py", period=10, failures=3),
        liveness=http_probe("/overview", _REST_PORT, period=10, failures=6),
    )


def _taskmanager(
    *,
    image: Image,
    watch: Watch,
    settings: FlinkSettings,
    mounts: Sequence[Mount],
    env: Sequence[k8s.EnvVar],
    leader: str,
    address: str,
) -> k8s.Container:
    """Return a TaskManager, given the address of the JobManager and its own."""
    return container(
        "taskmanager",
        image=image,
        resources=settings.taskmanager,
        mounts=mounts,
        command=[
            "/opt/flink/bin/taskmanager.sh",
            "start-foreground",
            f"-Djobmanager.rpc.address={leader}",
            f"-Dtaskmanager.host={address}",
            f"-Dtaskmanager.numberOfTaskSlots={settings.slots}",
            f"-Dtaskmanager.memory.process.size={settings.taskmanager.memory}m",
            *_report(_TASKMANAGER_METRICS, watch),
        ],
        env=env,
        ports={
            "task-rpc": _TASKMANAGER_RPC_PORT,
            "data": _TASKMANAGER_DATA_PORT,
            "metrics-query": _METRICS_QUERY_PORT,
        }
        | _listed(_TASKMANAGER_METRICS, watch),
        startup=tcp_probe(_TASKMANAGER_RPC_PORT, period=5, failures=60),
        readiness=tcp_probe(_TASKMANAGER_RPC_PORT, period=10, failures=3),
        liveness=tcp_probe(_TASKMANAGER_RPC_PORT, period=10, failures=6),
    )


def _report(target: Target, watch: Watch) -> list[str]:
    """Return the options with which a process serves its metrics, if anybody scrapes them."""
    if watch.settings is None:
        return []
    factory = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"
    return [f"-D{_REPORTER}.factory.class={factory}", f"-D{_REPORTER}.port={target.port}"]


def _listed(target: Target, watch: Watch) -> dict[str, int]:
    return {} if watch.settings is None else {target.name: target.port}


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
