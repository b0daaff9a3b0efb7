"""Builds with Go: from committed pins and a pinned toolchain, completely or not at all.

Go is a stand-in that records how it is called.
"""

import os
import re
import signal
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from subprocess import Popen

import pytest
from rich.console import Console

from delivery.control_plane import build as module
from delivery.control_plane.build import build
from delivery.control_plane.cache import Cache, ControlPlaneError
from delivery.control_plane.parts import API_SERVER, PARTS, Part, toolchain
from delivery.control_plane.programs import wait_until
from delivery.errors import INTERRUPTED
from mirrors import content, part_named
from stand_in_go import Go

pytestmark = pytest.mark.slow

PROGRAMS = [part.name for part in PARTS if part.is_program]

Make = Callable[..., dict[str, bytes]]
Start = Callable[..., Popen[str]]


@pytest.fixture
def make(tmp_path: Path, console: Console) -> Make:
    """Builds parts and returns their bytes, in the order in which they were complete."""

    def make(*parts: Part) -> dict[str, bytes]:
        made = {}

        def keep(part: Part, file: Path) -> None:
            made[part.name] = file.read_bytes()

        (tmp_path / "made").mkdir(exist_ok=True)
        build(parts, tmp_path / "made", keep, console)
        return made

    return make


def test_every_part_is_built(make: Make, go: Go) -> None:
    """Programs from their packages, files from their modules."""
    assert make(*PARTS) == {part.name: content(part) for part in PARTS}
    assert sorted(go.built()) == sorted(PROGRAMS)


def test_go_s_module_cache_may_be_deleted(make: Make, go: Go, tmp_path: Path) -> None:
    """It is large, and `go clean -modcache` is a common command."""
    manifest = part_named("argocd-manifests/core-install.yaml")
    make(manifest)
    (go.modules / str(manifest.source)).unlink()
    assert (tmp_path / "made" / "core-install.yaml").read_bytes() == content(manifest)


def test_nothing_of_this_machine_gets_into_a_build(
    make: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workspace, C compiler, flags, version of Go or checkout would make other bytes."""
    monkeypatch.setenv("GOFLAGS", "-race")
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    make(part_named("redis"))
    [(variables, _, arguments)] = go.calls("build")
    flags = "-mod=readonly -trimpath -buildvcs=false"
    assert variables.strip() == f"{toolchain()} 0 off {flags}"
    assert " -ldflags=-s -w " in arguments


def test_parts_are_built_in_the_order_in_which_they_are_needed(
    make: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal waits for the first three only."""
    monkeypatch.setattr(module, "builds_at_once", lambda: 1)
    assert list(make(*PARTS)) == [part.name for part in PARTS]
    assert go.built()[: len(API_SERVER)] == [part.name for part in API_SERVER]


@pytest.mark.parametrize(
    ("memory", "at_once"), [("MemAvailable:   16000000 kB\n", 2), ("MemAvailable: 900 kB\n", 1)]
)
def test_twobuilds_at_once_need_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str, at_once: int
) -> None:
    """Linking Argo CD and Kubernetes at once would end a small machine."""
    (tmp_path / "meminfo").write_text(f"MemFree: 1 kB\n{memory}", encoding="utf-8")
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "meminfo")
    assert module.builds_at_once() == at_once


