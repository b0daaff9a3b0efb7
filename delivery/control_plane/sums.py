"""SHA-256 sums: the committed ones, and those that this machine's files really have."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from delivery.control_plane import parts

NAME = "SHA256SUMS"

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_CHUNK = 1 << 20


def read() -> dict[str, str]:
    """Return the committed sums, by the names that parts have; see `Part.file`."""
    file = parts.PINS / NAME
    if not file.exists():
        return {}
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
    return {name: known for known, name in lines}


def write(sums: Mapping[str, str]) -> None:
    """Replace the committed sums, in the format of `sha256sum`."""
    aside = parts.PINS / f".{NAME}"
    lines = [f"{known}  {name}\n" for name, known in sorted(sums.items())]
    aside.write_text("".join(lines), encoding="utf-8")
    aside.replace(parts.PINS / NAME)


def digest(path: Path) -> str:
    """Return the sum of a file's bytes."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def is_genuine(path: Path, known: str) -> bool:
    """Return whether a file has a sum; its bytes are read once per boot and change.

    That it was read is remembered where neither a cache of CI nor another user can put it.
    """
    try:
        remembered = _stamp(path, known)
        if remembered is not None and remembered.exists():
            return True
        genuine = digest(path) == known
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    if genuine and remembered is not None:
        with suppress(OSError):
            remembered.touch(mode=0o600)
    return genuine


def _stamp(path: Path, known: str) -> Path | None:
    """Return the file that exists if a file was verified; none where others could write it."""
    found = path.stat()
    identity = (
        known,
        _BOOT.read_bytes() if _BOOT.exists() else b"",
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        # No program can choose it.
        found.st_ctime_ns,
    )
    session = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    session /= f"fraud-detection-config-{os.getuid()}"
    with suppress(OSError):
        session.mkdir(mode=0o700)
    with suppress(OSError):
        status = session.lstat()
        if (
            stat.S_ISDIR(status.st_mode)
            and status.st_uid == os.getuid()
            and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            return session / hashlib.sha256(repr(identity).encode()).hexdigest()
    return None
