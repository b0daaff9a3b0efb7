"""dist/dev, really run: it does its job, and no fault loses accepted data."""

import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http import HTTPStatus
from threading import Event, Thread

import pytest

from tests.runtime.observer import NOTICED
from tests.runtime.sync import find
from tests.runtime.system import CHECKPOINTS, CONTAINERS, KINDS, System, commands, transaction

pytestmark = pytest.mark.xdist_group("delivered")

ALL_OF_FLINK = [each for each in CONTAINERS if each[0] == "flink-jobmanager"]
"""They share the memory of a node, and may be killed together."""
REFUSED = "Could not finalize the pending checkpoint"
STOPPED = "switched from state RUNNING"
"""What Flink logs of a checkpoint for which there is no room, and of a job that stops."""
EVERYSEC_SECONDS = 2
"""Redis flushes its log to disk once a second: anything older survives."""
STEPS = {
    "alert-monitor": "connect",
    "flink-jobmanager": "alert",
    "payment-api": "post",
    "redis": "alert",
    "redpanda": "post",
}
"""The step at which the prober fails while a workload is missing."""
OUTAGE_SECONDS = 180
"""After 75 s the liveness probe of `/health` killed payment-api."""
LOAD = 3600
"""Number of transactions: one a second for an hour."""


def test_everything_becomes_ready_without_a_restart(system: System) -> None:
    """A restart points to a wrong probe or a wrong order."""
    assert system.first_restarts == dict.fromkeys(KINDS, 0)


Fault = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def fault(system: System, record_property: Callable[[str, object], None]) -> Fault:
    """Provide a context for a fault: nothing accepted is lost, and what stops is reported.

    What a user posts first is found counted afterwards.
    """

    @contextmanager
    def survived() -> Iterator[None]:
        user = f"user-{time.monotonic_ns()}"
        for amount in (1.0, 2.0):
            system.accept(transaction(user, amount))
        posted = system.wait_for_history(user, posted=2)
        with system.observed(lambda summary: record_property(NOTICED, summary)):
            yield
            system.wait_until_ready()
            system.wait_for_history(user, posted=posted)

    return survived


@pytest.mark.parametrize("workload", KINDS)
def test_nothing_accepted_is_lost_with_a_pod(system: System, fault: Fault, workload: str) -> None:
    """A rollout, a drain or a person ends it; a user's history must go on where it was."""
    with fault():
        system.delete_pod(workload)


@pytest.mark.parametrize(
    "killed",
    [*([each] for each in CONTAINERS), ALL_OF_FLINK],
    ids=lambda killed: "+".join(name for _, name in killed),
)
def test_nothing_accepted_is_lost_with_a_container(
    system: System, fault: Fault, killed: list[tuple[str, str]]
) -> None:
    """A crash asks nobody; a user's history must go on where it was."""
    with fault():
        for workload, name in killed:
            system.kill(workload, name)


def test_nothing_accepted_is_lost_with_a_drained_node(system: System, fault: Fault) -> None:
    """No pod may refuse to go, and each must find all that it had when there is room again."""
    with fault():
        system.drain()


def test_a_full_checkpoint_volume_stops_nothing(system: System, fault: Fault) -> None:
    """By default the first checkpoint that fails restarts the job, and a few of them end it."""

    def logged(text: str) -> int:
        return system.log("flink-jobmanager", "jobmanager").count(text)

    with system.small_volume("flink-jobmanager", CHECKPOINTS) as volume:
        system.wait_until_ready()
        stops = logged(STOPPED)
        with fault():
            filler = volume / "filler"
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], check=False)
            known = logged(REFUSED)
            system.wait(lambda: logged(REFUSED) > known + 1, "no checkpoint failed")
            seen = set(system.checkpoints())
            filler.unlink()
            system.wait(lambda: bool(set(system.checkpoints()) - seen), "no further checkpoint")
        assert logged(STOPPED) == stops


def test_alerts_survive_a_kill_of_redis(system: System) -> None:
    """Unseen alerts exist in Redis alone."""
    user = f"unseen-{time.monotonic_ns()}"
    posted = [transaction(user) for _ in range(5)]
    with system.without("alert-monitor"):
        for each in posted:
            system.accept(each)
        system.wait(lambda: system.are_unseen(posted), "Redis did not get them")
        time.sleep(EVERYSEC_SECONDS)
        system.kill("redis", "redis")
        system.wait(lambda: system.are_unseen(posted), "the alerts did not come back")
    for each in posted:
        system.wait_for_alert(each)


def test_a_full_redis_keeps_its_alerts(system: System) -> None:
    """It must refuse new alerts; eviction would lose unseen ones."""
    unseen = transaction(f"full-{time.monotonic_ns()}")
    with system.without("alert-monitor"):
        system.accept(unseen)
        system.wait(lambda: system.are_unseen([unseen]), "Redis did not get it")
        size = 1 << 20
        filled = 0
        while "OOM" not in system.redis("SETRANGE", f"filler-{filled}", str(size), "x"):
            filled += 1
        assert system.are_unseen([unseen])
        system.redis("DEL", *(f"filler-{number}" for number in range(filled)))
    system.wait_for_alert(unseen)


