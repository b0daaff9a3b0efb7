"""Temporary folders: gone after each run, whatever ends it, and never taken from another run."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from delivery.manifests.dist import RenderError, rendered
from delivery.temporary import replace_file, temporary_folder

pytestmark = pytest.mark.slow

# Renders in a working tree with the `cdk8s` that lies in it.
RENDER = """
import sys
from delivery.cli import main
sys.executable = sys.argv[1]
main(["synth"])
"""
# Leaves what cdk8s and jsii leave, says where, and then hangs.
CDK8S = """\
#!/bin/sh
mkdir "$TMPDIR/jsii-kernel-1" "$TMPDIR/cdk8s.outdir.1" "$5"
echo "$TMPDIR" > rendering
exec sleep 20
"""


@pytest.fixture
def working_tree(tmp_path: Path) -> Path:
    """A working tree whose render hangs."""
    (tmp_path / "cdk8s.yaml").touch()
    (tmp_path / "cdk8s").write_text(CDK8S, encoding="utf-8")
    (tmp_path / "cdk8s").chmod(0o755)
    os.mkfifo(tmp_path / "rendering")
    return tmp_path


class Render(NamedTuple):
    """A running render.

    Attributes:
        process: Process of `delivery synth`.
        temporary: Temporary folder of the programs that it starts.
    """

    process: "subprocess.Popen[bytes]"
    temporary: Path


@pytest.fixture
def render(working_tree: Path) -> Iterator[Render]:
    """A render in the middle of its work."""
    with subprocess.Popen(
        [sys.executable, "-c", RENDER, working_tree / "python"], cwd=working_tree
    ) as process:
        yield Render(process, Path((working_tree / "rendering").read_text("utf-8").strip()))
        process.kill()


def left(working_tree: Path) -> set[str]:
    """Return what was not there before the render."""
    return {path.name for path in working_tree.iterdir()} - {"cdk8s", "cdk8s.yaml", "rendering"}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_render_that_is_stopped_leaves_nothing(
    working_tree: Path, render: Render, number: signal.Signals
) -> None:
    """Closing a terminal or cancelling a job must not fill the disk."""
    assert (render.temporary / "jsii-kernel-1").exists()
    render.process.send_signal(number)
    render.process.wait()
    assert left(working_tree) == set()
    assert not render.temporary.exists()


def test_the_next_render_removes_what_a_killed_one_left(working_tree: Path, render: Render) -> None:
    """Nothing can clean up after SIGKILL at once."""
    [abandoned] = left(working_tree)
    render.process.kill()
    render.process.wait()
    assert left(working_tree) == {abandoned}
    (working_tree / "cdk8s").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    with pytest.raises(RenderError), rendered(working_tree):
        pass
    assert left(working_tree) == set()


def test_only_this_user_can_read_the_folder(tmp_path: Path) -> None:
    """It may hold the token of an API server."""
    with temporary_folder("some-", parent=tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_the_folder_of_another_run_stays(tmp_path: Path) -> None:
    """A demo runs beside the tests."""
    with temporary_folder("some-", parent=tmp_path) as other:
        (other / "file").touch()
        with temporary_folder("some-", parent=tmp_path):
            pass
        assert (other / "file").exists()


def test_a_folder_that_is_lost_before_it_is_locked_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that starts at that moment takes it for an abandoned one."""
    lock = fcntl.flock

    def interrupted(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        with temporary_folder("some-", parent=tmp_path):
            pass
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    with temporary_folder("some-", parent=tmp_path) as folder:
        assert folder.exists()


def test_a_folder_of_another_program_stays(tmp_path: Path) -> None:
    """Its name may begin with ours by chance."""
    (tmp_path / "some-folder").mkdir()
    with temporary_folder("some-", parent=tmp_path):
        pass
    assert (tmp_path / "some-folder").exists()


def test_a_folder_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root could remove it."""
    with temporary_folder("some-", parent=tmp_path) as folder:
        theirs = shutil.copytree(folder, tmp_path / "some-copy")
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with temporary_folder("some-", parent=tmp_path):
        pass
    assert theirs.exists()


def test_logs_stay_until_the_next_run(tmp_path: Path) -> None:
    """They say why a program did not start, but nobody should have to clean up."""
    with (
        pytest.raises(KeyError),
        temporary_folder("some-", parent=tmp_path, keep_after=(KeyError,)) as kept,
    ):
        raise KeyError
    assert kept.exists()
    with temporary_folder("some-", parent=tmp_path):
        assert not kept.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Half an images.yaml or README.md would have to be restored from Git."""
    file = tmp_path / "README.md"
    file.write_text("old\n", encoding="utf-8")

    def half(path: Path, content: bytes) -> int:
        path.write_text(content[:2].decode(), encoding="utf-8")
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=os.strerror(number)):
        replace_file(file, "new\n")
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text(encoding="utf-8") == "old\n"
