"""A machine on which a control plane is to be had: nothing of the real one is touched."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from delivery.control_plane import parts, provide
from delivery.control_plane.parts import PARTS
from mirrors import Mirror, content, mirror, write_mirror
from repository import REPOSITORY
from stand_in_go import Go

# The pins and the release of a test are those of its process.
_PROGRAM = """\
import sys
from pathlib import Path
from delivery.control_plane import parts, provide
parts.PINS, provide.RELEASES = Path(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]
from delivery.cli import main
main()
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Go, with an empty cache, and pins of its own with sums of small parts.

    Its mirror is the folder `mirror`, which nothing names yet; GitHub has no release.
    """
    for name in ("KUBEBUILDER_ASSETS", "CONTROL_PLANE_MIRROR", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("bin", "session", "releases"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    monkeypatch.setattr(parts, "PINS", shutil.copytree(parts.PINS, tmp_path / "pins"))
    monkeypatch.setattr(provide, "RELEASES", (tmp_path / "releases").as_uri())
    write_mirror(tmp_path / "mirror")
    return tmp_path


@pytest.fixture
def go(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """A stand-in for Go on that machine, which makes the parts whose sums are known."""
    monkeypatch.setenv("PATH", f"{machine / 'bin'}{os.pathsep}{os.defpath}")
    go = Go(machine / "bin")
    for part in PARTS:
        if not part.is_program:
            file = go.modules / str(part.source)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content(part))
    return go


@pytest.fixture
def served(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The machine's mirror, behind the address that CONTROL_PLANE_MIRROR names."""
    with mirror(machine / "mirror") as served:
        monkeypatch.setenv("CONTROL_PLANE_MIRROR", served.url)
        yield served


@pytest.fixture
def output() -> StringIO:
    """All that was printed on `console`."""
    return StringIO()


@pytest.fixture
def console(output: StringIO) -> Console:
    """The console of a log."""
    return Console(file=output, soft_wrap=True, highlight=False)


@pytest.fixture
def start(machine: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `delivery control-plane` with options, on that machine."""
    with ExitStack() as stack:

        def begin(*options: str) -> "subprocess.Popen[str]":
            injected = [str(machine / "pins"), (machine / "releases").as_uri()]
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *injected, "control-plane", *options],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin
