"""The node itself: it reports what the other tests rely on, and leaves nothing behind."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from delivery.control_plane.assets import locate
from delivery.control_plane.programs import StartError, wait_until
from tests.runtime.node import pods
from tests.runtime.node.build import build
from tests.runtime.node.node import Node, node

SECONDS = 180
GONE_SECONDS = 10
SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


class Run:
    """A node in its own process.

    Args:
        state: An empty folder.
        kubelet: A program in its place; default: kubelet.
    """

    def __init__(self, state: Path, *, kubelet: Path | None = None) -> None:
        self._state = state
        self._ours, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        # A failing test must not wait for it.
        self.process = spawn.Process(target=run_node, args=(state, kubelet, theirs), daemon=True)
        self.process.start()
        theirs.close()
        assert self._ours.poll(SECONDS), "the node neither started nor failed"
        self.report: str = self._ours.recv()

    def end(self) -> None:
        """End it as a finished test does."""
        self._ours.close()
        self.process.join()

    def kill(self) -> None:
        """Kill its process, without a chance to clean up."""
        self.process.kill()
        self.process.join()

    def groups(self) -> list[Path]:
        """Return its cgroups that exist."""
        return list(Path("/sys/fs/cgroup").glob(f"**/node-{self.process.pid}-*"))

    def programs(self) -> list[str]:
        """Return the first word of each of its programs, found by its two namespaces."""
        return [
            (namespace.parents[1] / "comm").read_text(encoding="utf-8").strip().partition("-")[0]
            for namespace in Path("/proc").glob("[0-9]*/ns/*")
            if namespace.name in {"net", "pid"} and _identity(namespace) in self.report.split()
        ]

    def wait_for_programs(self) -> None:
        """Wait until all its programs have ended; the kernel ends them a moment after the first.

        Raises:
            StartError: If that lasts.
        """
        wait_until(
            lambda: not self.programs(),
            programs=[],
            seconds=GONE_SECONDS,
            what=f"there was still {self.programs()}",
        )

    def mounts(self) -> list[str]:
        """Return its mounts that others can see."""
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        return [mount for mount in mounts if str(self._state) in mount]


def run_node(state: Path, kubelet: Path | None, whoever_waits: Connection) -> None:
    """Run a node until the other end hangs up; send its namespaces, or why it did not start."""
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        assets = build(log)
    programs = {**assets.programs, **({} if kubelet is None else {"kubelet": kubelet})}
    try:
        with node(locate(), replace(assets, programs=programs), state) as running:
            namespaces = Path(f"/proc/{running.first_process}/ns")
            whoever_waits.send(f"{_identity(namespaces / 'net')} {_identity(namespaces / 'pid')}")
            with suppress(EOFError):
                whoever_waits.recv()
    except StartError as error:
        whoever_waits.send(str(error))


def _identity(namespace: Path) -> str:
    with suppress(OSError):
        return str(namespace.readlink())
    return ""


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """Check that the node leaves the machine's sysctls alone."""
    before = [Path("/proc/sys", name).read_text(encoding="ascii") for name in SYSCTLS]
    yield
    assert [Path("/proc/sys", name).read_text(encoding="ascii") for name in SYSCTLS] == before


def test_nothing_is_left_of_a_node_that_ended(tmp_path: Path) -> None:
    """The tests must leave the machine as they found it."""
    run = Run(tmp_path)
    assert {"kubelet", "etcd", "pause"} <= set(run.programs()), run.report
    assert run.groups()
    run.end()
    run.wait_for_programs()
    assert (run.groups(), run.mounts()) == ([], [])


def test_nothing_is_left_of_a_node_that_did_not_start(tmp_path: Path) -> None:
    """After a failed start people try again, on the same machine."""
    run = Run(tmp_path, kubelet=Path("/bin/false"))
    assert "ended with 1" in run.report
    run.end()
    assert (run.groups(), run.mounts()) == ([], [])


def test_no_program_outlives_a_killed_run(tmp_path: Path) -> None:
    """A time limit ends the tests like this; the next run removes the cgroups."""
    for name in ("killed", "next"):
        (tmp_path / name).mkdir()
    run = Run(tmp_path / "killed")
    run.kill()
    run.wait_for_programs()
    assert run.mounts() == []
    Run(tmp_path / "next").end()
    assert run.groups() == []


def test_a_memory_limit_that_is_hit_is_counted(running_node: Node) -> None:
    """The load test relies on this count, which must not be 0 in every case."""
    # The page cache counts as well, and can be reclaimed.
    script = "head -c 100M /dev/zero > /tmp/file && sleep 3600"
    limits = {"cpu": "100m", "memory": "32Mi"}
    with pods.running(running_node, "hungry", "sh", "-c", script, limits=limits) as hungry:
        wait_until(
            lambda: running_node.memory_failures(hungry.container) > 0,
            programs=running_node.programs,
            seconds=SECONDS,
            what="nothing was counted",
        )
