"""Programs that run to their end: the limit, and the end of everything that they started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from delivery import processes
from delivery.processes import run

pytestmark = pytest.mark.slow

# Holds the pipe open in a process of its own, which ignores SIGTERM.
STUBBORN_CHILD = """\
exec 9> life
(trap '' TERM; echo running >&9; sleep 100; sleep 100) &
wait
"""
CLEAN = """\
trap 'touch cleaned; exit' TERM
sleep 100 &
wait
"""


def test_the_output_is_complete(tmp_path: Path) -> None:
    """Callers parse one stream, and show the other."""
    done = run(["sh", "-c", "cat; echo no >&2; pwd; exit 3"], folder=tmp_path, given=b"typed\n")
    assert done.stdout.decode() == f"typed\n{tmp_path}\n"
    assert (done.stderr, done.returncode) == (b"no\n", 3)


def test_a_limit_ends_the_children_of_a_program_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git leaves its transport behind, which waits for a silent remote without end."""
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "life")
    life = os.open(tmp_path / "life", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", STUBBORN_CHILD], folder=tmp_path, limit=4)
    os.set_blocking(life, True)
    with os.fdopen(life) as file:
        # The end of the file comes when the last process that holds it is gone.
        assert file.read() == "running\n"


@pytest.mark.timeout(60)
def test_a_program_with_a_limit_does_not_outlive_us(tmp_path: Path) -> None:
    """After a SIGKILL nobody is left who would end it, and a render that hangs went on for ever."""
    os.mkfifo(tmp_path / "life")
    code = "import sys; from delivery.processes import run; run(sys.argv[1:], limit=1000)"
    command = [sys.executable, "-c", code, "sh", "-c", STUBBORN_CHILD]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        subprocess.Popen(command, cwd=tmp_path, env=environment) as process,
        (tmp_path / "life").open(encoding="utf-8") as life,
    ):
        assert life.readline() == "running\n"
        process.kill()
        # The end of the file comes when the last process that holds it is gone.
        assert life.read() == ""


def test_a_program_can_clean_up(tmp_path: Path) -> None:
    """Git removes its lock files and half-fetched packs on SIGTERM."""
    with pytest.raises(subprocess.TimeoutExpired):
        run(["sh", "-c", CLEAN], folder=tmp_path, limit=4)
    assert (tmp_path / "cleaned").exists()


def test_a_program_cannot_ask_on_the_terminal() -> None:
    """Its question would be lost in the output that we capture, and wait for an answer."""
    code = "import os; print(os.getsid(0) == os.getpid())"
    assert run([sys.executable, "-c", code]).stdout == b"True\n"
