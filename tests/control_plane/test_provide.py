"""Where the control plane comes from: cache, mirror, release or Go, and its sums in any case."""

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from subprocess import Popen

import pytest
from rich.console import Console

from delivery.control_plane import parts, sums
from delivery.control_plane.cache import Cache, ControlPlaneError
from delivery.control_plane.parts import API_SERVER, PARTS, release
from delivery.control_plane.provide import pack, provide, reproduce, write_sums
from mirrors import Mirror, content, part_named, write_mirror
from stand_in_go import Go

pytestmark = pytest.mark.slow

Start = Callable[..., Popen[str]]
NAMES = sorted(part.name for part in PARTS)
KUBECTL = part_named("kubectl")


def change_pin(name: str) -> None:
    """Change a pin of this test."""
    with (parts.PINS / name / "go.mod").open("a", encoding="utf-8") as stream:
        stream.write("\n")


def test_a_complete_cache_asks_nobody(served: Mirror, console: Console, output: StringIO) -> None:
    """It is asked before every rehearsal."""
    provide(PARTS, console)
    served.requests.clear()
    output.truncate(0)
    provide(PARTS, console)
    assert served.requests == []
    assert output.getvalue() == ""


def test_only_what_is_needed_is_fetched(served: Mirror, console: Console) -> None:
    """A rehearsal needs a third of it."""
    provide(API_SERVER, console)
    assert served.asked_for() == ["etcd", "kube-apiserver", "kubectl"]


