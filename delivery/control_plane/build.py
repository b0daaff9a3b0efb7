"""Builds of parts with Go: the same pins and toolchain give the same bytes on any machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from delivery.control_plane import parts as pins
from delivery.control_plane.cache import ControlPlaneError
from delivery.control_plane.parts import Part, go_environment, pinned, toolchain
from delivery.control_plane.workers import side_by_side

_LAST_LINES = 15
_MEMORY = Path("/proc/meminfo")
_MEMORY_OF_TWO = 8 * 1024**2
"""KiB that must be free for two builds at once."""


def build(
    parts: Sequence[Part],
    folder: Path,
    then: Callable[[Part, Path], None],
    console: Console,
    *,
    sources: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Build parts with Go.

    Args:
        parts: In the order in which they are needed.
        folder: Where they go.
        then: Called with each part and its file, as soon as that is complete.
        console: Gets a line per part, and the progress on a terminal.
        sources: Copy of `tools/control-plane/`. Default: that of this working tree.
        variables: Further environment of Go. Default: none.

    Raises:
        ControlPlaneError: If there is no Go that can do it, or a build fails.
    """
    sources = sources or pins.PINS
    go = _Go(variables or {})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    disable = not console.is_terminal

    def make(numbered: tuple[int, Part]) -> Path:
        number, part = numbered
        target = folder / Path(part.name).name
        with _shown(progress, f"{number}/{len(parts)} {part.name}"):
            if part.is_program:
                go.run("build", "-o", str(target), *part.build, folder=sources / part.pin)
            else:
                module = pinned(part.pin).path
                found = go.run("mod", "download", "-json", module, folder=sources / part.pin)
                shutil.copyfile(Path(json.loads(found)["Dir"]) / str(part.source), target)
        return target

    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        try:
            _require_toolchain(go.run("version", folder=sources))
            side_by_side(
                make,
                list(enumerate(parts, start=1)),
                lambda numbered, made: then(numbered[1], made),
                at_once=builds_at_once(),
            )
        finally:
            go.stop()


class _Go:
    """The user's Go, as the pins want it.

    Args:
        variables: Further environment.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **go_environment(), **variables}
        self._running: list[subprocess.Popen[str]] = []
        self._stopped = False
        self._lock = Lock()

    def run(self, *arguments: str, folder: Path) -> str:
        """Return what a command prints."""
        program = shutil.which("go")
        if program is None:
            raise ControlPlaneError(
                "There is no Go on the PATH to build what no source has: set CONTROL_PLANE_MIRROR "
                "to an address or a folder that has it, or install Go 1.21 or newer; for "
                "rehearsals alone, have setup-envtest install etcd, kube-apiserver and kubectl, "
                "and set KUBEBUILDER_ASSETS to their folder."
            )
        with self._lock:
            if self._stopped:
                raise ControlPlaneError("Another build failed: run the command again.")
            process = subprocess.Popen(  # noqa: S603 - with our own arguments
                [program, *arguments],
                cwd=folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._running.append(process)
        with process:
            answer, complaint = process.communicate()
        if process.returncode != 0:
            lines = "\n".join(complaint.splitlines()[-_LAST_LINES:])
            raise ControlPlaneError(f"`go {arguments[0]}` failed in {folder}:\n{lines}")
        return answer

    def stop(self) -> None:
        """Kill what runs, with its compilers, before they write into a folder that is removed."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                # It may end by itself right now.
                with suppress(ProcessLookupError):
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _require_toolchain(answer: str) -> None:
    """Refuse a Go that does not become the pinned one."""
    found = answer.split()[2]
    if found != toolchain():
        raise ControlPlaneError(
            f"The Go on the PATH is {found}, too old to fetch the pinned {toolchain()}: install "
            "Go 1.21 or newer, or set CONTROL_PLANE_MIRROR to an address or a folder of parts."
        )


def builds_at_once() -> int:
    """Return 2 where memory certainly allows it, else 1."""
    text = _MEMORY.read_text(encoding="utf-8") if _MEMORY.exists() else ""
    available = re.search(r"^MemAvailable: +([0-9]+) kB$", text, flags=re.MULTILINE)
    return 2 if available and int(available[1]) >= _MEMORY_OF_TWO else 1


@contextmanager
def _shown(progress: Progress, what: str) -> Iterator[None]:
    """Show a task while it runs, and then how long it took."""
    started = time.monotonic()
    if not progress.console.is_terminal:
        progress.console.print(f"{what} …")
    task = progress.add_task(what, total=None)
    try:
        yield
    finally:
        progress.remove_task(task)
    progress.console.print(f"{what} {timedelta(seconds=round(time.monotonic() - started))}")
