"""The launcher of Redis, with a real Redis and every kind of damage to its files."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redis_server import Redis, needs_redis

pytestmark = [pytest.mark.slow, needs_redis]

OLD, NEW = [f"old-{n}" for n in range(50)], [f"new-{n}" for n in range(20)]
"""Alerts in the base of the log and in the snapshot, and those that only the log has."""


@pytest.fixture
def stopped(redis: Redis) -> Redis:
    """A Redis that was killed, with a base and a log behind it, and a snapshot of the base."""
    redis.start("--save", "")
    redis.push(*OLD)
    redis.ask("bgrewriteaof")
    _await_rewrite(redis)
    redis.ask("save")
    for alert in NEW:
        redis.push(alert)
    redis.stop(signal.SIGKILL)
    return redis


def _await_rewrite(redis: Redis) -> None:
    while not list(redis.data.glob("appendonlydir/*.2.base.rdb")):
        assert redis.ask("ping") == "PONG"
    while "aof_rewrite_in_progress:1" in redis.ask("info", "persistence"):
        pass


def _part(redis: Redis, kind: str) -> Path:
    """Return a file of the log: its `base.rdb`, its `incr.aof` or its `manifest`."""
    [found] = redis.data.glob(f"appendonlydir/*{kind}")
    return found


def _overwrite(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(content)


def _zero_the_end(file: Path) -> None:
    size = file.stat().st_size
    os.truncate(file, size - 200)
    os.truncate(file, size)


@pytest.mark.parametrize(
    "damage",
    [
        _zero_the_end,
        lambda file: os.truncate(file, file.stat().st_size - 7),
        lambda file: _overwrite(file, file.stat().st_size, b"\x00" * 4096),
        lambda file: _overwrite(file, file.stat().st_size - 100, b"\xff\x00garbage\r\n" * 9),
        lambda file: _overwrite(file, file.stat().st_size, b"*1\r\n$5\r\nMULTI\r\n"),
    ],
    ids=["zeroed", "cut", "zeros-behind", "garbage", "half-transaction"],
)
def test_a_damaged_end_costs_only_the_end(stopped: Redis, damage: Callable[[Path], None]) -> None:
    """A node that loses power leaves such a log; all that is whole must be served."""
    damage(_part(stopped, ".incr.aof"))
    stopped.start()
    kept = stopped.alerts()
    assert kept == [*OLD, *NEW][: len(kept)]
    assert len(kept) >= len(OLD) + len(NEW) - 8


def test_garbage_in_the_middle_keeps_what_is_before_it(stopped: Redis) -> None:
    """What follows depends on commands that are gone."""
    log = _part(stopped, ".incr.aof")
    _overwrite(log, log.stat().st_size // 2, b"\xff" * 64)
    stopped.start()
    kept = stopped.alerts()
    assert kept == [*OLD, *NEW][: len(kept)]
    assert len(kept) > len(OLD) + len(NEW) // 3


def test_the_damaged_end_is_reported_and_kept(stopped: Redis) -> None:
    """Somebody may still read an alert in it."""
    log = _part(stopped, ".incr.aof")
    whole = log.read_bytes()
    _overwrite(log, len(whole) // 2, b"\xff" * 64)
    damaged = log.read_bytes()
    stopped.start()
    assert "cut off the damaged end of appendonly.aof.2.incr.aof" in stopped.output
    copy = (stopped.data / "damaged" / log.name).read_bytes()
    assert whole[-300:] in copy
    assert damaged.endswith(copy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 0),
        lambda file: os.truncate(file, 30),
        lambda file: file.write_bytes(b"\x00" * 88),
        lambda file: file.write_text("file x seq 1 type y\n"),
        Path.unlink,
    ],
    ids=["empty", "cut", "zeroed", "of-another-kind", "missing"],
)
def test_a_damaged_manifest_costs_nothing(stopped: Redis, damage: Callable[[Path], object]) -> None:
    """It only lists the other files; without it Redis stays down, or starts empty."""
    damage(_part(stopped, ".manifest"))
    (stopped.data / "dump.rdb").unlink()
    stopped.start()
    assert stopped.alerts() == [*OLD, *NEW]


def test_what_a_rewrite_has_replaced_is_not_read_again(stopped: Redis) -> None:
    """Redis deletes the old files after the rewrite; read again, every alert would come twice."""
    log = stopped.data / "appendonlydir"
    for name in ("appendonly.aof.{}.base.rdb", "appendonly.aof.{}.incr.aof"):
        shutil.copy(log / name.format(2), log / name.format(1))
    _part(stopped, ".manifest").unlink()
    stopped.start()
    assert stopped.alerts() == [*OLD, *NEW]


def test_a_manifest_that_was_lost_during_a_rewrite_lists_every_log(stopped: Redis) -> None:
    """Until the new base is there, the old one and both logs are needed."""
    log = stopped.data / "appendonlydir"
    (log / "appendonly.aof.10.incr.aof").write_bytes(
        b"*3\r\n$5\r\nRPUSH\r\n$12\r\nfraud_alerts\r\n$4\r\nlast\r\n"
    )
    _part(stopped, ".manifest").unlink()
    stopped.start()
    assert stopped.alerts() == [*OLD, *NEW, "last"]


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        (".base.rdb", lambda file: os.truncate(file, file.stat().st_size - 100)),
        (".base.rdb", lambda file: os.truncate(file, 0)),
        (".base.rdb", lambda file: _overwrite(file, 150, b"\xff" * 20)),
        (".base.rdb", lambda file: _overwrite(file, 0, b"\x00" * 100)),
        (".base.rdb", Path.unlink),
        (".incr.aof", Path.unlink),
        (".incr.aof", lambda file: file.write_bytes(file.read_bytes().replace(b"rpush", b"rqush"))),
    ],
    ids=[
        "base-cut",
        "base-empty",
        "base-garbage",
        "base-zeroed",
        "base-missing",
        "log-missing",
        "unknown-command",
    ],
)
def test_a_log_beyond_repair_falls_back_to_the_snapshot(
    stopped: Redis, part: str, damage: Callable[[Path], None]
) -> None:
    """The snapshot is there for that; Redis alone stays down, or starts empty and overwrites it."""
    damage(_part(stopped, part))
    stopped.start()
    assert stopped.alerts() == OLD
    assert "starting from the snapshot of" in stopped.output
    assert (stopped.data / "damaged" / "appendonlydir").is_dir()


def test_alerts_after_a_fallback_survive_the_next_crash(stopped: Redis) -> None:
    """The log that begins with a snapshot is a log like any other."""
    _part(stopped, ".base.rdb").unlink()
    stopped.start()
    stopped.push("later")
    stopped.stop(signal.SIGKILL)
    stopped.start()
    assert stopped.alerts() == [*OLD, "later"]


@pytest.mark.parametrize("is_folder_left", [False, True])
def test_a_snapshot_without_a_log_is_loaded(stopped: Redis, *, is_folder_left: bool) -> None:
    """A backup is one file; Redis alone ignores it when it keeps a log."""
    log = stopped.data / "appendonlydir"
    shutil.rmtree(log)
    if is_folder_left:
        log.mkdir()
    stopped.start()
    assert stopped.alerts() == OLD


def test_without_any_whole_file_it_starts_empty(stopped: Redis) -> None:
    """New alerts count more than a system that stays down."""
    _part(stopped, ".base.rdb").unlink()
    (stopped.data / "dump.rdb").write_bytes(b"REDIS0009garbage")
    stopped.start()
    assert stopped.alerts() == []
    assert "the snapshot is damaged, too" in stopped.output
    kept = {each.name for each in (stopped.data / "damaged").iterdir()}
    assert kept == {"appendonlydir", "dump.rdb"}


@pytest.mark.parametrize("part", ["log", "snapshot"])
def test_files_of_a_newer_redis_are_left_alone(stopped: Redis, part: str) -> None:
    """They are whole: the newer version, released again, reads them."""
    base = _part(stopped, ".base.rdb")
    if part == "snapshot":
        _part(stopped, ".base.rdb").unlink()
        base = stopped.data / "dump.rdb"
    _overwrite(base, 0, b"REDIS9999")
    stopped.launch()
    assert stopped.wait() == 1
    assert "was written by a newer Redis" in stopped.output.splitlines()[-1]
    assert base.read_bytes().startswith(b"REDIS9999")


def test_a_wrong_option_costs_no_data(stopped: Redis) -> None:
    """A bad release must not look like damage: the fixed one finds everything."""
    stopped.launch("--maxmemory", "much")
    assert stopped.wait() == 1
    stopped.start()
    assert stopped.alerts() == [*OLD, *NEW]


def test_only_the_last_damage_is_kept(stopped: Redis) -> None:
    """Copies of every damage would fill the volume."""
    (stopped.data / "damaged").mkdir()
    (stopped.data / "damaged" / "old").touch()
    _zero_the_end(_part(stopped, ".incr.aof"))
    stopped.start()
    kept = {each.name for each in (stopped.data / "damaged").iterdir()}
    assert kept == {"appendonly.aof.2.incr.aof"}


def test_a_large_copy_on_a_small_volume_is_deleted(stopped: Redis) -> None:
    """A full volume refuses all new alerts."""
    stopped.replace_program("df", "echo header; echo /dev/x 8 4 4 50% /data")
    _part(stopped, ".base.rdb").unlink()
    stopped.start()
    assert not (stopped.data / "damaged").exists()
    assert "it took more than 1/4 of the volume" in stopped.output


@pytest.mark.parametrize("program", ["mkdir", "tail"])
def test_a_copy_that_cannot_be_written_keeps_nothing_down(stopped: Redis, program: str) -> None:
    """A full volume has no room for it, and may be the very cause of the damage."""
    stopped.replace_program(program, "exit 1")
    _zero_the_end(_part(stopped, ".incr.aof"))
    stopped.start()
    assert len(stopped.alerts()) > len(OLD)
    assert "could not copy the damaged end" in stopped.output


def test_a_whole_log_is_started_at_once(stopped: Redis) -> None:
    """A restart must not cost more than loading the data."""
    stopped.replace_program("redis-check-aof", "exit 1")
    stopped.start()
    assert stopped.alerts() == [*OLD, *NEW]
    assert "start.sh" not in stopped.output
    assert not (stopped.data / "damaged").exists()


def test_a_stop_signal_reaches_redis(stopped: Redis) -> None:
    """The launcher is the first process of the container, the only one that gets the signal."""
    stopped.start()
    assert stopped.stop(signal.SIGTERM) == 0
    assert "Redis is now ready to exit" in stopped.output


def test_a_crash_is_the_container_s_exit_status(redis: Redis) -> None:
    """Kubernetes shows why the container ended, such as 137 for want of memory."""
    redis.start()
    [pid] = [line for line in redis.ask("info", "server").split() if "process_id" in line]
    os.kill(int(pid.partition(":")[2]), signal.SIGKILL)
    assert redis.wait() == 128 + signal.SIGKILL


@given(at=st.floats(0, 1), garbage=st.binary(min_size=1, max_size=64))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_it_starts_after_any_damage_to_the_log(stopped: Redis, at: float, garbage: bytes) -> None:
    """Disks do not choose the places that somebody thought of."""
    whole = stopped.data.with_name("whole")
    if not whole.exists():
        shutil.copytree(stopped.data, whole)
    shutil.rmtree(stopped.data)
    shutil.copytree(whole, stopped.data)
    log = _part(stopped, ".incr.aof")
    _overwrite(log, int(at * (log.stat().st_size - 1)), garbage)
    stopped.start()
    assert int(stopped.ask("llen", "fraud_alerts")) >= len(OLD)
    stopped.stop(signal.SIGKILL)
