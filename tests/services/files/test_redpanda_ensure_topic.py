"""The topic script creates the configured topic from any initial state."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from repository import SERVICE_FILES

pytestmark = pytest.mark.slow

SCRIPT = SERVICE_FILES / "redpanda/ensure-topic.sh"

RPK = '''
"""A stand-in for `rpk topic`: its arguments, output and exit codes, over a cluster in a file."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

cluster_file = Path(__file__).with_name("cluster.json")
cluster = json.loads(cluster_file.read_text())

parser = argparse.ArgumentParser()
commands = parser.add_subparsers(dest="group").add_parser("topic").add_subparsers(dest="command")
describe = commands.add_parser("describe")
describe.add_argument("topic")
describe.add_argument("-s", "--print-summary", action="store_true")
describe.add_argument("-c", "--print-configs", action="store_true")
create = commands.add_parser("create")
create.add_argument("topic")
create.add_argument("-p", "--partitions", type=int)
create.add_argument("-r", "--replicas", type=int)
add = commands.add_parser("add-partitions")
add.add_argument("topic")
add.add_argument("-n", "--num", type=int)
alter = commands.add_parser("alter-config")
alter.add_argument("topic")
alter.add_argument("-s", "--set")
if cluster["asks"]:
    alter.add_argument("--no-confirm", action="store_true")
arguments = parser.parse_args()

cluster["calls"].append(arguments.command)
assert os.environ["RPK_BROKERS"] == "redpanda:9093"
assert arguments.topic == "transactions"


def leave(status, *lines):
    cluster_file.write_text(json.dumps(cluster))
    print(*lines, sep="\\n")
    sys.exit(status)


def table(error=None):
    leave(1 if error else 0, "TOPIC         STATUS", f"transactions  {error or 'OK'}")


if cluster["hangs"]:
    cluster_file.write_text(json.dumps(cluster))
    time.sleep(60)
if cluster["down"]:
    cluster["down"] -= 1
    leave(1, "unable to request topic metadata: unable to dial: connection refused")
if arguments.command == "describe":
    if not cluster["partitions"]:
        error = "UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."
        leave(0, "NAME        transactions", "PARTITIONS  0", f"ERROR       {error}")
    leave(
        0,
        "NAME        transactions",
        f"PARTITIONS  {cluster['partitions']}",
        f"REPLICAS    {cluster['replicas']}",
        "",
        "CONFIGS",
        "=======",
        "KEY                   VALUE       SOURCE",
        *(f"{key}  {value}  DYNAMIC_TOPIC_CONFIG" for key, value in cluster["configs"].items()),
    )
if arguments.command == "create":
    if cluster["rival"]:
        cluster.update(partitions=1, replicas=1)
        table("TOPIC_ALREADY_EXISTS: Topic with this name already exists.")
    if arguments.replicas > cluster["brokers"]:
        table("INVALID_REPLICATION_FACTOR: Replication factor is below 1 or larger than the number")
    cluster.update(partitions=arguments.partitions, replicas=arguments.replicas)
elif arguments.command == "add-partitions":
    cluster["partitions"] += arguments.num
elif cluster["asks"] and not arguments.no_confirm:
    leave(1, "Confirm? EOF")
elif cluster["alters"]:
    key, value = arguments.set.split("=")
    if key == "replication.factor":
        cluster["replicas"] = int(value)
    else:
        cluster["configs"][key] = int(value)