def test_no_request_fails_while_payment_api_is_rolled(system: System) -> None:
    """Its clients are payments: each refused one is somebody's purchase."""
    done = Event()
    statuses: list[int] = []

    def post() -> None:
        while not done.is_set():
            statuses.append(system.post(transaction("steady", 1.0)))

    client = Thread(target=post)
    client.start()
    try:
        system.roll("payment-api")
    finally:
        done.set()
        client.join()
    assert len(statuses) > 20
    assert set(statuses) == {HTTPStatus.ACCEPTED}


def test_a_bumped_image_runs(system: System) -> None:
    """A release is another tag of the same repository."""
    deployment = find("Deployment", "payment-api")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    image = f"{container['image'].rpartition(':')[0]}:{'1' * 40}"
    system.node.tag_image(container["image"], image)
    container["image"] = image
    system.deliver(deployment)
    sent = transaction("bumped")
    system.accept(sent)
    system.wait_for_alert(sent)
    system.deliver()


def test_no_memory_limit_is_hit_under_load(system: System) -> None:
    """The load is an hour of everyday traffic, as fast as it is accepted."""
    containers = {each: system.container(*each) for each in CONTAINERS}
    for number in range(LOAD):
        system.accept(transaction(f"user-{number % 50}", 1.0 + number % 7))
    last = transaction("user-0")
    system.accept(last)
    assert system.wait_for_alert(last)["count"] >= LOAD // 50
    # A killed container would have another id now.
    assert {each: system.container(*each) for each in CONTAINERS} == containers
    failures = {each: system.node.memory_failures(own) for each, own in containers.items()}
    assert failures == dict.fromkeys(CONTAINERS, 0)


@pytest.mark.parametrize("workload", STEPS)
def test_the_prober_names_a_broken_link(system: System, workload: str) -> None:
    """Health tells whether detection works, and the log where to look first."""
    with system.probed_often(), system.without(workload):
        assert f"failed: {STEPS[workload]}: " in system.wait_for_failed_probe()


def test_payment_api_survives_a_broker_outage_under_load(system: System, fault: Fault) -> None:
    """It answered 503 for ever: killed while requests hung, it started again without a broker."""
    done = Event()

    def post() -> None:
        while not done.wait(0.1):
            Thread(target=system.post, args=[transaction("hurried", 1.0)], daemon=True).start()

    before = system.container("payment-api", "payment-api")
    client = Thread(target=post)
    client.start()
    try:
        with fault(), system.without("redpanda"):
            time.sleep(OUTAGE_SECONDS)
    finally:
        done.set()
        client.join()
    assert system.container("payment-api", "payment-api") == before


def test_payment_api_waits_for_the_broker_after_a_restart(system: System) -> None:
    """Kubernetes does not repeat the init containers of a container that it restarts."""
    with system.without("redpanda"):
        system.kill("payment-api", "payment-api")
        system.wait(
            lambda: "does not answer yet" in system.log("payment-api"), "payment-api does not wait"
        )
    system.wait_until_ready()
    sent = transaction("restarted")
    system.accept(sent)
    system.wait_for_alert(sent)


def test_poison_stops_the_job_until_it_is_skipped(system: System, fault: Fault) -> None:
    """The commands of the runbook bring the job back, with its state."""
    with fault():
        # What was counted later is forgotten: the commands delete it from the topic.
        system.wait_for_checkpoint()
        # As JSON: infinity, which payment-api accepts and the job's schema does not.
        system.accept({**transaction("poisoner"), "amount": float("inf")})
        system.wait(lambda: not system.is_ready("flink-jobmanager"), "the job did not stop")
        for script in commands("runbooks/poison-message.md"):
            system.follow(script)
        # The job skips what is posted until it restarts, and may be ready for a moment before that.
        system.wait_for_detection()


def test_a_snapshot_of_redis_comes_back(system: System) -> None:
    """The commands of docs/backup.md are typed on the day when data is lost."""
    back_up, come_back = commands("backup.md", "## Redis\n")
    unseen = transaction("saved")
    with system.without("alert-monitor"):
        system.accept(unseen)
        system.wait(lambda: system.are_unseen([unseen]), "Redis did not get it")
        system.follow(back_up)
        system.redis("DEL", "fraud_alerts")
        system.follow(come_back)
        system.wait(lambda: system.are_unseen([unseen]), "the alert did not come back")


def test_a_checkpoint_of_flink_comes_back(system: System) -> None:
    """The history of each user is in checkpoints alone."""
    back_up, come_back = commands("backup.md", "## Flink\n")
    user = f"saved-{time.monotonic_ns()}"
    system.accept(transaction(user, 1.0))
    posted = system.wait_for_history(user, posted=1)
    system.wait_for_checkpoint()
    system.follow(back_up)
    with tarfile.open(system.node.state / "checkpoint.tar") as backup:
        saved = f"resuming from /checkpoints/{backup.getnames()[0]},"
    system.lose_checkpoints()
    system.wait_until_ready()

    def has_come_back() -> bool:
        system.follow(come_back)
        log = partial(system.log, "flink-jobmanager", "jobmanager")
        system.wait(lambda: "jobmanager.sh: " in log(), "Flink did not start")
        return saved in log()

    # A checkpoint of the running job may come in between.
    system.wait(has_come_back, "Flink did not resume from the backup")
    system.wait_until_ready()
    system.wait_for_history(user, posted=posted)
