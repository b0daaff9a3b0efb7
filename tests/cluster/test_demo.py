"""`delivery demo`: everything comes up, commits and pushes arrive, and nothing is left."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from delivery.clusters.demo import Origin
from delivery.manifests.applications import environments
from delivery.manifests.tree import manifests, read_dist
from remotes import run_git
from repository import REPOSITORY
from working_tree import bump, commit_all, copy_working_tree

pytestmark = [
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("assets"),
]

COMMAND = [str(Path(sys.executable).with_name("delivery")), "demo"]
WAIT_SECONDS = 180
ENVIRONMENTS = [each.name for each in environments(REPOSITORY)]


class Demo:
    """A running demo without a terminal, so that it prints one line for each change.

    Args:
        process: Its process.
        repository: The working tree that it follows.
        output: File with its output.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", repository: Path, output: Path) -> None:
        self.process = process
        self.repository = repository
        self._output = output

    @property
    def text(self) -> str:
        """Everything it has printed."""
        return self._output.read_text(encoding="utf-8")

    def rows(self) -> dict[tuple[str, str], str]:
        """Return the newest state of each service: its image, sync and health."""
        names = "|".join(ENVIRONMENTS)
        found = re.findall(rf"^({names}) (\S+) (.*)$", self.text, re.MULTILINE)
        return {(environment, service): state for environment, service, state in found}

    def wait(self, condition: Callable[[dict[tuple[str, str], str]], bool]) -> None:
        """Wait until the rows meet a condition."""
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
    commit_all(repository, "The working tree")
    output = folder / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            COMMAND,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": f"{repository}:{repository}/constructs"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Demo(process, repository, output)
    finally:
        process.terminate()
        process.wait()


def test_a_shallow_clone_is_followed(tmp_path: Path) -> None:
    """CI has no other, and Git refuses commits without their parents by default."""
    whole, shallow, bare = (tmp_path / name for name in ("whole", "shallow", "bare"))
    run_git(tmp_path, "init", "--quiet", str(whole))
    for message in ("The first", "The second"):
        (whole / "file").write_text(message, encoding="utf-8")
        commit_all(whole, message)
    run_git(tmp_path, "clone", "--quiet", "--depth=1", whole.as_uri(), str(shallow))
    Origin(shallow, bare, branches=["develop", "main"])
    assert run_git(bare, "rev-parse", "develop", "main") == "\n".join(
        2 * [run_git(whole, "rev-parse", "HEAD")]
    )


def workloads() -> set[tuple[str, str]]:
    """Return the workloads in dist, by environment and name."""
    files = read_dist(REPOSITORY)
    return {
        (environment, each.key.name)
        for environment in ENVIRONMENTS
        for each in manifests(files, PurePosixPath("dist", environment))
        if each.key.kind in {"Deployment", "StatefulSet"}
    }


def is_up(rows: dict[tuple[str, str], str]) -> bool:
    """Whether all workloads of all environments run."""
    return rows.keys() == workloads() and all(
        state.endswith(" Synced Healthy") for state in rows.values()
    )


def test_all_environments_come_up(demo: Demo) -> None:
    """This is the first thing that a newcomer sees of the system."""
    demo.wait(is_up)


def test_a_commit_arrives_in_the_first_environment_alone(demo: Demo) -> None:
    """The demo exists to watch a release."""
    demo.wait(is_up)
    before = demo.rows()
    tag = bump(demo.repository)
    commit_all(demo.repository, "Release payment-api")
    demo.wait(lambda rows: tag in rows[ENVIRONMENTS[0], "payment-api"] and is_up(rows))
    changed = {key for key, state in demo.rows().items() if before[key] != state}
    # The prober runs the image of payment-api.
    assert changed == {(ENVIRONMENTS[0], name) for name in ("payment-api", "prober")}


def test_it_says_how_to_promote_to_each_further_environment(demo: Demo) -> None:
    """A push moves a branch, as the merge of a promotion does."""
    demo.wait(is_up)
    promoted = re.findall(r"To promote to (\S+):\n  git push \S+ HEAD:(\S+)", demo.text)
    chain = [(each.name, each.branch) for each in environments(REPOSITORY)]
    assert promoted == chain[1:]


def test_it_says_how_to_look_around(demo: Demo) -> None:
    """With the kubeconfig, kubectl shows what the table does not."""
    demo.wait(is_up)
    [(kubeconfig, _)] = re.findall(r"kubectl --kubeconfig (\S+) (.*)", demo.text)
    [kubectl] = re.findall(r"kubectl is ([^\s)]+)", demo.text)
    listed = subprocess.run(
        [kubectl, f"--kubeconfig={kubeconfig}", "get", "pods", "--all-namespaces"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert "payment-api-" in listed


def test_nothing_is_left_after_ctrl_c() -> None:
    """A program that stays would hold ports and memory; this runs on a terminal, with the table."""
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=other_end, stderr=other_end
    )
    os.close(other_end)
    output = b""
    while b"environment" not in output:
        output += os.read(terminal, 65536)
    [folder] = re.findall(rb"--kubeconfig (/\S+)/[^/\s]+", output)
    assert programs_of(folder)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        output += read(terminal)
    os.close(terminal)
    assert process.returncode == 0, output.decode()
    assert b"nothing is left" in output
    assert not Path(os.fsdecode(folder)).exists()
    assert programs_of(folder) == set()


def read(terminal: int) -> bytes:
    """Read from a terminal; nothing once its other end is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def programs_of(folder: bytes) -> set[str]:
    """Return the processes whose command line contains a folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if folder in command:
            found.add(process.name)
    return found
