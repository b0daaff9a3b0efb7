"""Downloads of parts from a mirror: verified, resumed, side by side.

A mirror is a folder of compressed parts, here or behind an address: `delivery control-plane --pack`
makes one, and a release of this repository on GitHub is one.
"""

import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError, URLError

import zstandard
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from delivery.control_plane import sums
from delivery.control_plane.cache import Cache
from delivery.control_plane.parts import Part
from delivery.control_plane.workers import side_by_side

_AT_ONCE = 4
_ATTEMPTS = 5
"""Times that a download starts, each where the broken connection of the last one left it."""
_SILENCE = 10.0
"""Seconds without a byte after which a source is given up."""
_PATIENCE = 30.0
"""Seconds over which the speed of a download is judged."""
_SLOWEST = 8 * 1024
"""Bytes per second: with less, building is quicker."""
_CHUNK = 1 << 16
_NAMES = 3
"""Parts that a sentence names; the others are counted."""


class _SourceError(Exception):
    """A source does not give a part; the message is the reason."""


class _BrokenError(_SourceError):
    """A connection ended early: the download may go on where it was."""


class _CompleteError(_SourceError):
    """Nothing follows what was downloaded."""


class _DownError(_SourceError):
    """A source does not answer: it need not be asked for other parts."""


class _Report(Protocol):
    """Shows how far a download is."""

    def __call__(self, *, completed: int, total: int | None) -> None: ...


@dataclass(kw_only=True)
class _Source:
    """A mirror, while parts are taken from it.

    Attributes:
        address: Its URL.
        down: Why it does not answer, as soon as that is known.
    """

    address: str
    down: str | None = None
    _opener: urllib.request.OpenerDirector = field(default_factory=urllib.request.build_opener)

    @contextmanager
    def ask(self, file: str, *, after: int) -> Iterator[HTTPResponse]:
        """Ask for a file, without its first bytes if the source supports ranges."""
        headers = {"Range": f"bytes={after}-"} if after else {}
        try:
            request = urllib.request.Request(f"{self.address}/{file}", headers=headers)  # noqa: S310 - the user's mirror
            response = self._opener.open(request, timeout=_SILENCE)
        except HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _CompleteError from error
            raise _SourceError(f"HTTP {error.code}") from error
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, FileNotFoundError):
                raise _SourceError("no such file") from error
            raise _DownError(f"no answer ({reason})") from error
        with response:
            yield response


def fetch(missing: Sequence[Part], address: str, cache: Cache, console: Console) -> None:
    """Take parts from a mirror into the cache, as far as it has them.

    Args:
        missing: What to take.
        address: URL of the mirror.
        cache: The cache, locked.
        console: Gets a line per part, and one per reason why parts were not taken.

    Raises:
        ControlPlaneError: If a part has no sum.
        OSError: If this machine cannot keep a part.
    """
    failed: dict[str, list[Part]] = defaultdict(list)

    def note(part: Part, reason: str | None) -> None:
        if reason is None:
            console.print(f"{part.name}: from {address}")
        else:
            failed[reason].append(part)

    with _progress(console) as progress:
        take = partial(_take, _Source(address=address), cache, progress)
        side_by_side(take, missing, note, at_once=_AT_ONCE)
    for reason, parts in failed.items():
        names = [part.name for part in parts[:_NAMES]]
        if len(parts) > _NAMES:
            names.append(f"{len(parts) - _NAMES} more")
        console.print(f"{address}: {reason} ({', '.join(names)}): trying the next source")


def _take(source: _Source, cache: Cache, progress: Progress, part: Part) -> str | None:
    """Take one part; return the reason if the source does not give it."""
    if source.down is not None:
        return source.down
    packed, made = (cache.folder / f".{each}-{part.packed()}" for each in ("partial", "unpacked"))
    known = cache.sums.get(part.packed())
    if known is None:
        return f"no sum of the compressed file in {sums.NAME}"
    task = progress.add_task(part.name, total=None)
    try:
        _download(source, part.packed(), packed, known, partial(progress.update, task))
    except _DownError as error:
        source.down = str(error)
        return source.down
    except _SourceError as error:
        return str(error)
    finally:
        progress.remove_task(task)
    with packed.open("rb") as stream, made.open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(stream, target)
    packed.unlink()
    cache.install(made, part)
    return None


def _download(source: _Source, file: str, packed: Path, known: str, report: _Report) -> None:
    """Complete a partial file until it has its sum.

    Raises:
        _SourceError: If it does not get there; the file stays if it can still be completed.
    """
    had = _size(packed)
    for attempt in range(_ATTEMPTS):
        before = _size(packed)
        try:
            _append(source, file, packed, report)
        except _BrokenError:
            if _size(packed) <= before or attempt == _ATTEMPTS - 1:
                raise
        except _CompleteError:
            break
        else:
            break
    if sums.digest(packed) == known:
        return
    packed.unlink()
    if not had:
        raise _SourceError("wrong SHA-256 sum")
    # Its start may be what another source once sent.
    _download(source, file, packed, known, report)


def _append(source: _Source, file: str, packed: Path, report: _Report) -> None:
    """Ask for what a partial file lacks."""
    size = _size(packed)
    with source.ask(file, after=size) as response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            size = 0
        length = response.headers.get("Content-Length", "")
        total = size + int(length) if length.isdecimal() else None
        with packed.open("ab" if size else "wb") as stream:
            for chunk in _chunks(response):
                stream.write(chunk)
                size += len(chunk)
                report(completed=size, total=total)
    if total is not None and size < total:
        raise _BrokenError("the file ends early")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """Yield what arrives, as long as it arrives fast enough."""
    since, received = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except TimeoutError as error:
            raise _DownError("silent in the middle of a file") from error
        except (OSError, HTTPException) as error:
            raise _BrokenError(f"the connection broke ({error})") from error
        if not chunk:
            return
        yield chunk
        received += len(chunk)
        elapsed = time.monotonic() - since
        if elapsed > _PATIENCE:
            if received < _SLOWEST * elapsed:
                raise _DownError("too slow")
            since, received = time.monotonic(), 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _progress(console: Console) -> Progress:
    """Show downloads while they run."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    disable = not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=disable)
