"""Flink: one job, resumed from its checkpoints, on ports that a policy can name."""

from dataclasses import replace

from fraud_detection.environments import DEV, STAGING
from fraud_detection.platform.storage import AccessMode
from rendering import Manifest, Manifests, container, dev, render, staging, variables


def _jobmanager(system: Manifests) -> Manifest:
    return system.get("Deployment", "flink-jobmanager")


def _taskmanager(system: Manifests) -> Manifest:
    return system.get("Deployment", "flink-taskmanager")


def _main(deployment: Manifest) -> Manifest:
    main: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
    return main


def test_there_is_one_jobmanager_also_during_a_rollout() -> None:
    """In Application mode the JobManager is the job: two of them are two detectors."""
    spec = _jobmanager(staging())["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_no_job_is_submitted_from_outside() -> None:
    """A Job that submits would run again at every sync and pile up detectors."""
    jobs = {job["metadata"]["name"] for job in staging().kind("Job")}
    assert jobs == {"transactions-topic"}


def test_the_jobmanager_starts_through_the_launcher() -> None:
    """The launcher finds the checkpoint; started without it, all state would be lost."""
    assert _main(_jobmanager(dev()))["command"][:2] == ["bash", "/etc/flink/jobmanager.sh"]
    assert "jobmanager.sh" in dev().get("ConfigMap", "flink-files")["data"]


def test_both_read_the_same_configuration() -> None:
    """Ports and heartbeats must agree on both sides."""
    for deployment in (_jobmanager(dev()), _taskmanager(dev())):
        assert variables(_main(deployment))["FLINK_CONF_DIR"] == "/etc/flink"


def test_flink_plans_with_the_pods_memory() -> None:
    """A process larger than its pod is killed by the kernel, again and again."""
    size = f"-Dtaskmanager.memory.process.size={STAGING.flink.taskmanager.memory}m"
    assert size in _main(_taskmanager(staging()))["command"]


def test_the_jobmanager_leaves_memory_to_its_python_process() -> None:
    """The process that builds the job graph takes about 150 MiB that Flink does not count."""
    size = f"-Djobmanager.memory.process.size={STAGING.flink.jobmanager.memory - 256}m"
    assert size in _main(_jobmanager(staging()))["command"]


def test_a_taskmanager_pod_reaps_its_orphans() -> None:
    """Each restart of the job leaves Python workers behind; as zombies they use up process ids."""
    assert _taskmanager(dev())["spec"]["template"]["spec"]["shareProcessNamespace"] is True


def test_a_taskmanager_is_known_by_its_address() -> None:
    """A pod's host name is in no DNS; the JobManager could not call it back."""
    main = _main(_taskmanager(dev()))
    assert "-Dtaskmanager.host=$(POD_IP)" in main["command"]
    [pod_ip] = [v for v in main["env"] if v["name"] == "POD_IP"]
    assert pod_ip["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_both_are_given_every_variable_of_the_job() -> None:
    """The job graph is built in the JobManager and its Python runs in the TaskManagers."""
    expected = {
        "KAFKA_BROKER": "redpanda:9093",
        "TRANSACTIONS_TOPIC": "transactions",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "REDIS_DB": "0",
    }
    for deployment in (_jobmanager(dev()), _taskmanager(dev())):
        assert expected.items() <= variables(_main(deployment)).items()


def test_taskmanagers_find_a_jobmanager_that_is_not_ready() -> None:
    """It is ready only when its job runs, and the job runs only when they have registered."""
    service = dev().get("Service", "flink-jobmanager")["spec"]
    assert service["publishNotReadyAddresses"] is True


def test_ready_means_that_the_job_runs() -> None:
    """The REST API says running for a job that waits for TaskManagers."""
    probe = _main(_jobmanager(dev()))["readinessProbe"]
    assert probe["exec"]["command"][-1] == "/etc/flink/ready.py"


def test_staging_scales_the_taskmanagers() -> None:
    """The reactive scheduler makes the job as wide as there are TaskManagers."""
    autoscaler = staging().get("HorizontalPodAutoscaler", "flink-taskmanager")["spec"]
    assert autoscaler["maxReplicas"] > autoscaler["minReplicas"]
    assert "replicas" not in _taskmanager(staging())["spec"]


def test_dev_runs_one_taskmanager() -> None:
    """Stated, because no autoscaler owns the number."""
    assert _taskmanager(dev())["spec"]["replicas"] == 1


def test_checkpoints_outlive_every_sync() -> None:
    """The claim holds the state of the job: neither pruned nor deleted with the Application."""
    claim = staging().get("PersistentVolumeClaim", "flink-checkpoints")
    assert (
        claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        == "Prune=false,Delete=false"
    )


def test_checkpoints_are_claimed_in_the_wave_of_their_pods() -> None:
    """A claim that waits for its first consumer would hold up an earlier wave for ever."""
    claim = dev().get("PersistentVolumeClaim", "flink-checkpoints")["metadata"]["annotations"]
    pods = _jobmanager(dev())["metadata"]["annotations"]
    assert claim["argocd.argoproj.io/sync-wave"] == pods["argocd.argoproj.io/sync-wave"]


def test_both_share_the_checkpoint_volume() -> None:
    """TaskManagers write the state that the JobManager restores from."""
    for deployment in (_jobmanager(dev()), _taskmanager(dev())):
        assert {"mountPath": "/checkpoints", "name": "checkpoints"} in _main(deployment)[
            "volumeMounts"
        ]


def test_by_default_one_node_can_serve_the_volume() -> None:
    """ReadWriteOnce is what every cluster's default storage offers."""
    claim = dev().get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_by_default_all_flink_pods_share_a_node() -> None:
    """The volume is mounted by one node only; every Flink pod must follow it, the first one too."""
    for deployment in (_jobmanager(dev()), _taskmanager(dev())):
        affinity = deployment["spec"]["template"]["spec"]["affinity"]["podAffinity"]
        [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        [expression] = term["labelSelector"]["matchExpressions"]
        assert set(expression["values"]) == {"flink-jobmanager", "flink-taskmanager"}


def test_a_shared_file_system_frees_the_pods() -> None:
    """With ReadWriteMany nothing ties them to one node."""
    flink = replace(DEV.flink, access_mode=AccessMode.ALL_NODES)
    system = render(replace(DEV, flink=flink))
    claim = system.get("PersistentVolumeClaim", "flink-checkpoints")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "affinity" not in _taskmanager(system)["spec"]["template"]["spec"]


def test_only_declared_ports_are_served() -> None:
    """The REST API accepts cancellations whatever its settings say: no Service leads there."""
    ports = dev().get("Service", "flink-jobmanager")["spec"]["ports"]
    assert {port["port"] for port in ports} == {6123, 6124}


def test_the_job_restarts_once_per_rollout() -> None:
    """Replaced one by one, each would restart the job, and old and new code would mix."""
    assert _taskmanager(staging())["spec"]["strategy"] == {"type": "Recreate"}


def test_a_broken_jobmanager_is_noticed_by_its_rest_api() -> None:
    """Alive is a matter of the process, ready of the job."""
    main = container(_jobmanager(dev())["spec"]["template"], "jobmanager")
    assert main["livenessProbe"]["httpGet"]["path"] == "/overview"