def test_a_machine_that_does_not_tell_its_memory_builds_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MacOS has no such file."""
    monkeypatch.setattr(module, "_MEMORY", tmp_path / "missing")
    assert module.builds_at_once() == 1


def test_an_old_go_is_refused(make: Make, go: Go) -> None:
    """It ignores GOTOOLCHAIN, and would build something else for minutes."""
    go.set("version", "go1.19.8")
    with pytest.raises(ControlPlaneError, match=r"is go1\.19\.8, too old .* install Go 1\.21"):
        make(*PARTS)
    assert go.built() == []


@pytest.mark.usefixtures("machine")
def test_without_go_one_sentence_says_what_else_would_do(make: Make) -> None:
    """This may be the first message that a newcomer sees."""
    with pytest.raises(
        ControlPlaneError,
        match=r"^There is no Go[^.\n]* CONTROL_PLANE_MIRROR [^\n]* KUBEBUILDER_ASSETS [^.\n]*\.$",
    ):
        make(*PARTS)


def test_a_failed_build_shows_the_output_of_go(make: Make, go: Go) -> None:
    """Go knows best about a wrong checksum, a missing network or a full disk."""
    go.set("fail", "kwok")
    with pytest.raises(ControlPlaneError, match="checksum mismatch"):
        make(*PARTS)


def test_a_failed_build_keeps_what_was_built_before_it(go: Go, start: Start) -> None:
    """The next run continues from there."""
    go.set("fail", "kwok")
    assert start().wait() == 2
    go.set("fail", "")
    assert start().wait() == 0
    assert sorted(set(go.built())) == sorted(PROGRAMS)
    assert go.built().count("etcd") == 1


def test_a_file_that_the_module_lacks_is_an_error(make: Make, go: Go) -> None:
    """A newer Argo CD may have moved it."""
    manifest = part_named("argocd-manifests/core-install.yaml")
    (go.modules / str(manifest.source)).unlink()
    with pytest.raises(FileNotFoundError, match=str(manifest.source)):
        make(manifest)


def test_a_killed_build_leaves_no_half_program(go: Go, start: Start) -> None:
    """The next run would take it for a complete one."""
    go.set("hang", "kubectl")
    process = start()
    hanging = go.pid()
    process.kill()
    process.communicate()
    os.kill(hanging, signal.SIGKILL)
    go.set("hang", "")
    assert not (Cache.of_pins().folder / "kubectl").exists()
    assert start().wait() == 0
    assert (Cache.of_pins().folder / "kubectl").read_bytes() == content(part_named("kubectl"))
    left = [path.name for path in Cache.of_pins().folder.iterdir() if path.name.startswith(".")]
    assert left == [".lock"]


def has_ended(pid: int) -> bool:
    """Return whether a process is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_stopped_build_stops_go(go: Go, start: Start, number: signal.Signals) -> None:
    """Its compilers would otherwise run on for minutes."""
    go.set("hang", "kubectl")
    process = start()
    hanging = go.pid()
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == INTERRUPTED
    assert output.splitlines()[-1] == "Interrupted."
    # Orphaned by now, it counts as running until the machine's init process reaps it.
    wait_until(lambda: has_ended(hanging), programs=[], seconds=60, what="Go still runs")


def test_a_failed_build_stops_the_one_beside_it(
    make: Make, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes into a folder that is about to be removed."""
    monkeypatch.setattr(module, "builds_at_once", lambda: 2)
    go.set("hang", "etcd")
    go.set("fail", "kube-apiserver")
    with pytest.raises(ControlPlaneError):
        make(*API_SERVER)
    assert has_ended(go.pid())
    assert "kubectl" not in go.built()


@pytest.mark.usefixtures("go")
def test_every_part_has_a_line(make: Make, output: StringIO) -> None:
    """Minutes are long without any output."""
    make(*API_SERVER)
    lines = output.getvalue().splitlines()
    assert "1/3 etcd …" in lines
    assert [line for line in lines if re.fullmatch(r"3/3 kubectl \d:\d\d:\d\d", line)]
    assert "\x1b" not in output.getvalue()


@pytest.mark.usefixtures("go")
def test_a_terminal_shows_how_long_it_takes_while_it_does(tmp_path: Path) -> None:
    """Somebody is waiting for it."""
    text = StringIO()
    terminal = Console(file=text, force_terminal=True, soft_wrap=True, highlight=False)
    build(API_SERVER, tmp_path, lambda *_: None, terminal)
    assert re.search(r"kubectl.*\d:\d\d:\d\d.*\x1b", text.getvalue())
