"""`make demo`, as a person types it: everything comes up, a commit arrives, nothing is left."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from delivery.clusters.demo import Origin
from remotes import run_git
from working_tree import bump, commit_all, copy_working_tree

pytestmark = [
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("assets"),
]

COMMAND = [sys.executable, "-m", "delivery.clusters.demo"]
WAIT_SECONDS = 180
SERVICES = {"alert-monitor", "flink-jobmanager", "flink-taskmanager", "payment-api", "redis"}


class Demo:
    """A running demo without a terminal, so that it says one line for each change.

    Args:
        process: It.
        repository: The working tree that it follows.
        said: Where it writes.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", repository: Path, said: Path) -> None:
        self.process = process
        self.repository = repository
        self._said = said

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self._said.read_text(encoding="utf-8")

    def rows(self) -> dict[tuple[str, str], str]:
        """The newest words on each service: its image and how it is."""
        found = re.findall(r"^(dev|staging) (\S+) (.*)$", self.text, re.MULTILINE)
        return {(environment, service): state for environment, service, state in found}

    def wait(self, condition: Callable[[dict[tuple[str, str], str]], bool]) -> None:
        """Wait until the rows are as they should be."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition(self.rows()):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo of a copy of the working tree."""
    folder = tmp_path_factory.mktemp("demo")
    repository = folder / "repository"
    copy_working_tree(repository)
    run_git(repository, "init", "--quiet")
    commit_all(repository, "What is in the working tree")
    said = folder / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            COMMAND,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": f"{repository}:{repository}/constructs"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Demo(process, repository, said)
    finally:
        # Its programs end with it.
        process.kill()
        process.wait()


def test_a_shallow_clone_is_followed(tmp_path: Path) -> None:
    """CI has no other, and Git does not take commits without their parents unasked."""
    whole, shallow, bare = (tmp_path / name for name in ("whole", "shallow", "bare"))
    run_git(tmp_path, "init", "--quiet", str(whole))
    for message in ("The first", "The second"):
        (whole / "file").write_text(message, encoding="utf-8")
        commit_all(whole, message)
    run_git(tmp_path, "clone", "--quiet", "--depth=1", whole.as_uri(), str(shallow))
    Origin(shallow, bare, branches={"develop", "main"})
    assert run_git(bare, "rev-parse", "develop", "main") == "\n".join(
        2 * [run_git(whole, "rev-parse", "HEAD")]
    )


def is_up(rows: dict[tuple[str, str], str]) -> bool:
    """Whether all services of both environments are there and well."""
    environments = {environment for environment, _ in rows}
    return (
        environments == {"dev", "staging"}
        and all({s for e, s in rows if e == each} >= SERVICES for each in environments)
        and all(state.endswith(" Synced Healthy") for state in rows.values())
    )


def test_both_environments_come_up(demo: Demo) -> None:
    """The first thing that a newcomer sees of the system."""
    demo.wait(is_up)


def test_a_commit_arrives_in_dev(demo: Demo) -> None:
    """This is what the demo is for: to watch a release."""
    demo.wait(is_up)
    before = demo.rows()
    tag = bump(demo.repository)
    commit_all(demo.repository, "Release payment-api")
    demo.wait(lambda rows: tag in rows["dev", "payment-api"] and is_up(rows))
    changed = {key for key, state in demo.rows().items() if before[key] != state}
    assert changed == {("dev", "payment-api")}


def test_it_says_how_to_look_around(demo: Demo) -> None:
    """With the kubeconfig, kubectl shows what the table leaves out."""
    demo.wait(is_up)
    [(kubeconfig, _)] = re.findall(r"kubectl --kubeconfig (\S+) (.*)", demo.text)
    [kubectl] = re.findall(r"kubectl is (\S+)", demo.text)
    listed = subprocess.run(
        [kubectl, f"--kubeconfig={kubeconfig}", "get", "pods", "--all-namespaces"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert "payment-api-" in listed


def test_nothing_is_left_after_ctrl_c() -> None:
    """On a terminal, with the table on it; a program that stays would hold ports and memory."""
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=other_end, stderr=other_end
    )
    os.close(other_end)
    said = b""
    while b"environment" not in said:
        said += os.read(terminal, 65536)
    [folder] = re.findall(rb"--kubeconfig (/\S+)/[^/\s]+", said)
    assert programs_of(folder)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        said += read(terminal)
    os.close(terminal)
    assert process.returncode == 0, said.decode()
    assert b"nothing is left" in said
    assert not Path(os.fsdecode(folder)).exists()
    assert programs_of(folder) == set()


def read(terminal: int) -> bytes:
    """What is written to a terminal, until its other end is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def programs_of(folder: bytes) -> set[str]:
    """The processes whose command line names a folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder in command:
            found.add(process.name)
    return found
