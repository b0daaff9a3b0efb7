"""A real Redis, started as its pod starts it."""

import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from repository import SERVICE_FILES

FILES = SERVICE_FILES / "redis"
_SECONDS = 30

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None and not os.environ.get("SKIP_NOTHING"),
    reason="There is no redis-server: run `make test-packages`.",
)


class Redis:
    """A Redis with the launcher and the configuration of the pods, on a socket.

    Args:
        folder: An empty folder; a socket's path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.data = folder / "data"
        self.data.mkdir()
        configuration = (FILES / "redis.conf").read_text(encoding="utf-8")
        (folder / "redis.conf").write_text(configuration.replace("dir /data", f"dir {self.data}"))
        self.replace_program(
            "redis-cli", f'exec {shutil.which("redis-cli")} -s {folder}/socket "$@"'
        )

    def replace_program(self, name: str, body: str) -> None:
        """Let the launcher and the probes run a shell script instead of a program."""
        program = self._folder / name
        program.write_text(f"#!/usr/bin/env bash\n{body}\n")
        program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the launcher and the probes."""
        return {
            "PATH": f"{self._folder}:{os.environ['PATH']}",
            "DATA_DIR": str(self.data),
        }

    @property
    def output(self) -> str:
        """Everything that the launcher and Redis logged."""
        return (self._folder / "log").read_text(errors="replace")

    def launch(self, *options: str) -> None:
        """Start it and return at once."""
        socket = ["--port", "0", "--unixsocket", f"{self._folder}/socket"]
        command = ["bash", f"{FILES}/start.sh", f"{self._folder}/redis.conf", *socket, *options]
        with (self._folder / "log").open("ab") as log:
            # Python ignores SIGXFSZ, and Redis inherits it: a full disk is an error, not a signal.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                restore_signals=False,
            )

    def start(self, *options: str) -> None:
        """Start it and return when it serves."""
        self.launch(*options)
        self.await_answer("PONG")

    def await_answer(self, answer: str) -> None:
        """Return when the answer to a ping begins with this text."""
        give_up_at = time.monotonic() + _SECONDS
        while not self.ask("ping").startswith(answer):
            assert self._process is not None
            assert self._process.poll() is None, self.output
            assert time.monotonic() < give_up_at, self.output
            time.sleep(0.01)

    def wait(self) -> int:
        """Return the exit status of the launcher once it ends by itself."""
        assert self._process is not None
        status = self._process.wait(timeout=_SECONDS)
        self._process = None
        return status

    def stop(self, how: signal.Signals) -> int | None:
        """Stop it if it runs, and return its exit status.

        Only a kill reaches all processes: the kubelet sends other signals to the first one.
        """
        if self._process is None:
            return None
        if self._process.poll() is not None:
            return self.wait()
        if how is signal.SIGKILL:
            os.killpg(self._process.pid, how)
        else:
            self._process.send_signal(how)
        return self.wait()

    def limit_files(self, size: int) -> None:
        """Let no file of Redis grow beyond a size in bytes, as on a full disk; -1 for no limit."""
        [pid] = [line for line in self.ask("info", "server").split() if "process_id" in line]
        limits = (size, resource.RLIM_INFINITY)
        resource.prlimit(int(pid.partition(":")[2]), resource.RLIMIT_FSIZE, limits)

    def ask(self, *command: str) -> str:
        """Send a command; an error is an answer too."""
        cli = [str(self._folder / "redis-cli"), *command]
        done = subprocess.run(cli, check=False, capture_output=True, text=True, timeout=_SECONDS)
        return done.stdout.strip()

    def push(self, *alerts: str) -> str:
        """Append to the list of alerts, as Flink does."""
        return self.ask("rpush", "fraud_alerts", *alerts)

    def alerts(self) -> list[str]:
        """Return the alerts that nobody has taken yet."""
        return self.ask("lrange", "fraud_alerts", "0", "-1").split()

    def probe(self, name: str) -> bool:
        """Return whether a probe succeeds."""
        command = ["bash", str(FILES / name)]
        done = subprocess.run(command, env=self.environment, check=False, timeout=_SECONDS)
        return done.returncode == 0
