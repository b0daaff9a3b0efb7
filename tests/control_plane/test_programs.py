"""Background programs: a failure shows their logs, and none of them is ever left behind.

Shell scripts stand in for the programs of the control plane.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from delivery.control_plane.programs import Program, StartError, serve, start, wait_until
from repository import REPOSITORY

# Starts a program, and prints its process id.
PARENT = """
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from delivery.control_plane.programs import start

with ExitStack() as stack:
    program = start(stack, ["sleep", "60"], logs=Path(sys.argv[1]))
    print(program.process.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Stops the programs of a test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a program, named `program`."""

    def write(text: str) -> Path:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    ).stdout
    return bool(state) and not state.startswith("Z")


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a condition; return whether it holds in time."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def never() -> bool:
    """Return false, like a program that never gets ready."""
    return False


def test_a_program_that_ends_early_shows_its_log(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """The log is the only clue, such as to a wrong flag or a missing file."""
    program = start(stack, [script("echo unknown flag >&2; exit 3")], logs=tmp_path)
    with pytest.raises(StartError, match=r"program ended with 3\n.*program\.log:\n  unknown flag"):
        wait_until(never, programs=[program], seconds=30, what="it was not ready")


def test_a_program_that_is_never_ready_shows_its_log(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """It may wait for something that never happens, and log that."""
    program = start(stack, [script("echo waiting; exec sleep 60")], logs=tmp_path)
    assert eventually(lambda: "waiting" in program.log.read_text(encoding="utf-8"))
    with pytest.raises(StartError, match=r"it was not ready after 0\.01 s\n.*\n  waiting"):
        wait_until(never, programs=[program], seconds=0.01, what="it was not ready")


def test_an_error_shows_only_the_end_of_a_log(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """The reason comes last, after hundreds of lines of an API server."""
    program = start(stack, [script("seq 1000")], logs=tmp_path)
    with pytest.raises(StartError) as caught:
        wait_until(never, programs=[program], seconds=30, what="it was not ready")
    assert "  1000" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_a_refused_connection_means_not_ready_yet(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing listens before the program is up."""
    answers = iter([ConnectionRefusedError(), None])

    def ready() -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        return True

    program = start(stack, [script("exec sleep 60")], logs=tmp_path)
    wait_until(ready, programs=[program], seconds=30, what="it was not ready")
    assert next(answers, "asked twice") == "asked twice"


def test_a_stopped_program_takes_its_children_with_it(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Argo CD's repo-server starts Git."""
    program = start(stack, [script("sleep 60 & echo $!; wait")], logs=tmp_path)
    assert eventually(lambda: program.log.read_text(encoding="utf-8").endswith("\n"))
    child = int(program.log.read_text(encoding="utf-8"))
    program.stop()
    assert eventually(lambda: not is_running(child))


def test_programs_stop_with_the_stack_and_no_others_do(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two control planes of the same programs may run side by side."""
    # Written once: a shell that has just started would read the second version, half written.
    sleep = script("exec sleep 60")
    with ExitStack() as longer:
        other = start(longer, [sleep], logs=tmp_path)
        with ExitStack() as shorter:
            program = start(shorter, [sleep], logs=tmp_path)
        assert program.process.returncode == -signal.SIGKILL
        assert other.process.poll() is None
    assert other.process.returncode == -signal.SIGKILL


def test_a_program_may_be_stopped_before_the_stack_is(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """A test kills the controller to see it continue later."""
    program = start(stack, [script("exec sleep 60")], logs=tmp_path)
    program.stop()
    program.stop()
    assert program.process.returncode == -signal.SIGKILL


def test_a_restarted_program_adds_to_its_log(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """The reason of the first end is still needed."""
    for _ in range(2):
        program = start(stack, [script("echo once more")], logs=tmp_path)
        program.process.wait()
    assert program.log.read_text(encoding="utf-8") == "once more\n" * 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a program with its parent")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_ends_with_its_parent(tmp_path: Path, sent: signal.Signals) -> None:
    """Nobody would find it later, as ports and folders differ each time."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.send_signal(sent)
        parent.wait()
    assert eventually(lambda: not is_running(child))


def test_a_ctrl_c_at_the_terminal_does_not_reach_a_program(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """The screen would fill with the errors of programs that outlive others."""
    program = start(stack, [script("exec sleep 60")], logs=tmp_path)
    assert os.getpgid(program.process.pid) != os.getpgid(0)


def test_variables_are_added_to_the_environment(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Argo CD needs PATH to find Git."""
    program = start(
        stack,
        [script('echo "$GREETING $PATH"')],
        logs=tmp_path,
        environment={"GREETING": "hello"},
    )
    program.process.wait()
    assert program.log.read_text(encoding="utf-8") == f"hello {os.environ['PATH']}\n"


def test_a_server_gets_another_port_when_its_own_was_taken(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """Another program may take a port between our choice and its use."""
    tried: list[int] = []

    def command(port: int) -> list[str | Path]:
        tried.append(port)
        if len(tried) == 1:
            return [script("echo bind: address already in use; exit 1")]
        return [script("exec sleep 60")]

    program, port = serve(stack, command, ready=lambda _: len(tried) > 1, logs=tmp_path)
    assert program.process.poll() is None
    assert port == tried[1] != tried[0]


def test_a_server_that_fails_otherwise_is_not_tried_again(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """A retry would only delay the error."""
    tried: list[int] = []

    def command(port: int) -> list[str | Path]:
        tried.append(port)
        return [script("exit 1")]

    with pytest.raises(StartError):
        serve(stack, command, ready=lambda _: False, logs=tmp_path)
    assert len(tried) == 1


def test_a_server_that_never_gets_a_port_fails(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """A machine may have no free port."""
    program = script("echo bind: address already in use; exit 1")
    with pytest.raises(StartError, match="address already in use"):
        serve(stack, lambda _: [program], ready=lambda _: False, logs=tmp_path)


def test_a_server_fails_with_the_program_that_it_needs(
    stack: ExitStack, script: Callable[[str], Path], tmp_path: Path
) -> None:
    """An API server without its store would wait for a minute and blame the network."""
    store: Program = start(stack, [script("echo disk is full; exit 1")], logs=tmp_path)
    store.process.wait()
    with pytest.raises(StartError, match="disk is full"):
        serve(
            stack, lambda _: ["sleep", "60"], ready=lambda _: False, logs=tmp_path, beside=[store]
        )


def test_a_server_gets_a_port_at_which_nobody_listens(stack: ExitStack, tmp_path: Path) -> None:
    """The port is chosen on 127.0.0.1, which no other machine can reach."""
    bound: list[int] = []

    def command(port: int) -> list[str | Path]:
        with socket.socket() as each:
            each.bind(("127.0.0.1", port))
        bound.append(port)
        return ["sleep", "60"]

    _, port = serve(stack, command, ready=lambda _: True, logs=tmp_path)
    assert bound == [port]
