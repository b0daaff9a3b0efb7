"""Flink: one job that resumes from its checkpoints, in one pod or on many nodes."""

from dataclasses import replace

import pytest

from delivery.network.connection import Verdict
from delivery.network.connections import analyze
from fraud_detection.platform.settings import SettingsError
from fraud_detection.platform.storage import AccessMode
from rendering import Manifest, Manifests, container, large, names, small, variables
from settings import LARGE, SMALL

both = pytest.mark.parametrize("system", [small, large], ids=["one pod", "many nodes"])


def _deployment(system: Manifests, role: str) -> Manifest:
    """Return the Deployment that runs a role."""
    [found] = [
        each
        for each in system.kind("Deployment")
        if role in {c["name"] for c in each["spec"]["template"]["spec"]["containers"]}
    ]
    return found


def _process(system: Manifests, role: str) -> Manifest:
    """Return the container of a role."""
    return container(_deployment(system, role)["spec"]["template"], role)


def _temporary_volumes(pod: Manifest) -> list[str]:
    """Return the volume at /tmp of each container."""
    return [
        mount["name"]
        for each in pod["containers"]
        for mount in each["volumeMounts"]
        if mount["mountPath"] == "/tmp"  # noqa: S108 - a volume of the pod
    ]


@both
def test_there_is_one_jobmanager_also_during_a_rollout(system: Manifests) -> None:
    """In Application mode the JobManager is the job: two of them are two detectors."""
    spec = _deployment(system, "jobmanager")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_no_job_is_submitted_from_outside() -> None:
    """A Job that submits would run again at every sync and pile up detectors."""
    assert not any(manifest["kind"] == "Job" for manifest in large.files["flink"])


def test_the_jobmanager_starts_through_the_launcher() -> None:
    """The launcher finds the checkpoint; started without it, all state would be lost."""
    assert _process(small, "jobmanager")["command"][:2] == ["bash", "/etc/flink/jobmanager.sh"]
    assert "jobmanager.sh" in small.get("ConfigMap", "flink-files")["data"]


@both
@pytest.mark.parametrize("role", ["jobmanager", "taskmanager"])
def test_both_read_the_same_configuration(system: Manifests, role: str) -> None:
    """Ports and heartbeats must agree on both sides."""
    assert variables(_process(system, role))["FLINK_CONF_DIR"] == "/etc/flink"


def test_flink_plans_with_the_memory_of_the_container() -> None:
    """A process larger than its container is killed by the kernel, again and again."""
    size = f"-Dtaskmanager.memory.process.size={LARGE.flink.taskmanager.memory}m"
    assert size in _process(large, "taskmanager")["command"]


def test_the_jobmanager_leaves_memory_to_its_python_process() -> None:
    """The process that builds the job graph takes about 150 MiB, which Flink does not count."""
    size = f"-Djobmanager.memory.process.size={LARGE.flink.jobmanager.memory - 256}m"
    assert size in _process(large, "jobmanager")["command"]


@both
def test_a_pod_reaps_its_orphans(system: Manifests) -> None:
    """Each restart of the job leaves Python workers behind; as zombies they use up process ids."""
    pod = _deployment(system, "taskmanager")["spec"]["template"]["spec"]
    assert pod["shareProcessNamespace"] is True


@both
@pytest.mark.parametrize("role", ["jobmanager", "taskmanager"])
def test_both_get_every_variable_of_the_job(system: Manifests, role: str) -> None:
    """The job graph is built in the JobManager and its Python runs in the TaskManagers."""
    expected = {
        "KAFKA_BROKER": "redpanda:9093",
        "TRANSACTIONS_TOPIC": "transactions",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "REDIS_DB": "0",
    }
    assert expected.items() <= variables(_process(system, role)).items()


@both
def test_ready_means_that_the_job_runs(system: Manifests) -> None:
    """The REST API reports a job that waits for TaskManagers as running."""
    probe = _process(system, "jobmanager")["readinessProbe"]
    assert probe["exec"]["command"][-1] == "/etc/flink/ready.py"


def test_the_liveness_of_the_jobmanager_is_that_of_its_rest_api() -> None:
    """Liveness is about the process, readiness about the job."""
    assert _process(small, "jobmanager")["livenessProbe"]["httpGet"]["path"] == "/overview"


def test_checkpoints_outlive_every_sync() -> None:
    """The claim holds the state of the job: neither pruned nor deleted with the Application."""
    claim = large.get("PersistentVolumeClaim", "flink-checkpoints")
    assert (
        claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        == "Prune=false,Delete=false"
    )


@both
@pytest.mark.parametrize("role", ["jobmanager", "taskmanager"])
def test_both_share_the_checkpoint_volume(system: Manifests, role: str) -> None:
    """TaskManagers write the state that the JobManager restores from."""
    mounts = _process(system, role)["volumeMounts"]
    assert {"mountPath": "/checkpoints", "name": "checkpoints"} in mounts


@both
def test_no_service_exposes_the_rest_api(system: Manifests) -> None:
    """The REST API accepts cancellations whatever its settings are, so no Service exposes it."""
    ports = {
        port["port"] for service in system.kind("Service") for port in service["spec"]["ports"]
    }
    assert 8081 not in ports


