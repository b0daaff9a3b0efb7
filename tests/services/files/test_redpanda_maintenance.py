"""A stopping broker hands over its partitions, and a starting one leads partitions again."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from repository import SERVICE_FILES
from serving import serving

FILES = SERVICE_FILES / "redpanda"
NODE = ("GET", "/v1/node_config")
DRAIN = ("PUT", "/v1/brokers/7/maintenance")
UNDRAIN = ("DELETE", "/v1/brokers/7/maintenance")
STATE = ("GET", "/v1/maintenance")

Answer = tuple[int, str]

IDLE = (200, '{"draining": false}')
DRAINING = (200, '{"draining": true, "finished": false, "partitions": 9}')
DRAINED = (200, '{"draining":true,"finished":true,"errors":false}')

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None, reason="needs curl, which the redpanda image has"
)


class Admin(ThreadingHTTPServer):
    """The admin API of broker 7 with scripted answers; the last answer repeats."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], Sequence[Answer]] = {
            NODE: [(200, '{"data_directory": "/data", "node_id": 7, "rack": null}')]
        }
        self.requests: list[tuple[str, str]] = []

    def answer(self, request: tuple[str, str]) -> Answer:
        """Return the next scripted answer, or 500 if there is none."""
        self.requests.append(request)
        answers = self.answers.get(request, [(500, "")])
        return answers[min(self.requests.count(request), len(answers)) - 1]


class _Handler(BaseHTTPRequestHandler):
    server: Admin

    def _answer(self) -> None:
        status, body = self.server.answer((self.command, self.path))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = do_DELETE = _answer  # noqa: N815 -- the names that http.server calls

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@pytest.fixture
def admin() -> Iterator[Admin]:
    """A running admin API."""
    with Admin() as server, serving(server):
        yield server


class Hooks:
    """The hooks, run with a `sleep` that only counts."""

    def __init__(self, folder: Path, address: str) -> None:
        self.env = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "ADMIN_API": address,
            "DRAIN_SECONDS": "20",
            "UNDRAIN_SECONDS": "20",
        }
        sleep = folder / "sleep"
        sleep.write_text("#!/bin/sh\n")
        sleep.chmod(0o755)

    def run(self, name: str) -> str:
        """Run one hook, which must succeed, and return its output."""
        command = ["bash", str(FILES / name)]
        done = subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout


@pytest.fixture
def hooks(tmp_path: Path, admin: Admin) -> Hooks:
    """The hooks of the broker with that admin API."""
    return Hooks(tmp_path, f"127.0.0.1:{admin.server_port}")


def test_a_drain_waits_until_the_broker_leads_nothing(admin: Admin, hooks: Hooks) -> None:
    """If it returned earlier, the broker would stop while it still serves clients."""
    admin.answers |= {DRAIN: [(200, "")], STATE: [DRAINING, DRAINING, DRAINED]}
    assert "Broker 7 has handed over all its partitions" in hooks.run("drain.sh")
    assert admin.requests == [NODE, DRAIN, STATE, STATE, STATE]


def test_a_drain_that_has_not_begun_is_not_taken_for_finished(admin: Admin, hooks: Hooks) -> None:
    """Right after the request the broker still reports that it does not drain."""
    admin.answers |= {DRAIN: [(200, "")], STATE: [IDLE, IDLE, DRAINING, DRAINED]}
    hooks.run("drain.sh")
    assert admin.requests.count(STATE) == 4


def test_a_cancelled_drain_ends(admin: Admin, hooks: Hooks) -> None:
    """If somebody ends the maintenance mode, there is nothing to wait for."""
    admin.answers |= {DRAIN: [(200, "")], STATE: [DRAINING, IDLE]}
    hooks.run("drain.sh")
    assert admin.requests.count(STATE) == 2


def test_a_drain_waits_for_its_turn(admin: Admin, hooks: Hooks) -> None:
    """Only one broker may be in maintenance mode; the cluster refuses the next with 400."""
    admin.answers |= {DRAIN: [(400, ""), (400, ""), (200, "")], STATE: [DRAINED]}
    hooks.run("drain.sh")
    assert admin.requests.count(DRAIN) == 3


def test_a_broker_that_left_the_cluster_is_not_drained(admin: Admin, hooks: Hooks) -> None:
    """The request would be refused for ever."""
    admin.answers |= {DRAIN: [(404, "")]}
    assert "no longer a member" in hooks.run("drain.sh")
    assert admin.requests == [NODE, DRAIN]


def test_a_broker_that_does_not_answer_is_not_drained(hooks: Hooks) -> None:
    """A crashed broker leads nothing, and its replacement must not wait."""
    hooks.env["ADMIN_API"] = "127.0.0.1:1"
    assert "does not answer" in hooks.run("drain.sh")


def test_a_state_that_cannot_be_read_is_asked_for_again(admin: Admin, hooks: Hooks) -> None:
    """One failed answer must not end the drain."""
    admin.answers |= {DRAIN: [(200, "")], STATE: [DRAINING, (500, DRAINED[1]), DRAINED]}
    hooks.run("drain.sh")
    assert admin.requests.count(STATE) == 3


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({DRAIN: [(400, "")]}, "was refused with status 400"),
        ({DRAIN: [(200, "")], STATE: [DRAINING]}, "still handing over"),
    ],
)
def test_a_drain_gives_up_in_time(
    admin: Admin, hooks: Hooks, answers: dict[tuple[str, str], Sequence[Answer]], reason: str
) -> None:
    """It must never fail, and leave the broker time for its own stop."""
    admin.answers |= answers
    hooks.env["DRAIN_SECONDS"] = "0"
    output = hooks.run("drain.sh")
    assert "Not drained within 0 s" in output
    assert reason in output


@pytest.mark.parametrize("status", [200, 400])
def test_a_started_broker_leaves_maintenance_mode(admin: Admin, hooks: Hooks, status: int) -> None:
    """The mode outlives the restart; status 400 means that the broker was not in it."""
    admin.answers |= {UNDRAIN: [(status, "")]}
    assert hooks.run("undrain.sh") == ""
    assert admin.requests == [NODE, UNDRAIN]


def test_a_starting_broker_is_waited_for(admin: Admin, hooks: Hooks) -> None:
    """A broker has no id before it joins, and without a quorum its mode cannot change."""
    admin.answers[NODE] = [(503, ""), (200, '{"node_id": null}'), (200, '{"node_id": 7}')]
    admin.answers[UNDRAIN] = [(404, ""), (503, ""), (200, "")]
    hooks.run("undrain.sh")
    assert admin.requests.count(UNDRAIN) == 3


def test_a_broker_that_does_not_join_is_not_waited_for_for_ever(hooks: Hooks) -> None:
    """The probes start only after the hook, and a failed hook restarts the broker."""
    hooks.env |= {"ADMIN_API": "127.0.0.1:1", "UNDRAIN_SECONDS": "0"}
    assert "Still in maintenance mode after 0 s" in hooks.run("undrain.sh")
