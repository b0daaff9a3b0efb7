"""The hardened pod of every service, and the files that are mounted into it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component
from fraud_detection.platform.values import cores, mebibytes, number

_FILES = Path(__file__).parents[1] / "services" / "files"

_HARDENED_CONTAINER = k8s.SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
)


_PLATFORM = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
"""Labels of the nodes for which our images are built."""
_SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources of one container.

    Attributes:
        cpu: CPU request, in millicores.
        cpu_limit: CPU limit, in millicores.
        memory: Memory request and limit, in MiB; they are equal, so that no pod is evicted because
            a neighbour uses more than it requested.
    """

    cpu: int
    cpu_limit: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class User:
    """The numeric user of the processes in a pod.

    Attributes:
        uid: User id; not 0.
        gid: Group id, which also owns the mounted volumes.
    """

    uid: int
    gid: int


PYTHON_USER = User(uid=10001, gid=10001)
"""The user for our FastAPI images, which define none and write to no file of the image."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume of a pod and its path in the containers."""

    volume: k8s.Volume
    path: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class MountedFiles:
    """Files of this repository as a volume.

    Attributes:
        mount: The read-only volume.
        checksum: Hash of the files; as an annotation of the pods it rolls them when a file changes.
    """

    mount: Mount
    checksum: str


def environment_variables(values: Mapping[str, str]) -> list[k8s.EnvVar]:
    """Return plain environment variables, in the given order."""
    return [k8s.EnvVar(name=name, value=value) for name, value in values.items()]


def variable_from_field(name: str, field: str) -> k8s.EnvVar:
    """Return an environment variable with the value of a field of the pod."""
    return k8s.EnvVar(
        name=name,
        value_from=k8s.EnvVarSource(field_ref=k8s.ObjectFieldSelector(field_path=field)),
    )


def scratch(name: str, path: str, *, size: int) -> Mount:
    """Return an empty writable folder that lives as long as the pod.

    Args:
        name: Name of the volume.
        path: Path in the containers.
        size: Size limit in MiB, beyond which the pod is evicted.
    """
    return Mount(
        volume=k8s.Volume(
            name=name, empty_dir=k8s.EmptyDirVolumeSource(size_limit=mebibytes(size))
        ),
        path=path,
    )


def temporary_folder(*, size: int, name: str = "tmp") -> Mount:
    """Return an empty `/tmp`, the only place to which most programs write; the size is in MiB.

    Containers of one pod that must not meet there need volumes of different names.
    """
    return scratch(name, "/tmp", size=size)  # noqa: S108 - a volume of the pod


def mount_files(
    scope: Construct, id: str, *, name: str, path: str, files: Sequence[str]
) -> MountedFiles:
    """Put files of `services/files/` into a ConfigMap, to be mounted as executable files.

    Args:
        scope: Parent construct.
        id: Construct id.
        name: Name of the ConfigMap.
        path: The folder of the files in the containers.
        files: Paths below `services/files/`; in the container each file keeps only its name.

    Raises:
        FileNotFoundError: If one of the files does not exist.
    """
    data = {Path(file).name: (_FILES / file).read_text(encoding="utf-8") for file in files}
    k8s.KubeConfigMap(scope, id, metadata=k8s.ObjectMeta(name=name), data=data)
    digest = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()
    return MountedFiles(
        mount=Mount(
            volume=k8s.Volume(
                name=id,
                config_map=k8s.ConfigMapVolumeSource(name=name, default_mode=0o555),
            ),
            path=path,
            read_only=True,
        ),
        checksum=digest,
    )


def container(
    name: str,
    *,
    image: Image,
    resources: Resources,
    mounts: Sequence[Mount],
    command: Sequence[str] | None = None,
    env: Sequence[k8s.EnvVar] = (),
    ports: Mapping[str, int] | None = None,
    startup: k8s.Probe | None = None,
    readiness: k8s.Probe | None = None,
    liveness: k8s.Probe | None = None,
    lifecycle: k8s.Lifecycle | None = None,
) -> k8s.Container:
    """Return a container that cannot gain privileges or write to its image.

    Args:
        name: Name in the pod.
        image: The image.
        resources: Requests and limits.
        mounts: The mounted volumes.
        command: Program and arguments. Default: those of the image.
        env: Environment variables.
        ports: The TCP ports on which it listens, by name.
        startup: The startup probe; until it succeeds the other probes wait.
        readiness: The readiness probe; while it fails no client is sent here.
        liveness: The liveness probe; when it fails the container is restarted.
        lifecycle: Hooks after the start and before the stop.
    """
    return k8s.Container(
        name=name,
        image=image.reference,
        image_pull_policy="IfNotPresent",
        command=None if command is None else list(command),
        env=list(env) or None,
        ports=[
            k8s.ContainerPort(name=port_name, container_port=port, protocol="TCP")
            for port_name, port in (ports or {}).items()
        ]
        or None,
        resources=k8s.ResourceRequirements(
            requests={
                "cpu": cores(resources.cpu),
                "memory": mebibytes(resources.memory),
            },
            limits={
                "cpu": cores(resources.cpu_limit),
                "memory": mebibytes(resources.memory),
            },
        ),
        security_context=_HARDENED_CONTAINER,
        volume_mounts=[
            k8s.VolumeMount(
                name=mount.volume.name,
                mount_path=mount.path,
                read_only=mount.read_only or None,
            )
            for mount in mounts
        ]
        or None,
        startup_probe=startup,
        readiness_probe=readiness,
        liveness_probe=liveness,
        lifecycle=lifecycle,
    )


