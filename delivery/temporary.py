"""Temporary files and folders that do not outlive their run for long, whatever ends it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock-of-delivery"
"""Marks a folder as one of ours; the operating system frees its lock with the process."""


@contextmanager
def temporary_folder(
    prefix: str, *, parent: Path | None = None, keep_after: tuple[type[Exception], ...] = ()
) -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it in the end.

    First removes what killed runs of this user have left.

    Args:
        prefix: Start of the folder's name.
        parent: Folder that contains it. Default: the system's temporary folder.
        keep_after: Errors after which the folder stays until the next run, for its logs.
    """
    parent = parent or Path(tempfile.gettempdir())
    for left in parent.glob(f"{prefix}*"):
        _remove_abandoned(left)
    folder, lock = _locked_folder(prefix, parent)
    keep = False
    try:
        yield folder
    except keep_after:
        keep = True
        raise
    finally:
        if not keep:
            _remove(folder)
        os.close(lock)


def replace_file(path: Path, text: str) -> None:
    """Replace the content of a file: it has the old or the new one, whatever happens.

    Raises:
        OSError: If it cannot be written.
    """
    # On the same file system, so that the old file stays until the new one is complete.
    with temporary_folder(".new-", parent=path.parent) as folder:
        new = folder / path.name
        new.write_bytes(text.encode())
        shutil.copymode(path, new)
        new.replace(path)


def _locked_folder(prefix: str, parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        # Before it is locked, another run may take the folder for an abandoned one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_abandoned(folder: Path) -> None:
    # Not ours, not this user's, or still in use.
    with suppress(OSError):
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if folder.lstat().st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    # The lock goes last, so that the next run finishes an interrupted removal.
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
