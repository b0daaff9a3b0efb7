"""The commands of docs/access.md, for whoever must look into the running system."""

import re
import urllib.error
import urllib.request

import pytest

from repository import REPOSITORY
from tests.runtime.sync import NAMESPACE
from tests.runtime.system import System

COMMANDS = re.findall(r"\| `(kubectl .*?)`", (REPOSITORY / "docs" / "access.md").read_text("utf-8"))
FORWARDS = [each for each in COMMANDS if "port-forward" in each]
ONES = [each for each in COMMANDS if "port-forward" not in each and " -it " not in each]
UNTRIED = ("rpk cluster health", "--print-all")
"""What the stand-in for Redpanda does not know."""


@pytest.mark.parametrize("command", FORWARDS)
def test_a_port_is_forwarded(system: System, command: str) -> None:
    """A pod that no policy lets anybody reach is reached by those who may."""
    port = command.rpartition(" ")[2]

    def answers() -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
        return True

    with system.node.background(f"NS={NAMESPACE}; exec {command}"):
        system.wait(answers, f"nothing answered at port {port}")


@pytest.mark.parametrize("command", [c for c in ONES if not any(each in c for each in UNTRIED)])
def test_a_command_works(system: System, command: str) -> None:
    """It is typed when something is wrong already."""
    done = system.node.shell(f"NS={NAMESPACE}; {command}")
    assert done.returncode == 0, done.stdout