@both
def test_no_pod_has_to_follow_another(system: Manifests) -> None:
    """Measured: with required affinity to each other both stay Pending beside an empty node."""
    for role in ("jobmanager", "taskmanager"):
        assert "affinity" not in _deployment(system, role)["spec"]["template"]["spec"]


# One pod


def test_by_default_one_pod_uses_the_volume() -> None:
    """The default storage of every cluster offers ReadWriteOnce, and one pod always has a node."""
    claim = small.get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert _deployment(small, "jobmanager") == _deployment(small, "taskmanager")


def test_processes_of_one_pod_keep_their_temporary_files_apart() -> None:
    """PyFlink unpacks its workers into a folder of a fixed name, and two would overwrite it."""
    volumes = _temporary_volumes(_deployment(small, "jobmanager")["spec"]["template"]["spec"])
    assert len(volumes) == len(set(volumes)) == 2


def test_processes_of_one_pod_need_no_network() -> None:
    """Flink's own protocol runs any code that it is sent: no pod may reach its ports."""
    assert "flink-jobmanager" not in names(small.kind("Service"))
    assert "ingress" not in small.get("NetworkPolicy", "flink-jobmanager")["spec"]


def test_processes_of_one_pod_share_no_port() -> None:
    """The second to start would fail, or take any free port: both serve metrics to each other."""
    default = "metrics.internal.query-service.port"
    configured = small.get("ConfigMap", "flink-files")["data"]["flink-conf.yaml"]
    assert f"{default}: 6125" in configured
    assert f"-D{default}=6126" in _process(small, "jobmanager")["command"]


def test_one_pod_is_as_wide_as_its_slots() -> None:
    """The reactive scheduler uses every slot, one task and one Python worker in each."""
    system = Manifests(replace(SMALL, flink=replace(SMALL.flink, slots=2)))
    assert "-Dtaskmanager.numberOfTaskSlots=2" in _process(system, "taskmanager")["command"]


def test_several_taskmanagers_on_a_volume_of_one_node_are_refused() -> None:
    """They would depend on the node of each other, and none could move."""
    system = Manifests(replace(SMALL, flink=replace(SMALL.flink, max_taskmanagers=2)))
    with pytest.raises(SettingsError, match=r"set flink.slots, or set flink.access_mode to "):
        list(system)


# Many nodes


def test_a_shared_file_system_lets_the_taskmanagers_spread() -> None:
    """The loss of a node then costs some of them, and the load has several nodes."""
    claim = large.get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = _deployment(large, "taskmanager")["spec"]["template"]["spec"]
    keys = {each["topologyKey"] for each in pod["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_processes_of_many_nodes_reach_each_other() -> None:
    """They find each other by ports that no address in the manifests shows."""
    rows = list(analyze({"large": list(large)}))
    assert [row for row in rows if row.verdict is not Verdict.REACHABLE] == []
    assert {
        (row.client, server, row.port)
        for row in rows
        for server in row.servers
        if {row.client, server} <= {"flink-jobmanager", "flink-taskmanager"}
    } == {
        ("flink-taskmanager", "flink-jobmanager", 6123),
        ("flink-taskmanager", "flink-jobmanager", 6124),
        ("flink-jobmanager", "flink-taskmanager", 6122),
        ("flink-jobmanager", "flink-taskmanager", 6125),
        ("flink-taskmanager", "flink-taskmanager", 6121),
    }


def test_a_taskmanager_is_known_by_its_address() -> None:
    """A pod's host name is in no DNS; the JobManager could not call it back."""
    process = _process(large, "taskmanager")
    assert "-Dtaskmanager.host=$(POD_IP)" in process["command"]
    [pod_ip] = [v for v in process["env"] if v["name"] == "POD_IP"]
    assert pod_ip["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_taskmanagers_find_a_jobmanager_that_is_not_ready() -> None:
    """It is ready only when its job runs, and the job runs only when they have registered."""
    service = large.get("Service", "flink-jobmanager")["spec"]
    assert service["publishNotReadyAddresses"] is True


def test_more_than_one_taskmanager_at_most_is_an_autoscaler() -> None:
    """The reactive scheduler makes the job as wide as there are TaskManagers."""
    autoscaler = large.get("HorizontalPodAutoscaler", "flink-taskmanager")["spec"]
    assert autoscaler["maxReplicas"] > autoscaler["minReplicas"]
    assert "replicas" not in _deployment(large, "taskmanager")["spec"]


def test_without_an_autoscaler_the_taskmanagers_are_a_fixed_number() -> None:
    """If the manifest left it out, a number changed by hand would stay."""
    flink = replace(SMALL.flink, access_mode=AccessMode.ALL_NODES)
    system = Manifests(replace(SMALL, flink=flink))
    assert _deployment(system, "taskmanager")["spec"]["replicas"] == 1


def test_the_job_restarts_once_per_rollout() -> None:
    """One by one, each replaced pod would restart the job, and old and new code would mix."""
    assert _deployment(large, "taskmanager")["spec"]["strategy"] == {"type": "Recreate"}
