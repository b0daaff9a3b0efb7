"""The images made from packages work as dist/dev expects, before a node runs them."""

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.images.build import RECIPES, Image, build, read_references
from tests.runtime.images.sandbox import Sandbox, sandbox

# They need no node, so whoever is free first runs them.
pytestmark = pytest.mark.xdist_group("images")


@pytest.fixture
def empty(images: dict[str, Image], tmp_path: Path) -> Iterator[Sandbox]:
    """Provide a sandbox without containers."""
    with sandbox(images, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def system(images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Start all of dist/dev."""
    with sandbox(images, tmp_path_factory.mktemp("system")) as made:
        made.start("redis")
        made.run("redpanda", container="copy-configuration")
        made.start("redpanda")
        _await(lambda: made.succeeds("redis", "bash", "/etc/redis/ready.sh"))
        _await(lambda: made.succeeds("redpanda", "bash", "/files/ready.sh"))
        made.run("flink-jobmanager", container="ensure-topic")
        made.start("alert-monitor")
        made.start("flink-jobmanager", container="jobmanager")
        made.start("flink-jobmanager", container="taskmanager")
        made.start("payment-api")
        _await(lambda: _get(made, "http://payment-api:8000/health")[0] == 200)
        _await(lambda: made.succeeds("flink-jobmanager", "python3", "/etc/flink/ready.py"))
        # Without one a restarted job reads only new transactions.
        _await(lambda: _checkpoints(made) > 0)
        yield made


def _checkpoints(system: Sandbox) -> int:
    """Return how many checkpoints the JobManager has logged as complete."""
    return system.log("flink-jobmanager").read_text().count("Completed checkpoint")


def _await(condition: Callable[[], bool], seconds: float = 180) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come to be in time"
        time.sleep(0.5)


def _get(system: Sandbox, url: str, body: dict[str, object] | None = None) -> tuple[int, str]:
    """Return the status, 0 if nothing listens, and the body."""
    data = [] if body is None else ["--json", json.dumps(body)]
    curl = ["curl", "--silent", "--max-time", "20", "--write-out", "\n%{http_code}", *data]
    for port in (8000, 8001, 8080):
        curl += ["--resolve", f"*:{port}:127.0.0.1"]
    curl.append(url)
    done = subprocess.run(system.inside(*curl), check=False, capture_output=True, text=True)
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), answer


def _transaction(name: str, amount: float) -> dict[str, object]:
    return {
        "transaction_id": name,
        "user_id": "alice",
        "card_number": "0",
        "amount": amount,
        "timestamp": "2026-01-01T00:00:00+00:00",
        "merchant_id": "m",
        "location": "l",
    }


def _alert(system: Sandbox, name: str) -> dict[str, object]:
    """Wait for the alert of a transaction, which the job prints after sending it to Redis."""
    log = system.log("flink-jobmanager", container="taskmanager")
    transaction = f'"transaction_id": "{name}"'

    def lines() -> list[str]:
        printed = log.read_text(errors="replace").splitlines()
        return [line for line in printed if transaction in line and line[-1] == "}"]

    _await(lambda: bool(lines()))
    alert: dict[str, object] = json.loads(lines()[0])
    return alert


@pytest.mark.parametrize("name", sorted(read_references()))
def test_an_archive_has_the_reference_of_dist(images: dict[str, Image], name: str) -> None:
    """The node finds an image by exactly this name, or asks a registry."""
    with tarfile.open(images[name].archive) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        [image] = json.load(manifest)
    assert image["RepoTags"] == [read_references()[name]]


def test_nothing_is_built_twice(images: dict[str, Image]) -> None:
    """A second run should wait for the tests, not for the images."""
    log = io.StringIO()
    start = time.monotonic()
    assert build(log) == images
    assert log.getvalue() == ""
    assert time.monotonic() - start < 2


def test_payment_api_gives_up_on_the_broker_for_ever(empty: Sandbox) -> None:
    """It is why it waits before it starts: the application blocks, then refuses everything."""
    empty.start("payment-api", instead=RECIPES["payment-api"].command)
    _await(lambda: "No topic yet, attempt 2 of 10" in empty.log("payment-api").read_text())
    assert _get(empty, "http://payment-api:8000/health")[0] == 0
    _await(lambda: _get(empty, "http://payment-api:8000/health")[0] == 200)
    transaction = _transaction("lost", 1)
    assert _get(empty, "http://payment-api:8000/transaction", transaction)[0] == 503


def test_alert_monitor_serves_without_redis(empty: Sandbox) -> None:
    """Like the application: its probes pass, and it reconnects when Redis starts."""
    empty.start("alert-monitor")
    _await(lambda: _get(empty, "http://alert-monitor:8080/")[0] == 200)
    empty.start("redis")
    _await(lambda: "Connected to redis:6379" in empty.log("alert-monitor").read_text())


def test_the_probes_tell_a_loading_redis_from_a_dead_one(empty: Sandbox) -> None:
    """Killed while loading, it would restart for ever; given clients, it would refuse them."""
    empty.start("redis")
    _await(lambda: empty.succeeds("redis", "bash", "/etc/redis/ready.sh"))
    fill = "for number in {1..20000}; do echo LPUSH fraud_alerts $number; done | redis-cli"
    empty.run("redis", "bash", "-c", fill)
    empty.kill("redis")
    assert not empty.succeeds("redis", "bash", "/etc/redis/alive.sh")
    # 1 ms per entry, so 20 s in all; it answers after every 1024 entries.
    empty.start("redis", "--key-load-delay", "1000")
    _await(lambda: empty.succeeds("redis", "bash", "/etc/redis/alive.sh"))
    assert not empty.succeeds("redis", "bash", "/etc/redis/ready.sh")
    _await(lambda: empty.succeeds("redis", "bash", "/etc/redis/ready.sh"))


def test_the_stand_in_for_redpanda_refuses_what_it_does_not_know(empty: Sandbox) -> None:
    """A command line that it silently ignored would prove nothing."""
    process = empty.start("redpanda", "--mode=dev-container")
    assert process.wait(60) == 2
    assert "does not know this command line" in empty.log("redpanda").read_text()


@pytest.fixture
def full_volume(tmp_path: Path) -> Iterator[None]:
    """A checkpoint volume without space, in place of that of the empty sandbox."""
    volume = tmp_path / "flink-checkpoints"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", volume], check=True)
    try:
        subprocess.run(["dd", "if=/dev/zero", f"of={volume}/filler"], check=False)
        yield
    finally:
        subprocess.run(["umount", "--lazy", volume], check=True)


@pytest.mark.usefixtures("full_volume")
def test_a_full_checkpoint_volume_does_not_stop_the_job(empty: Sandbox) -> None:
    """By default the first checkpoint that fails ends the job, and each restart of it."""
    empty.start("flink-jobmanager", container="jobmanager")
    empty.start("flink-jobmanager", container="taskmanager")
    log = empty.log("flink-jobmanager")
    _await(lambda: log.read_text().count("Could not finalize the pending checkpoint") > 1)
    assert empty.succeeds("flink-jobmanager", "python3", "/etc/flink/ready.py")
    assert "switched from state RUNNING" not in log.read_text()


def test_the_topic_script_may_run_twice(system: Sandbox) -> None:
    """It runs at every start of Flink."""
    log = system.run("flink-jobmanager", container="ensure-topic")
    assert "Topic transactions is as configured" in log


def test_the_prober_becomes_ready(system: Sandbox) -> None:
    """It is dist/dev's own proof of the whole chain."""
    system.start("prober")
    _await(lambda: _get(system, "http://prober:8001/ready")[0] == 200)


def test_an_invalid_transaction_is_refused(system: Sandbox) -> None:
    """The application refuses it, too."""
    transaction = _transaction("free", 0)
    assert _get(system, "http://payment-api:8000/transaction", transaction)[0] == 422


def test_the_job_resumes_where_it_was(system: Sandbox) -> None:
    """After a SIGKILL of the JobManager no history is lost and nothing is skipped."""
    url = "http://payment-api:8000/transaction"
    for name, amount in (("first", 1e6), ("second", 3e6), ("third", 1e6)):
        assert _get(system, url, _transaction(name, amount))[0] == 202
        # Two transactions in flight may arrive in any order.
        before = _alert(system, name)
    assert (before["count"], before["mean"]) == (2, 2e6)
    # Wait until the third is in a checkpoint.
    checkpoints = _checkpoints(system)
    _await(lambda: _checkpoints(system) > checkpoints + 1)
    system.kill("flink-jobmanager")
    assert _get(system, url, _transaction("meanwhile", 1e6))[0] == 202
    system.start("flink-jobmanager")
    _await(lambda: system.succeeds("flink-jobmanager", "python3", "/etc/flink/ready.py"))
    assert _alert(system, "meanwhile")["count"] == 3
