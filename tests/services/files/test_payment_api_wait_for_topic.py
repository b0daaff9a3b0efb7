"""payment-api starts only when the topic of the platform exists, at every start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from repository import SERVICE_FILES

SCRIPT = SERVICE_FILES / "payment_api/wait_for_topic.py"

KAFKA = '''
"""A stand-in for kafka-python: each attempt to list the topics has the next planned result.

It offers nothing but the list, so that asking for a topic by name, which may create it, fails.
"""

import json
import signal
import time
from pathlib import Path

from kafka.errors import KafkaError

folder = Path(__file__).parents[1]
plan = json.loads((folder / "plan.json").read_text())
seen = {"brokers": [], "closed": 0, "pauses": 0}
hold = time.sleep
limit = 0


def note():
    (folder / "seen.json").write_text(json.dumps(seen))


def pause(seconds):
    assert seconds > 0
    assert limit == 0, "the alarm would end the pause"
    seen["pauses"] += 1
    note()


def alarm(seconds):
    global limit
    limit = seconds


time.sleep = pause
signal.alarm = alarm


class KafkaConsumer:
    def __init__(self, *, bootstrap_servers):
        seen["brokers"].append(bootstrap_servers)
        note()
        self.plan = plan.pop(0)
        if self.plan == "down":
            raise KafkaError("NoBrokersAvailable")

    def topics(self):
        if self.plan == "lost":
            raise KafkaError("connection lost")
        if self.plan == "hangs":
            assert limit > 0, "nothing would end this"
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            hold(60)
        return set(self.plan)

    def close(self):
        seen["closed"] += 1
        note()
'''


class Waiting:
    """The script, with the stand-in for kafka-python."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "kafka").mkdir()
        (folder / "kafka/__init__.py").write_text(KAFKA)
        (folder / "kafka/errors.py").write_text("class KafkaError(RuntimeError):\n    pass\n")

    def run(self, *plan: str | list[str]) -> list[str]:
        """Run it with the result of each attempt, and return the lines that it logs."""
        with self.start(*plan) as process:
            output, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
        *lines, last = output.splitlines()
        assert last == "the server"
        return lines

    def start(self, *plan: str | list[str]) -> "subprocess.Popen[str]":
        """Start it with the result of each attempt."""
        (self._folder / "plan.json").write_text(json.dumps(plan))
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), "echo", "the server"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(self._folder),
                "KAFKA_BROKER": "redpanda:9093",
                "TRANSACTIONS_TOPIC": "transactions",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def seen(self) -> dict[str, Any]:
        """Return the requests of the script to kafka-python."""
        seen: dict[str, Any] = json.loads((self._folder / "seen.json").read_text())
        return seen


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    """The script, ready to run."""
    return Waiting(tmp_path)


def test_it_becomes_the_server_when_the_topic_exists(waiting: Waiting) -> None:
    """A later restart of payment-api is not delayed."""
    assert waiting.run(["transactions"]) == ["The topic transactions exists."]
    assert waiting.seen == {"brokers": [["redpanda:9093"]], "closed": 1, "pauses": 0}


def test_it_waits_for_the_broker(waiting: Waiting) -> None:
    """Without the broker payment-api has no producer and refuses everything for ever."""
    lines = waiting.run("down", "down", ["transactions"])
    assert lines == [
        "The broker redpanda:9093 does not answer yet: KafkaError('NoBrokersAvailable')",
        "The topic transactions exists.",
    ]
    assert waiting.seen["pauses"] == 2


def test_it_waits_for_the_topic(waiting: Waiting) -> None:
    """Without the topic payment-api creates a lesser one; another topic does not help."""
    lines = waiting.run([], ["transactions-old"], ["transactions"])
    assert lines == [
        "The topic transactions does not exist yet.",
        "The topic transactions exists.",
    ]
    assert waiting.seen["pauses"] == 2


def test_it_logs_changes_only(waiting: Waiting) -> None:
    """Hours of waiting must not bury the line with the reason."""
    lines = waiting.run("down", "down", [], [], "down", [], ["transactions"])
    assert [line.removeprefix("The ")[:6] for line in lines] == [
        "broker",
        "topic ",
        "broker",
        "topic ",
        "topic ",
    ]


def test_an_attempt_that_hangs_is_given_up(waiting: Waiting) -> None:
    """kafka-python waits for ever for a broker that disappears after the connection."""
    lines = waiting.run("hangs", ["transactions"])
    assert "no answer within 20 s" in lines[0]
    assert lines[-1] == "The topic transactions exists."


def test_every_connection_is_closed(waiting: Waiting) -> None:
    """A container that waits for hours would run out of file descriptors."""
    waiting.run("lost", "hangs", [], ["transactions"])
    assert waiting.seen["closed"] == 4


def test_a_stopped_pod_does_not_wait_on(waiting: Waiting) -> None:
    """The first process of a container ignores the signal by default: a rollout would be slow."""
    with waiting.start(*["down"] * 10000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=30)
        # Not the signal itself, which the first process of a container does not get.
        assert process.returncode == 1
