"""dist/dev, really run: full and damaged volumes stop nothing for good, and backups come back."""

import shutil
import tarfile
import time
from functools import partial
from pathlib import Path

from tests.runtime.observer import Survived
from tests.runtime.system import (
    CHECKPOINTS,
    REDIS_DATA,
    TOPIC_DATA,
    System,
    commands,
    filled,
    transaction,
)

REFUSED = "Could not finalize the pending checkpoint"
STOPPED = "switched from state RUNNING"
"""What Flink logs of a checkpoint for which there is no room, and of a job that stops."""
EVERYSEC_SECONDS = 2
"""Redis flushes its log to disk once a second: anything older survives."""
FULL_SECONDS = 75
"""Three failed liveness probes, 20 s apart, kill a container."""
STARTS = 4
JOBS = 4
"""The running one, and those of the three checkpoints that the launcher may fall back to."""


def test_a_full_checkpoint_volume_stops_nothing(system: System, survived: Survived) -> None:
    """By default the first checkpoint that fails restarts the job, and a few of them end it."""

    def logged(text: str) -> int:
        return system.log("flink-jobmanager", "jobmanager").count(text)

    with system.small_volume("flink-jobmanager", CHECKPOINTS) as volume:
        system.wait_until_ready()
        stops = logged(STOPPED)
        with survived("Flink's volume is full during two checkpoints"):
            with filled(volume):
                known = logged(REFUSED)
                system.wait(lambda: logged(REFUSED) > known + 1, "no checkpoint failed")
                seen = set(system.checkpoints())
            system.wait(lambda: bool(set(system.checkpoints()) - seen), "no further checkpoint")
        assert logged(STOPPED) == stops


def test_a_full_volume_does_not_kill_redis(system: System, survived: Survived) -> None:
    """Left alone it serves again as soon as there is room; killed, it cannot start without any."""
    with system.small_volume("redis", REDIS_DATA) as volume:
        system.wait_until_ready()
        before = system.container("redis", "redis")
        with survived("Redis's volume is full for a minute"), filled(volume):
            time.sleep(FULL_SECONDS)
            assert not system.is_ready("redis")
        assert system.container("redis", "redis") == before


def test_a_damaged_log_does_not_keep_redis_down(system: System, survived: Survived) -> None:
    """A node that loses power leaves zeros at its end, which Redis alone refuses for ever."""
    with survived("Redis starts with a damaged log"):
        with system.without("redis"):
            [*_, newest] = sorted(system.volume(REDIS_DATA).glob("appendonlydir/*.incr.aof"))
            with newest.open("ab") as log:
                log.write(bytes(4096))
        system.wait_until_ready()
        assert "start.sh: cut off the damaged end" in system.log("redis")


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


def jobs(system: System) -> set[Path]:
    """Return the folders of all jobs with a complete checkpoint: one for each JobManager."""
    return {checkpoint.parent for checkpoint in system.checkpoints()}


def restart_jobmanager(system: System) -> None:
    """Replace the JobManager, and wait for its first checkpoint."""
    before = jobs(system)
    system.delete_pod("flink-jobmanager")
    system.wait(lambda: bool(jobs(system) - before), "no checkpoint of a new job")


def test_a_corrupt_checkpoint_is_left_behind(system: System, survived: Survived) -> None:
    """Flink itself would retry it for ever."""
    with survived("Flink starts with a corrupt checkpoint"):
        system.wait_for_checkpoint()
        system.checkpoints()[-1].joinpath("_metadata").write_bytes(b"broken")
        restart_jobmanager(system)


def test_the_disk_of_the_checkpoints_is_bounded(system: System) -> None:
    """Each start of the JobManager leaves checkpoints behind; a full disk would stop the job.

    Nothing that a later start needs may be deleted: no transaction may be forgotten.
    """
    user = f"restarts-{time.monotonic_ns()}"
    for _ in range(STARTS):
        system.accept(transaction(user, 1.0))
        restart_jobmanager(system)
    assert len(jobs(system)) <= JOBS
    system.wait_for_history(user, posted=STARTS)


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


def test_the_topic_comes_back(system: System) -> None:
    """Without the transactions nobody knows what was paid, nor Flink what is usual for a user."""
    back_up, come_back = commands("backup.md", "## The topic\n")
    user = f"saved-{time.monotonic_ns()}"
    for amount in (1.0, 2.0):
        system.accept(transaction(user, amount))
    system.follow(back_up)
    with system.without("redpanda"):
        for left in system.volume(TOPIC_DATA).glob("*"):
            shutil.rmtree(left)
    system.follow(come_back)
    system.wait_until_ready()
    system.wait_for_history(user, posted=2)
