"""Sums: bytes that differ never count, and unchanged ones are read once."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from delivery.control_plane import parts
from delivery.control_plane import sums as module
from delivery.control_plane.sums import is_genuine
from repository import REPOSITORY

KNOWN = sha256(b"good").hexdigest()


class Reads:
    """How often the bytes of a file were read."""

    def __init__(self) -> None:
        self.number = 0

    def digest(self, path: Path) -> str:
        """Return the sum of a file."""
        self.number += 1
        return sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a session in which nothing was verified yet."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    (tmp_path / "session").mkdir()
    return tmp_path / "session" / f"fraud-detection-config-{os.getuid()}"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Counts what is read."""
    reads = Reads()
    monkeypatch.setattr(module, "digest", reads.digest)
    return reads


@pytest.fixture
def file(tmp_path: Path, session: Path) -> Path:
    """A file with the right bytes."""
    del session
    file = tmp_path / "file"
    file.write_bytes(b"good")
    return file


def test_the_right_bytes_are_genuine(file: Path) -> None:
    """Without this, the refusals would also be those of a function that is broken."""
    assert is_genuine(file, KNOWN)


@pytest.mark.parametrize("data", [b"evil", b"goo", b""])
def test_other_bytes_are_not(file: Path, data: bytes) -> None:
    """Of the same length, truncated or missing."""
    file.write_bytes(data)
    assert not is_genuine(file, KNOWN)


@pytest.mark.parametrize("name", ["missing", "file/below", "."])
def test_what_is_no_file_is_not(file: Path, name: str) -> None:
    """A cache may contain anything."""
    assert not is_genuine(file.parent / name, KNOWN)


def test_an_unchanged_file_is_read_once(file: Path, reads: Reads) -> None:
    """600 MB take half a second, and three where the processor has no instruction for it."""
    assert is_genuine(file, KNOWN)
    assert is_genuine(file, KNOWN)
    assert reads.number == 1


def test_wrong_bytes_are_read_again(file: Path, reads: Reads) -> None:
    """Only what is genuine is remembered."""
    file.write_bytes(b"evil")
    assert not is_genuine(file, KNOWN)
    assert not is_genuine(file, KNOWN)
    assert reads.number == 2


def test_a_change_is_noticed_whatever_its_time_says(file: Path) -> None:
    """Size and time are easily made to agree."""
    assert is_genuine(file, KNOWN)
    before = file.stat()
    file.write_bytes(b"evil")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_genuine(file, KNOWN)


def test_a_file_that_took_its_place_is_read(file: Path, reads: Reads) -> None:
    """As from a restored cache of CI."""
    assert is_genuine(file, KNOWN)
    shutil.copy2(file, file.with_name("other"))
    file.with_name("other").replace(file)
    assert is_genuine(file, KNOWN)
    assert reads.number == 2


def test_another_sum_is_not_the_one_that_was_verified(file: Path) -> None:
    """The pins have changed."""
    assert is_genuine(file, KNOWN)
    assert not is_genuine(file, sha256(b"newer").hexdigest())


def test_after_a_boot_everything_is_read_again(
    file: Path, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder may survive it, and the disk may have been elsewhere meanwhile."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(module, "_BOOT", boot)
    for each in ("first", "second"):
        boot.write_text(each, encoding="utf-8")
        assert is_genuine(file, KNOWN)
    assert reads.number == 2


def test_only_the_user_can_read_what_is_remembered(file: Path, session: Path) -> None:
    """And nobody else can write it."""
    assert is_genuine(file, KNOWN)
    assert session.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["writable", "link"])
def test_a_folder_that_others_prepared_is_not_trusted(
    file: Path, session: Path, reads: Reads, kind: str
) -> None:
    """In a shared temporary folder anybody may be first."""
    if kind == "link":
        session.with_name("elsewhere").mkdir(mode=0o700)
        session.symlink_to(session.with_name("elsewhere"))
    else:
        session.mkdir()
        session.chmod(0o777)
    assert is_genuine(file, KNOWN)
    assert is_genuine(file, KNOWN)
    assert reads.number == 2


def test_without_a_place_to_remember_everything_is_read(
    file: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only machines exist."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(file))
    assert is_genuine(file, KNOWN)
    assert is_genuine(file, KNOWN)
    assert reads.number == 2


def test_sums_are_read_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the format of sha256sum, so that it can check a mirror."""
    monkeypatch.setattr(parts, "PINS", tmp_path)
    assert module.read() == {}
    module.write({"b": KNOWN, "a": KNOWN})
    text = (tmp_path / module.NAME).read_text(encoding="utf-8")
    assert text == f"{KNOWN}  a\n{KNOWN}  b\n"
    assert module.read() == {"a": KNOWN, "b": KNOWN}
    assert [path.name for path in tmp_path.iterdir()] == [module.NAME]


def test_the_committed_sums_are_those_of_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a pin that forgets them makes every machine build, in vain."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    names = {name() for part in parts.PARTS for name in (part.file, part.packed)}
    assert REPOSITORY in parts.PINS.parents
    assert module.read().keys() >= names
