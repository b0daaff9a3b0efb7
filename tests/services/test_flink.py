"""Flink: one job that resumes from its checkpoints, on fixed ports."""

from dataclasses import replace

from fraud_detection.platform.storage import AccessMode
from rendering import Manifest, Manifests, container, large, small, variables
from settings import LARGE, SMALL


def _jobmanager(system: Manifests) -> Manifest:
    return system.get("Deployment", "flink-jobmanager")


def _taskmanager(system: Manifests) -> Manifest:
    return system.get("Deployment", "flink-taskmanager")


def _main(deployment: Manifest) -> Manifest:
    main: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
    return main


def test_there_is_one_jobmanager_also_during_a_rollout() -> None:
    """In Application mode the JobManager is the job: two of them are two detectors."""
    spec = _jobmanager(large)["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_no_job_is_submitted_from_outside() -> None:
    """A Job that submits would run again at every sync and pile up detectors."""
    assert not any(manifest["kind"] == "Job" for manifest in large.files["flink"])


def test_the_jobmanager_starts_through_the_launcher() -> None:
    """The launcher finds the checkpoint; started without it, all state would be lost."""
    assert _main(_jobmanager(small))["command"][:2] == ["bash", "/etc/flink/jobmanager.sh"]
    assert "jobmanager.sh" in small.get("ConfigMap", "flink-files")["data"]


def test_both_read_the_same_configuration() -> None:
    """Ports and heartbeats must agree on both sides."""
    for deployment in (_jobmanager(small), _taskmanager(small)):
        assert variables(_main(deployment))["FLINK_CONF_DIR"] == "/etc/flink"


def test_flink_plans_with_the_memory_of_the_pod() -> None:
    """A process larger than its pod is killed by the kernel, again and again."""
    size = f"-Dtaskmanager.memory.process.size={LARGE.flink.taskmanager.memory}m"
    assert size in _main(_taskmanager(large))["command"]


def test_the_jobmanager_leaves_memory_to_its_python_process() -> None:
    """The process that builds the job graph takes about 150 MiB, which Flink does not count."""
    size = f"-Djobmanager.memory.process.size={LARGE.flink.jobmanager.memory - 256}m"
    assert size in _main(_jobmanager(large))["command"]


def test_a_taskmanager_pod_reaps_its_orphans() -> None:
    """Each restart of the job leaves Python workers behind; as zombies they use up process ids."""
    assert _taskmanager(small)["spec"]["template"]["spec"]["shareProcessNamespace"] is True


def test_a_taskmanager_is_known_by_its_address() -> None:
    """A pod's host name is in no DNS; the JobManager could not call it back."""
    main = _main(_taskmanager(small))
    assert "-Dtaskmanager.host=$(POD_IP)" in main["command"]
    [pod_ip] = [v for v in main["env"] if v["name"] == "POD_IP"]
    assert pod_ip["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_both_get_every_variable_of_the_job() -> None:
    """The job graph is built in the JobManager and its Python runs in the TaskManagers."""
    expected = {
        "KAFKA_BROKER": "redpanda:9093",
        "TRANSACTIONS_TOPIC": "transactions",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "REDIS_DB": "0",
    }
    for deployment in (_jobmanager(small), _taskmanager(small)):
        assert expected.items() <= variables(_main(deployment)).items()


def test_taskmanagers_find_a_jobmanager_that_is_not_ready() -> None:
    """It is ready only when its job runs, and the job runs only when they have registered."""
    service = small.get("Service", "flink-jobmanager")["spec"]
    assert service["publishNotReadyAddresses"] is True


def test_ready_means_that_the_job_runs() -> None:
    """The REST API reports a job that waits for TaskManagers as running."""
    probe = _main(_jobmanager(small))["readinessProbe"]
    assert probe["exec"]["command"][-1] == "/etc/flink/ready.py"


def test_more_than_one_taskmanager_at_most_is_an_autoscaler() -> None:
    """The reactive scheduler makes the job as wide as there are TaskManagers."""
    autoscaler = large.get("HorizontalPodAutoscaler", "flink-taskmanager")["spec"]
    assert autoscaler["maxReplicas"] > autoscaler["minReplicas"]
    assert "replicas" not in _taskmanager(large)["spec"]


def test_without_an_autoscaler_the_taskmanagers_are_a_fixed_number() -> None:
    """If the manifest left it out, a number changed by hand would stay."""
    assert _taskmanager(small)["spec"]["replicas"] == 1


def test_checkpoints_outlive_every_sync() -> None:
    """The claim holds the state of the job: neither pruned nor deleted with the Application."""
    claim = large.get("PersistentVolumeClaim", "flink-checkpoints")
    assert (
        claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        == "Prune=false,Delete=false"
    )


def test_both_share_the_checkpoint_volume() -> None:
    """TaskManagers write the state that the JobManager restores from."""
    for deployment in (_jobmanager(small), _taskmanager(small)):
        assert {"mountPath": "/checkpoints", "name": "checkpoints"} in _main(deployment)[
            "volumeMounts"
        ]


def test_by_default_one_node_can_serve_the_volume() -> None:
    """The default storage of every cluster offers ReadWriteOnce."""
    claim = small.get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_by_default_all_flink_pods_share_a_node() -> None:
    """Only one node can mount the volume, and every Flink pod must follow it."""
    for deployment in (_jobmanager(small), _taskmanager(small)):
        affinity = deployment["spec"]["template"]["spec"]["affinity"]["podAffinity"]
        [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        [expression] = term["labelSelector"]["matchExpressions"]
        assert set(expression["values"]) == {"flink-jobmanager", "flink-taskmanager"}


def test_a_shared_file_system_frees_the_pods() -> None:
    """With ReadWriteMany nothing ties them to one node."""
    flink = replace(SMALL.flink, access_mode=AccessMode.ALL_NODES)
    system = Manifests(replace(SMALL, flink=flink))
    claim = system.get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "affinity" not in _taskmanager(system)["spec"]["template"]["spec"]


def test_no_service_exposes_the_rest_api() -> None:
    """The REST API accepts cancellations whatever its settings are, so no Service exposes it."""
    ports = small.get("Service", "flink-jobmanager")["spec"]["ports"]
    assert {port["port"] for port in ports} == {6123, 6124}


def test_the_job_restarts_once_per_rollout() -> None:
    """One by one, each replaced pod would restart the job, and old and new code would mix."""
    assert _taskmanager(large)["spec"]["strategy"] == {"type": "Recreate"}


def test_the_liveness_of_the_jobmanager_is_that_of_its_rest_api() -> None:
    """Liveness is about the process, readiness about the job."""
    main = container(_jobmanager(small)["spec"]["template"], "jobmanager")
    assert main["livenessProbe"]["httpGet"]["path"] == "/overview"