def pod_template(
    component: Component,
    *,
    user: User,
    containers: Sequence[k8s.Container],
    mounts: Sequence[Mount],
    init_containers: Sequence[k8s.Container] = (),
    files: MountedFiles | None = None,
    annotations: Mapping[str, str] | None = None,
    grace_seconds: int = 30,
    restart_policy: str | None = None,
    share_process_namespace: bool | None = None,
    affinity: k8s.Affinity | None = None,
    topology_spread: Sequence[k8s.TopologySpreadConstraint] = (),
) -> k8s.PodTemplateSpec:
    """Return a pod that meets the `restricted` Pod Security Standard.

    It gets no service-account token and no service links: a link would inject
    `REDIS_PORT=tcp://…`, which breaks `int(REDIS_PORT)` in the applications.

    Args:
        component: The component of the pods, which gives them their labels.
        user: The user of the processes.
        containers: The containers.
        mounts: All volumes that the containers mount; containers may share one.
        init_containers: The init containers, in order.
        files: The files whose change must roll the pods.
        annotations: More annotations of the pods. Default: none.
        grace_seconds: Time between the stop signal and the kill.
        restart_policy: `Never` or `OnFailure`, for a Job. Default: always.
        share_process_namespace: Whether the first process of the pod adopts and reaps the orphans
            of its containers. Default: the first process of each container does.
        affinity: Rules for the nodes on which the pods run.
        topology_spread: Rules for the spread over hosts and zones.
    """
    volumes = {mount.volume.name: mount.volume for mount in mounts}
    local = [name for name, volume in volumes.items() if volume.empty_dir is not None]
    all_annotations = {
        **(annotations or {}),
        **({} if files is None else {"checksum/files": files.checksum}),
        # Nothing in them outlives the pod, and otherwise its node could never be removed.
        **({_SAFE_TO_EVICT: ",".join(local)} if local else {}),
    }
    return k8s.PodTemplateSpec(
        metadata=k8s.ObjectMeta(labels=component.labels, annotations=all_annotations or None),
        spec=k8s.PodSpec(
            automount_service_account_token=False,
            enable_service_links=False,
            security_context=k8s.PodSecurityContext(
                run_as_non_root=True,
                run_as_user=user.uid,
                run_as_group=user.gid,
                fs_group=user.gid,
                fs_group_change_policy="OnRootMismatch",
                seccomp_profile=k8s.SeccompProfile(type="RuntimeDefault"),
            ),
            init_containers=list(init_containers) or None,
            containers=list(containers),
            volumes=list(volumes.values()) or None,
            termination_grace_period_seconds=grace_seconds,
            restart_policy=restart_policy,
            share_process_namespace=share_process_namespace,
            node_selector=_PLATFORM,
            affinity=affinity,
            topology_spread_constraints=list(topology_spread) or None,
        ),
    )


def http_probe(path: str, port: int, *, period: int, failures: int, timeout: int = 2) -> k8s.Probe:
    """Return a probe that succeeds on status 2xx or 3xx; period and timeout are in seconds."""
    return k8s.Probe(
        http_get=k8s.HttpGetAction(path=path, port=number(port)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )


def tcp_probe(port: int, *, period: int, failures: int, timeout: int = 2) -> k8s.Probe:
    """Return a probe that succeeds when a port accepts a connection; times are in seconds."""
    return k8s.Probe(
        tcp_socket=k8s.TcpSocketAction(port=number(port)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )


def command_probe(*command: str, period: int, failures: int, timeout: int = 5) -> k8s.Probe:
    """Return a probe that succeeds when a command exits with 0; times are in seconds."""
    return k8s.Probe(
        exec=k8s.ExecAction(command=list(command)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )
