"""The configuration and the probes with a real Redis."""

import os
import shutil
import signal

import pytest

from redis_server import Redis, needs_redis

pytestmark = needs_redis


def test_it_refuses_alerts_rather_than_lose_some_when_its_memory_is_full(redis: Redis) -> None:
    """Flink gets the error, and the alerts that nobody has seen are still there."""
    redis.start("--maxmemory", "4mb")
    answer = redis.push("the first alert")
    count = 0
    while answer.isdigit():
        count = int(answer)
        answer = redis.push(*["x" * 10_000] * 10)
    assert answer.startswith("OOM")
    assert redis.ask("llen", "fraud_alerts") == str(count)
    assert redis.ask("lpop", "fraud_alerts") == "the first alert"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_alerts_survive_a_restart(redis: Redis, how: signal.Signals) -> None:
    """This holds for a kill as well as for a clean stop."""
    redis.start()
    redis.push("a", "b", "c")
    # The append-only file is written before the answer; only its way to the disk takes a second.
    redis.stop(how)
    redis.start()
    assert redis.alerts() == ["a", "b", "c"]


def test_half_a_command_at_the_end_of_the_log_does_not_keep_it_down(redis: Redis) -> None:
    """A node that loses power leaves such a file."""
    redis.start()
    redis.push("a")
    redis.push("b")
    redis.stop(signal.SIGKILL)
    [log] = redis.data.glob("appendonlydir/*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    redis.start()
    assert redis.alerts() == ["a"]


def test_a_server_that_serves_is_ready_and_alive(redis: Redis) -> None:
    """This is the normal state."""
    redis.start()
    assert redis.probe("ready.sh")
    assert redis.probe("alive.sh")


def test_a_server_that_loads_is_alive_and_not_ready(redis: Redis) -> None:
    """A large file loads slowly, as here: a Redis killed for that would never come up."""
    redis.start()
    redis.ask("mset", *[text for n in range(1000) for text in (f"key{n}", "x" * 1024)])
    redis.stop(signal.SIGTERM)
    shutil.rmtree(redis.data / "appendonlydir")
    slowly = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]
    redis.launch("--appendonly", "no", *slowly)
    redis.await_answer("LOADING")
    assert not redis.probe("ready.sh")
    assert redis.probe("alive.sh")
    assert redis.ask("ping").startswith("LOADING")


def test_a_server_that_is_down_is_neither_ready_nor_alive(redis: Redis) -> None:
    """Without a server there is no answer."""
    assert not redis.probe("ready.sh")
    assert not redis.probe("alive.sh")


def test_a_full_volume_kills_nobody(redis: Redis) -> None:
    """A Redis that is left alone serves again as soon as there is room; a killed one cannot."""
    redis.start()
    redis.push("a")
    redis.limit_files(1)
    # Redis notices only when it writes.
    redis.push("b")
    redis.await_answer("MISCONF")
    assert redis.probe("alive.sh")
    assert not redis.probe("ready.sh")
    redis.limit_files(-1)
    redis.await_answer("PONG")
    assert redis.alerts()[0] == "a"


def test_it_stops_when_asked_although_its_volume_is_full(redis: Redis) -> None:
    """Otherwise each rollout waits for the whole grace period, and then kills it."""
    redis.start()
    redis.push("a")
    redis.limit_files(1)
    # Redis notices only when it writes.
    redis.push("b")
    redis.await_answer("MISCONF")
    assert redis.stop(signal.SIGTERM) == 0
