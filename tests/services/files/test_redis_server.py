"""The configuration and the probes with a real Redis."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from repository import SERVICE_FILES

FILES = SERVICE_FILES / "redis"

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None and not os.environ.get("SKIP_NOTHING"),
    reason="There is no redis-server: run `make test-packages`.",
)


class Redis:
    """A Redis with the configuration of the pods, on a socket and in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"
        self.data.mkdir()
        configuration = (FILES / "redis.conf").read_text(encoding="utf-8")
        (folder / "redis.conf").write_text(configuration.replace("dir /data", f"dir {self.data}"))
        cli = folder / "redis-cli"
        cli.write_text(f'#!/bin/sh\nexec {shutil.which("redis-cli")} -s {folder}/socket "$@"\n')
        cli.chmod(0o755)

    def start(self, *options: str) -> None:
        """Start it and return when it answers."""
        socket = ["--port", "0", "--unixsocket", f"{self._folder}/socket"]
        command = ["redis-server", f"{self._folder}/redis.conf", *socket, *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up_at = time.monotonic() + 20
        while not self.ask("ping").startswith(("PONG", "LOADING")):
            assert time.monotonic() < give_up_at, (self._folder / "log").read_text()
            time.sleep(0.01)

    def stop(self, how: signal.Signals) -> None:
        """Stop it if it runs."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=20)
            self._process = None

    def ask(self, *command: str) -> str:
        """Send a command; an error is an answer too."""
        cli = [str(self._folder / "redis-cli"), *command]
        done = subprocess.run(cli, check=False, capture_output=True, text=True, timeout=20)
        return done.stdout.strip()

    def push(self, *alerts: str) -> str:
        """Append to the list of alerts, as Flink does."""
        return self.ask("rpush", "fraud_alerts", *alerts)

    def probe(self, name: str) -> bool:
        """Return whether a probe succeeds."""
        env = {"PATH": f"{self._folder}:{os.environ['PATH']}"}
        command = ["bash", str(FILES / name)]
        return subprocess.run(command, env=env, check=False, timeout=20).returncode == 0


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis that is not started; its folder has a short name because of its socket."""
    with TemporaryDirectory() as folder:
        server = Redis(Path(folder))
        yield server
        server.stop(signal.SIGKILL)


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
    assert redis.ask("lrange", "fraud_alerts", "0", "-1").split() == ["a", "b", "c"]


def test_half_a_command_at_the_end_of_the_log_does_not_keep_it_down(redis: Redis) -> None:
    """A node that loses power leaves such a file."""
    redis.start()
    redis.push("a")
    redis.push("b")
    redis.stop(signal.SIGKILL)
    [log] = redis.data.glob("appendonlydir/*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    redis.start()
    assert redis.ask("lrange", "fraud_alerts", "0", "-1") == "a"


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
    redis.start("--appendonly", "no", *slowly)
    assert redis.ask("ping").startswith("LOADING")
    assert not redis.probe("ready.sh")
    assert redis.probe("alive.sh")
    assert redis.ask("ping").startswith("LOADING")


def test_a_server_that_is_down_is_neither_ready_nor_alive(redis: Redis) -> None:
    """Without a server there is no answer."""
    assert not redis.probe("ready.sh")
    assert not redis.probe("alive.sh")