def test_a_mirror_may_be_a_folder(
    machine: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is named relative to where the command is typed."""
    monkeypatch.chdir(machine)
    monkeypatch.setenv("CONTROL_PLANE_MIRROR", "mirror")
    provide(PARTS, console)
    assert Cache.of_pins().lacking(PARTS) == []


def test_without_a_mirror_the_release_is_asked(machine: Path, console: Console) -> None:
    """That is all a newcomer needs."""
    (machine / "mirror").rename(machine / "releases" / release())
    provide(PARTS, console)
    assert Cache.of_pins().lacking(PARTS) == []


def test_what_a_mirror_lacks_comes_from_the_release(
    machine: Path, served: Mirror, console: Console
) -> None:
    """One part alone."""
    folder = machine / "releases" / release()
    folder.mkdir()
    (served.folder / KUBECTL.packed()).rename(folder / KUBECTL.packed())
    provide(PARTS, console)
    assert served.asked_for() == NAMES
    assert Cache.of_pins().lacking(PARTS) == []


def test_what_nobody_has_is_built(served: Mirror, go: Go, console: Console) -> None:
    """One part alone."""
    (served.folder / KUBECTL.packed()).unlink()
    provide(PARTS, console)
    assert go.built() == ["kubectl"]
    assert (Cache.of_pins().folder / "kubectl").read_bytes() == content(KUBECTL)


@pytest.mark.usefixtures("machine")
def test_where_nothing_has_it_and_nothing_builds_it_is_an_error(console: Console) -> None:
    """The message says what would help."""
    with pytest.raises(ControlPlaneError, match=r"^There is no Go"):
        provide(PARTS, console)


def test_what_was_built_differently_never_gets_in(served: Mirror, go: Go, console: Console) -> None:
    """A patched Go makes other bytes."""
    write_mirror(served.folder, {"kubectl": b"what the pinned Go makes"})
    (served.folder / KUBECTL.packed()).unlink()
    with pytest.raises(ControlPlaneError, match=r"^kubectl, as built here, differs from .*SHA256"):
        provide(PARTS, console)
    assert go.built() == ["kubectl"]
    assert not (Cache.of_pins().folder / "kubectl").exists()


def test_a_damaged_cache_is_repaired(served: Mirror, console: Console, output: StringIO) -> None:
    """In one sentence, and only the damaged part."""
    provide(PARTS, console)
    served.requests.clear()
    (Cache.of_pins().folder / "kubectl").write_bytes(b"evil")
    provide(PARTS, console)
    assert "kubectl: wrong SHA-256 sum in the cache: replacing it\n" in output.getvalue()
    assert served.asked_for() == ["kubectl"]


def test_unchanged_parts_of_other_pins_are_adopted(served: Mirror, console: Console) -> None:
    """The cache of the code before this one is such a folder, too."""
    provide(PARTS, console)
    folder = Cache.of_pins().folder
    folder.rename(folder.with_name("other"))
    served.requests.clear()
    provide(PARTS, console)
    assert served.requests == []


def test_changed_parts_of_other_pins_are_not(served: Mirror, console: Console) -> None:
    """Only bytes that have the sum."""
    provide(PARTS, console)
    folder = Cache.of_pins().folder
    folder.rename(folder.with_name("other"))
    (folder.with_name("other") / "kubectl").write_bytes(b"evil")
    served.requests.clear()
    provide(PARTS, console)
    assert served.asked_for() == ["kubectl"]


def test_a_changed_pin_needs_sums(served: Mirror, console: Console) -> None:
    """What was built of the old pin has a sum, but is no longer what is asked for."""
    provide(PARTS, console)
    change_pin("kwok")
    served.requests.clear()
    with pytest.raises(ControlPlaneError, match=r"has no kwok-.*`delivery control-plane --write-s"):
        provide(PARTS, console)
    provide(API_SERVER, console)
    assert served.requests == []


def test_sums_are_written_of_what_is_built(served: Mirror, go: Go, console: Console) -> None:
    """Whoever changes a pin runs one command, which builds only what changed."""
    provide(PARTS, console)
    before = sums.read()
    change_pin("etcd")
    write_sums(console)
    assert go.built() == ["etcd"]
    etcd = part_named("etcd")
    added = {etcd.file(), etcd.packed()}
    assert sums.read().keys() - before.keys() == added
    assert len(sums.read()) == len(before)
    served.requests.clear()
    provide(PARTS, console)
    assert served.requests == []


@pytest.mark.usefixtures("go")
def test_sums_of_another_platform_stay(console: Console) -> None:
    """As long as they are of these pins."""
    kwok, etcd = (part_named(name).file("darwin-arm64") for name in ("kwok", "etcd"))
    sums.write({kwok: "1" * 64, etcd: "2" * 64})
    change_pin("etcd")
    write_sums(console)
    assert sums.read()[kwok] == "1" * 64
    assert etcd not in sums.read()


@pytest.mark.usefixtures("served")
def test_a_packed_folder_is_a_mirror(
    machine: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a company's own server, and for the release."""
    monkeypatch.setenv("PATH", os.defpath)
    write_sums_of_this_zstd(console)
    pack(machine / "packed", console)
    assert len(list((machine / "packed").iterdir())) == len(PARTS)
    monkeypatch.setenv("CONTROL_PLANE_MIRROR", str(machine / "packed"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "other"))
    provide(PARTS, console)
    assert Cache.of_pins().lacking(PARTS) == []


def write_sums_of_this_zstd(console: Console) -> None:
    """Write the sums of what `pack` writes here."""
    provide(PARTS, console)
    write_sums(console)


@pytest.mark.usefixtures("served")
def test_a_mirror_has_no_other_bytes_than_the_sums(machine: Path, console: Console) -> None:
    """Another version of zstd may pack otherwise; nobody could use that."""
    write_sums_of_this_zstd(console)
    sums.write(sums.read() | {KUBECTL.packed(): "1" * 64})
    with pytest.raises(ControlPlaneError, match="has another sum than in SHA256SUMS"):
        pack(machine / "packed", console)
    assert not (machine / "packed" / KUBECTL.packed()).exists()


def test_a_build_can_be_repeated_elsewhere(go: Go, console: Console, machine: Path) -> None:
    """In another folder, without anything that was compiled before."""
    assert reproduce(console) == []
    for variables, folder, _ in go.calls("build"):
        assert variables.endswith("/compiled")
        assert not folder.startswith(str(machine / "pins"))


@pytest.mark.usefixtures("go")
def test_a_build_that_differs_is_named(machine: Path, console: Console, output: StringIO) -> None:
    """A time or a path got into it, or the sums are of something else."""
    write_mirror(machine / "mirror", {"kwok": b"other"})
    assert reproduce(console) == ["kwok"]
    lines = output.getvalue().splitlines()
    assert {"kwok: other bytes", "etcd: the same bytes"} <= set(lines)


@pytest.mark.usefixtures("go")
def test_the_exit_code_says_whether_bytes_differ(machine: Path, start: Start) -> None:
    """A workflow decides by it."""
    assert start("--reproduce").wait() == 0
    write_mirror(machine / "mirror", {"kwok": b"other"})
    assert start("--reproduce").wait() == 1


@pytest.mark.usefixtures("machine")
def test_the_command_fails_where_a_part_cannot_be_had(start: Start) -> None:
    """A script must stop there."""
    process = start()
    output, _ = process.communicate()
    assert process.returncode == 2
    assert output.splitlines()[-1].startswith("Error: There is no Go")


def test_two_things_at_once_are_refused(start: Start) -> None:
    """They would need an order."""
    process = start("--write-sums", "--reproduce")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "exclude each other" in output
