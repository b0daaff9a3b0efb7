"""The settings in the configuration files of Flink that matter; each of them was measured."""

import re

import pytest

from repository import SERVICE_FILES

FILES = SERVICE_FILES / "flink"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Return flink-conf.yaml as Flink 1.18 reads it: one setting per line, split at `: `."""
    lines = (FILES / "flink-conf.yaml").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def logging() -> dict[str, str]:
    """Return the properties of log4j-console.properties."""
    lines = (FILES / "log4j-console.properties").read_text().splitlines()
    return dict(line.split(" = ", 1) for line in lines if line and not line.startswith("#"))


def test_flinks_simple_parser_understands_every_line() -> None:
    """Flink 1.18 reads no nested YAML, drops a line that it does not understand, and cuts at #."""
    for line in (FILES / "flink-conf.yaml").read_text().splitlines():
        assert re.fullmatch(r"(#.*|[a-z][a-zA-Z.-]*: [^#]*[^# ])?", line), line


def test_no_setting_is_given_twice() -> None:
    """The last one would silently win."""
    lines = (FILES / "flink-conf.yaml").read_text().splitlines()
    keys = [line.split(":")[0] for line in lines if line and not line.startswith("#")]
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize(
    ("key", "port"),
    [
        ("jobmanager.rpc.port", 6123),
        ("blob.server.port", 6124),
        ("rest.port", 8081),
        ("taskmanager.rpc.port", 6122),
        ("taskmanager.data.port", 6121),
        ("metrics.internal.query-service.port", 6125),
    ],
)
def test_every_port_is_fixed(settings: dict[str, str], key: str, port: int) -> None:
    """By default Flink picks random ports, which no NetworkPolicy can name."""
    assert settings[key] == str(port)


@pytest.mark.parametrize(
    "key", ["jobmanager.bind-host", "rest.bind-address", "taskmanager.bind-host"]
)
def test_other_pods_reach_every_listener(settings: dict[str, str], key: str) -> None:
    """Neither probes nor other pods reach a listener on the loopback address."""
    assert settings[key] == "0.0.0.0"  # noqa: S104 - a pod's own address


@pytest.mark.parametrize("key", ["web.submit.enable", "web.cancel.enable"])
def test_the_dashboard_changes_nothing(settings: dict[str, str], key: str) -> None:
    """An uploaded job would run with the rights of the pod; a cancelled one would restart."""
    assert settings[key] == "false"


def test_the_job_is_as_wide_as_there_are_slots(settings: dict[str, str]) -> None:
    """Any other scheduler fails the job when a TaskManager leaves, and ignores new ones."""
    assert settings["scheduler-mode"] == "reactive"


def test_the_number_of_key_groups_never_changes(settings: dict[str, str]) -> None:
    """Flink refuses to restore checkpoints with another number."""
    assert settings["pipeline.max-parallelism"] == "24"


def test_taskmanagers_that_start_together_cause_one_restart(settings: dict[str, str]) -> None:
    """In reactive mode the default is 0: the job restarts for each TaskManager of a rollout."""
    timeout = settings["jobmanager.adaptive-scheduler.resource-stabilization-timeout"]
    assert timeout == "5 s"


def test_checkpoints_survive_the_end_of_the_job(settings: dict[str, str]) -> None:
    """Measured: without it every rollout deletes all checkpoints."""
    key = "execution.checkpointing.externalized-checkpoint-retention"
    assert settings[key] == "RETAIN_ON_CANCELLATION"


def test_a_checkpoint_that_fails_does_not_fail_the_job(settings: dict[str, str]) -> None:
    """Measured: by default a full volume ends the job within 35 s, and every restart of it."""
    key = "execution.checkpointing.tolerable-failed-checkpoints"
    assert settings[key] == str(2**31 - 1)


def test_checkpoints_go_where_the_launcher_looks(settings: dict[str, str]) -> None:
    """Elsewhere they would end with the pod, and every start would be empty."""
    launcher = (FILES / "jobmanager.sh").read_text()
    folder = settings["state.checkpoints.dir"].removeprefix("file://")
    assert f"${{CHECKPOINTS_DIR:-{folder}}}" in launcher


