"""The hardened pod that every service is made of, and the real files that are mounted into it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.image import Image
from fraud_detection.platform.network import Component
from fraud_detection.platform.sync import Wave, metadata
from fraud_detection.platform.values import cores, mebibytes, number

_FILES = Path(__file__).parents[1] / "services" / "files"

_HARDENED_CONTAINER = k8s.SecurityContext(
    allow_privilege_escalation=False,
    capabilities=k8s.Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one container gets.

    Attributes:
        cpu: Requested processor time, in thousandths of a core.
        cpu_limit: The most it may use, in thousandths of a core.
        memory: Requested memory and at the same time the limit, in MiB: a pod that was scheduled
            is never evicted because a neighbour used more than it asked for.
    """

    cpu: int
    cpu_limit: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class User:
    """The numeric user that a pod's processes run as.

    Attributes:
        uid: User id; not 0.
        gid: Group id, also of the mounted volumes.
    """

    uid: int
    gid: int


PYTHON_USER = User(uid=10001, gid=10001)
"""For our FastAPI images, which name no user of their own and own no file that they write."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume of a pod and where its containers see it."""

    volume: k8s.Volume
    path: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class MountedFiles:
    """Files of this repository as a volume.

    Attributes:
        mount: The read-only volume.
        checksum: Changes with any of the files; as an annotation of the pods it makes them roll.
    """

    mount: Mount
    checksum: str


def environment_variables(values: Mapping[str, str]) -> list[k8s.EnvVar]:
    """Plain environment variables, in the given order."""
    return [k8s.EnvVar(name=name, value=value) for name, value in values.items()]


def variable_from_field(name: str, field: str) -> k8s.EnvVar:
    """An environment variable with the value of one of the pod's own fields."""
    return k8s.EnvVar(
        name=name,
        value_from=k8s.EnvVarSource(field_ref=k8s.ObjectFieldSelector(field_path=field)),
    )


def scratch(name: str, path: str, *, size: int) -> Mount:
    """An empty writable folder that lives as long as the pod.

    Args:
        name: Name of the volume.
        path: Where the containers see it.
        size: The most it may hold, in MiB; beyond it the pod is evicted.
    """
    return Mount(
        volume=k8s.Volume(
            name=name, empty_dir=k8s.EmptyDirVolumeSource(size_limit=mebibytes(size))
        ),
        path=path,
    )


def temporary_folder(*, size: int) -> Mount:
    """An empty `/tmp`, the one place that most programs write to; its size in MiB."""
    return scratch("tmp", "/tmp", size=size)  # noqa: S108 - a volume of the pod's own


def mount_files(
    scope: Construct, id: str, *, name: str, wave: Wave, path: str, files: Sequence[str]
) -> MountedFiles:
    """Put files of `files/` into a ConfigMap and mount them, executable, at a path.

    Args:
        scope: Parent construct.
        id: Construct id.
        name: Name of the ConfigMap.
        wave: When Argo CD applies it: not after the pods.
        path: The folder in which the containers see the files.
        files: Paths below `files/`; the container sees the last part of each.

    Raises:
        FileNotFoundError: If one of the files does not exist.
    """
    data = {Path(file).name: (_FILES / file).read_text(encoding="utf-8") for file in files}
    k8s.KubeConfigMap(scope, id, metadata=metadata(name, wave=wave), data=data)
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
    """A container that may not gain privileges and cannot write to its image.

    Args:
        name: Name in the pod.
        image: What it runs.
        resources: What it gets.
        mounts: The volumes it sees.
        command: Program and arguments. Default: those of the image.
        env: Environment variables.
        ports: The TCP ports on which it listens, by name.
        startup: Until it succeeds the other probes wait.
        readiness: Whether clients may be sent here.
        liveness: Whether it must be restarted.
        lifecycle: What runs after the start and before the stop.
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
    grace_seconds: int = 30,
    restart_policy: str | None = None,
    share_process_namespace: bool | None = None,
    affinity: k8s.Affinity | None = None,
    topology_spread: Sequence[k8s.TopologySpreadConstraint] = (),
) -> k8s.PodTemplateSpec:
    """A pod that meets the `restricted` Pod Security Standard.

    It sees no service-account token and no service links: those would inject `REDIS_PORT=tcp://…`,
    which the applications' `int(REDIS_PORT)` does not survive.

    Args:
        component: Which pods these are; their labels.
        user: What the processes run as.
        containers: What runs.
        mounts: Every volume that a container mounts.
        init_containers: What runs before, one after the other.
        files: The files whose change must roll the pods.
        grace_seconds: From the request to stop until the kill.
        restart_policy: `Never` or `OnFailure`, for a Job. Default: always.
        share_process_namespace: Whether the pod's first process adopts and reaps the orphans of
            its containers. Default: each container's first process does.
        affinity: Where the pods may or should run.
        topology_spread: How the pods spread over hosts and zones.
    """
    return k8s.PodTemplateSpec(
        metadata=k8s.ObjectMeta(
            labels=component.labels,
            annotations=None if files is None else {"checksum/files": files.checksum},
        ),
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
            volumes=[mount.volume for mount in mounts] or None,
            termination_grace_period_seconds=grace_seconds,
            restart_policy=restart_policy,
            share_process_namespace=share_process_namespace,
            affinity=affinity,
            topology_spread_constraints=list(topology_spread) or None,
        ),
    )


def http_probe(path: str, port: int, *, period: int, failures: int, timeout: int = 2) -> k8s.Probe:
    """Succeeds on a 2xx or 3xx answer; period and timeout in seconds."""
    return k8s.Probe(
        http_get=k8s.HttpGetAction(path=path, port=number(port)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )


def tcp_probe(port: int, *, period: int, failures: int, timeout: int = 2) -> k8s.Probe:
    """Succeeds when the port accepts a connection; period and timeout in seconds."""
    return k8s.Probe(
        tcp_socket=k8s.TcpSocketAction(port=number(port)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )


def command_probe(*command: str, period: int, failures: int, timeout: int = 5) -> k8s.Probe:
    """Succeeds when a command in the container exits with 0; period and timeout in seconds."""
    return k8s.Probe(
        exec=k8s.ExecAction(command=list(command)),
        period_seconds=period,
        timeout_seconds=timeout,
        failure_threshold=failures,
    )
