"""The control plane's parts, from wherever they can be had: cache, mirror, release, or Go.

Each is verified against `tools/control-plane/SHA256SUMS`; what differs never runs.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import zstandard
from rich.console import Console

from delivery.control_plane import parts as pins
from delivery.control_plane import sums
from delivery.control_plane.build import build
from delivery.control_plane.cache import Cache, ControlPlaneError
from delivery.control_plane.fetch import fetch
from delivery.control_plane.parts import PARTS, PLATFORMS, Part, release
from delivery.temporary import temporary_folder
from fraud_detection.repositories import REPOSITORY

RELEASES = f"{REPOSITORY.removesuffix('.git')}/releases/download"

_LEVEL = 12
"""Of zstd: 19 saves 2 % more and takes ten times as long."""


def provide(parts: Sequence[Part], console: Console) -> None:
    """Complete the cache.

    May be interrupted, and may run several times at once.

    Args:
        parts: Those that are needed.
        console: Gets a line per part, and the progress on a terminal.

    Raises:
        ControlPlaneError: If a part has no sum, or cannot be obtained.
    """
    cache = Cache.of_pins()
    if not cache.lacking(parts):
        return
    with cache.locked(console):
        _complete(cache, parts, console)


def write_sums(console: Console) -> None:
    """Build what has no sum with these pins, and write the sums of everything.

    Those of other platforms stay where they are of these pins.

    Args:
        console: As for `provide`.

    Raises:
        ControlPlaneError: If a build fails.
    """
    cache = Cache.of_pins()
    known = dict(cache.sums)
    with cache.locked(console), temporary_folder(".staging-", parent=cache.folder) as staging:

        def keep(part: Part, made: Path) -> None:
            known[part.file()] = sums.digest(made)
            cache.install(made, part)

        unknown = [part for part in PARTS if part.file() not in known]
        if unknown:
            build(unknown, staging, keep, console)
        _complete(Cache(folder=cache.folder, sums=known), PARTS, console)
        for part in PARTS:
            known[part.packed()] = sums.digest(_pack(part, cache, staging))
    names = {name(on) for part in PARTS for on in PLATFORMS for name in (part.file, part.packed)}
    sums.write({name: known[name] for name in names & known.keys()})
    console.print(f"written: {pins.PINS / sums.NAME}")


def pack(folder: Path, console: Console) -> None:
    """Write a mirror of all parts.

    Args:
        folder: The mirror; its other files stay.
        console: As for `provide`.

    Raises:
        ControlPlaneError: If a part cannot be obtained, or its compressed file has no sum.
    """
    provide(PARTS, console)
    cache = Cache.of_pins()
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(".packing-", parent=folder) as aside:
        for part in PARTS:
            packed = _pack(part, cache, aside)
            if sums.digest(packed) != cache.sum_of(part.packed()):
                raise ControlPlaneError(
                    f"{packed.name} has another sum than in {sums.NAME}: another version of zstd "
                    "packs otherwise; run `delivery control-plane --write-sums`."
                )
            packed.replace(folder / packed.name)


def reproduce(console: Console) -> list[str]:
    """Build every part again, elsewhere and without any cache of compiled code.

    Args:
        console: Gets a line per part, and the progress on a terminal.

    Returns:
        The names of those whose bytes differ from the committed sums.

    Raises:
        ControlPlaneError: If a part has no sum, or a build fails.
    """
    cache = Cache.of_pins()
    different = []

    def compare(part: Part, made: Path) -> None:
        same = sums.digest(made) == cache.sum_of(part.file())
        console.print(f"{part.name}: {'the same bytes' if same else 'other bytes'}")
        if not same:
            different.append(part.name)

    cache.folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(".reproduced-", parent=cache.folder) as folder:
        sources = Path(shutil.copytree(pins.PINS, folder / "pins"))
        variables = {"GOCACHE": str(folder / "compiled")}
        build(PARTS, folder, compare, console, sources=sources, variables=variables)
    return different


def _complete(cache: Cache, parts: Sequence[Part], console: Console) -> None:
    """Get what a locked cache lacks."""
    missing = cache.lacking(parts)
    for part in missing:
        if (cache.folder / part.name).exists():
            console.print(f"{part.name}: wrong SHA-256 sum in the cache: replacing it")
        cache.adopt(part)
    for address in _addresses():
        missing = cache.lacking(missing)
        if missing:
            fetch(missing, address, cache, console)
    missing = cache.lacking(missing)
    if missing:
        _compile(missing, cache, console)


def _addresses() -> list[str]:
    """Return the mirrors to ask, in their order."""
    named = os.environ.get("CONTROL_PLANE_MIRROR")
    mirrors = [] if not named else [named if "://" in named else Path(named).absolute().as_uri()]
    return [*(each.rstrip("/") for each in mirrors), f"{RELEASES}/{release()}"]


def _compile(missing: Sequence[Part], cache: Cache, console: Console) -> None:
    def keep(part: Part, made: Path) -> None:
        if sums.digest(made) != cache.sum_of(part.file()):
            raise ControlPlaneError(
                f"{part.name}, as built here, differs from tools/control-plane/{sums.NAME}: use "
                "the Go of go.dev, or set CONTROL_PLANE_MIRROR to an address or a folder of parts."
            )
        cache.install(made, part)

    with temporary_folder(".staging-", parent=cache.folder) as staging:
        build(missing, staging, keep, console)


def _pack(part: Part, cache: Cache, folder: Path) -> Path:
    packed = folder / part.packed()
    size = (cache.folder / part.name).stat().st_size
    with (cache.folder / part.name).open("rb") as stream, packed.open("wb") as target:
        zstandard.ZstdCompressor(level=_LEVEL).copy_stream(stream, target, size=size)
    return packed