def test_flink_keeps_as_many_checkpoints_as_the_launcher_tries(settings: dict[str, str]) -> None:
    """By default Flink keeps one, with nothing to fall back to."""
    launcher = (FILES / "jobmanager.sh").read_text()
    assert f"CANDIDATES={settings['state.checkpoints.num-retained']}\n" in launcher
    assert int(settings["state.checkpoints.num-retained"]) == 3


def test_a_checkpoint_does_not_depend_on_another_jobs_files(settings: dict[str, str]) -> None:
    """Incremental RocksDB checkpoints share files across jobs, which the launcher deletes."""
    assert settings["state.backend.type"] == "hashmap"


def test_a_job_that_keeps_failing_ends(settings: dict[str, str]) -> None:
    """With checkpoints Flink restarts for ever by default, and the launcher never falls back."""
    assert settings["restart-strategy.type"] == "failure-rate"


def test_a_short_trouble_does_not_end_the_job(settings: dict[str, str]) -> None:
    """A start of the JobManager takes half a minute, a restart within Flink a few seconds."""
    prefix = "restart-strategy.failure-rate."
    assert settings[f"{prefix}max-failures-per-interval"] == "5"
    assert settings[f"{prefix}failure-rate-interval"] == "5 min"
    assert settings[f"{prefix}delay"] == "5 s"


def test_a_lost_jobmanager_is_noticed_soon(settings: dict[str, str]) -> None:
    """By default TaskManagers work for a dead JobManager for 50 s, and alerts are duplicated."""
    assert settings["heartbeat.interval"] == "2000"
    assert settings["heartbeat.timeout"] == "10000"


def test_a_hanging_python_worker_is_given_up_soon(settings: dict[str, str]) -> None:
    """Measured: it keeps its slot, and the job is stuck for the default of 180 s."""
    assert settings["task.cancellation.interval"] == "5000"
    assert settings["task.cancellation.timeout"] == "15000"


def test_taskmanagers_find_a_restarted_jobmanager_soon(settings: dict[str, str]) -> None:
    """By default they wait 10 s between two attempts."""
    assert settings["cluster.registration.error-delay"] == "2000"


@pytest.mark.parametrize("key", ["io.tmp.dirs", "env.pid.dir", "env.log.dir"])
def test_all_files_go_to_the_temporary_folder(settings: dict[str, str], key: str) -> None:
    """The root file system of the pods is read-only."""
    assert settings[key] == "/tmp"  # noqa: S108 - a volume of the pod's own


@pytest.mark.parametrize("key", ["python.executable", "python.client.executable"])
def test_python_is_the_one_that_the_probe_uses(settings: dict[str, str], key: str) -> None:
    """Flink looks for `python`, which the packages of the distribution do not provide."""
    assert settings[key] == "python3"


@pytest.mark.parametrize("package", ["java.lang", "java.util", "java.nio", "sun.nio.ch"])
def test_java_lets_flink_in(settings: dict[str, str], package: str) -> None:
    """This file replaces that of the image, with the options that Flink needs since Java 17."""
    assert f"--add-opens=java.base/{package}=ALL-UNNAMED" in settings["env.java.opts.all"]


@pytest.mark.parametrize("key", ["jobmanager.rpc.address", "taskmanager.host"])
def test_addresses_are_left_to_the_construct(settings: dict[str, str], key: str) -> None:
    """A host name here would be a second declaration of a connection."""
    assert key not in settings


def test_memory_is_left_to_the_construct(settings: dict[str, str]) -> None:
    """It has to follow the limit of the container."""
    assert not [key for key in settings if ".memory." in key]


def test_everything_is_logged_on_the_console(logging: dict[str, str]) -> None:
    """Kubernetes collects standard output; the stock file appender cannot write its file."""
    types = {
        key: value for key, value in logging.items() if re.fullmatch(r"appender\.\w+\.type", key)
    }
    assert types == {"appender.console.type": "Console"}
    assert logging["rootLogger.appenderRef.console.ref"] == logging["appender.console.name"]
    assert logging["rootLogger.level"] == "INFO"