table()
'''


class Cluster:
    """A cluster of three brokers without the topic, which a test changes before the script runs."""

    def __init__(self, folder: Path) -> None:
        self.state: dict[str, Any] = {
            "brokers": 3,
            "partitions": 0,
            "replicas": 0,
            "configs": {"retention.bytes": 1000, "max.retention.bytes": 5, "segment.bytes": 10},
            "down": 0,  # that many calls fail
            "hangs": False,  # no call returns
            "rival": False,  # somebody else creates the topic just before the script does
            "alters": True,  # altering has an effect
            "asks": False,  # altering asks first, as newer versions of rpk do
            "calls": [],
        }
        self.env = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "RPK_BROKERS": "redpanda:9093",
            "TOPIC": "transactions",
            "PARTITIONS": "6",
            "REPLICAS": "3",
            "TOPIC_CONFIG": "retention.bytes=1000 segment.bytes=10",
        }
        self._folder = folder
        (folder / "rpk.py").write_text(RPK)
        # A shebang cannot hold the path of an interpreter with a space in it.
        self._program("rpk", f'#!/bin/sh\nexec "{sys.executable}" -IS "{folder}/rpk.py" "$@"\n')
        self._program("sleep", "#!/bin/sh\n")

    def _program(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
        (self._folder / name).chmod(0o755)

    def shorten_timeouts(self) -> None:
        """Make commands under `timeout` end after a tenth of a second."""
        self._program("timeout", f'#!/bin/sh\nshift 2\nexec {shutil.which("timeout")} 0.1 "$@"\n')

    def ensure(self) -> subprocess.CompletedProcess[str]:
        """Run the script and read the resulting state of the cluster."""
        file = self._folder / "cluster.json"
        file.write_text(json.dumps(self.state))
        command = ["bash", str(SCRIPT)]
        done = subprocess.run(
            command, env=self.env, check=False, capture_output=True, text=True, timeout=60
        )
        self.state = json.loads(file.read_text())
        return done

    def wait(self, what: str) -> str:
        """Run the script until it logs something, and stop it; return the line."""
        file = self._folder / "cluster.json"
        file.write_text(json.dumps(self.state))
        with subprocess.Popen(
            ["bash", str(SCRIPT)], env=self.env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if what in line)
            process.terminate()
            assert process.wait(60) == 1
        return line

    @property
    def layout(self) -> tuple[int, int]:
        """Return the partitions and the replicas."""
        return self.state["partitions"], self.state["replicas"]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """A cluster without the topic."""
    return Cluster(tmp_path)


def test_a_missing_topic_is_created(cluster: Cluster) -> None:
    """The layout is that of the platform, not the single partition of the application."""
    assert cluster.ensure().returncode == 0
    assert cluster.layout == (6, 3)
    assert cluster.state["calls"] == ["describe", "create", "describe"]


def test_a_topic_as_configured_is_left_alone(cluster: Cluster) -> None:
    """It runs at every start of Flink; the second run must change nothing."""
    cluster.ensure()
    cluster.state["calls"] = []
    assert cluster.ensure().returncode == 0
    assert cluster.state["calls"] == ["describe"]


def test_missing_partitions_are_added(cluster: Cluster) -> None:
    """More TaskManagers than partitions would have nothing to read."""
    cluster.state |= {"partitions": 2, "replicas": 3}
    assert cluster.ensure().returncode == 0
    assert cluster.layout == (6, 3)


def test_too_many_partitions_stay(cluster: Cluster) -> None:
    """Kafka cannot remove partitions; that is worth a message but must not stop detection."""
    cluster.state |= {"partitions": 9, "replicas": 3}
    done = cluster.ensure()
    assert done.returncode == 0
    assert cluster.layout == (9, 3)
    assert "9 partitions with 3 replicas each; 6 are configured" in done.stdout


@pytest.mark.parametrize("replicas", [1, 5])
def test_the_number_of_replicas_is_changed(cluster: Cluster, replicas: int) -> None:
    """A topic with one replica is lost with its broker."""
    cluster.state |= {"partitions": 6, "replicas": replicas}
    assert cluster.ensure().returncode == 0
    assert cluster.layout == (6, 3)


@pytest.mark.parametrize("retention", [-1, 500, 10000])
def test_its_settings_are_changed(cluster: Cluster, retention: int) -> None:
    """Without a limit in bytes the topic fills the volumes, and then nobody can produce."""
    cluster.state |= {"partitions": 6, "replicas": 3}
    cluster.state["configs"] |= {"retention.bytes": retention, "max.retention.bytes": 1000}
    assert cluster.ensure().returncode == 0
    assert cluster.state["configs"]["retention.bytes"] == 1000


def test_a_setting_that_is_refused_is_reported(cluster: Cluster) -> None:
    """The message names it."""
    cluster.state |= {"partitions": 6, "replicas": 3, "alters": False, "configs": {}}
    cluster.wait("it lacks retention.bytes=1000, and rpk topic alter-config answered")


def test_a_version_that_asks_for_confirmation_gets_the_flag(cluster: Cluster) -> None:
    """Nobody is there to answer a question, and older versions refuse the flag."""
    cluster.state |= {"partitions": 6, "replicas": 1, "asks": True}
    assert cluster.ensure().returncode == 0
    assert cluster.layout == (6, 3)


def test_a_topic_that_somebody_else_creates_at_that_moment_is_adjusted(cluster: Cluster) -> None:
    """The fallback of payment-api can win the race; its layout must not stay."""
    cluster.state["rival"] = True
    assert cluster.ensure().returncode == 0
    assert cluster.layout == (6, 3)


def test_brokers_that_are_not_up_yet_are_waited_for(cluster: Cluster) -> None:
    """Each reason to wait is logged once, not in every round."""
    cluster.state["down"] = 4
    done = cluster.ensure()
    assert done.returncode == 0
    assert cluster.layout == (6, 3)
    assert done.stdout.count("do not answer: unable to request topic metadata") == 1


def test_it_waits_for_brokers_without_end_but_not_when_it_is_stopped(cluster: Cluster) -> None:
    """A container that gives up is started later each time; one that hears no signal stays."""
    cluster.state["down"] = 10**6
    assert cluster.wait("the brokers") == (
        "Topic transactions: the brokers at redpanda:9093 do not answer: unable to request topic "
        "metadata: unable to dial: connection refused\n"
    )


def test_a_call_that_hangs_is_given_up(cluster: Cluster) -> None:
    """Rpk has no time limit of its own."""
    cluster.state["hangs"] = True
    cluster.shorten_timeouts()
    assert "do not answer" in cluster.wait("brokers")


def test_the_reason_of_the_brokers_is_logged(cluster: Cluster) -> None:
    """There cannot be more replicas than brokers."""
    cluster.state["brokers"] = 1
    line = cluster.wait("it does not exist, and rpk topic create answered: ")
    assert "INVALID_REPLICATION_FACTOR" in line


@pytest.mark.parametrize("lacking", [{"replicas": 1}, {"configs": {}}], ids="".join)
def test_what_never_takes_effect_does_not_stop_detection(
    cluster: Cluster, lacking: dict[str, Any]
) -> None:
    """The job needs the partitions only; a broker that is down may hold back all the rest."""
    cluster.state |= {"partitions": 6, "replicas": 3, "alters": False, **lacking}
    done = cluster.ensure()
    assert done.returncode == 0
    assert "Topic transactions can be read, but is not as configured: it " in done.stderr


def test_an_answer_is_not_taken_for_its_effect(cluster: Cluster) -> None:
    """Replicas are moved after the answer: only the next round shows them."""
    cluster.state |= {"partitions": 6, "replicas": 1, "alters": False}
    cluster.wait("it has 6 partitions with 1 replicas each, and rpk topic alter-config")
