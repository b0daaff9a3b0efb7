"""The cache of the control plane's parts, which all clones share; nothing in it is trusted.

What is in it counts only with the SHA-256 sum that is committed beside the pins.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from delivery.control_plane import sums
from delivery.control_plane.parts import Part, release, this_platform
from delivery.errors import DeliveryError


class ControlPlaneError(DeliveryError):
    """The control plane is missing, or cannot be obtained; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folder of the control plane of exactly these pins, on this platform.

    Attributes:
        folder: Each part under its name; it need not exist.
        sums: The committed sums.
    """

    folder: Path
    sums: Mapping[str, str]

    @classmethod
    def of_pins(cls) -> "Cache":
        """Return that of the pins of this working tree."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "fraud-detection-config" / "control-plane" / release()
        return cls(folder=folder, sums=sums.read())

    def sum_of(self, file: str) -> str:
        """Return the sum of a part, or of its compressed file.

        Raises:
            ControlPlaneError: If there is none.
        """
        if file in self.sums:
            return self.sums[file]
        raise ControlPlaneError(
            f"tools/control-plane/{sums.NAME} has no {file}: after a change of pins, or on a "
            f"platform that it lacks (this is {this_platform()}), run "
            "`delivery control-plane --write-sums`."
        )

    def lacking(self, wanted: Iterable[Part]) -> list[Part]:
        """Return the parts that are not there, or not with their sum.

        Raises:
            ControlPlaneError: If a part has no sum.
        """
        return [
            part
            for part in wanted
            if not sums.is_genuine(self.folder / part.name, self.sum_of(part.file()))
        ]

    def adopt(self, part: Part) -> bool:
        """Take a part from the folder of other pins, if one there has its sum; return whether."""
        target = self.folder / part.name
        for other in self.folder.parent.glob(f"*/{part.name}"):
            # Not every file system has links.
            with suppress(OSError):
                if other != target and sums.is_genuine(other, self.sum_of(part.file())):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.unlink(missing_ok=True)
                    target.hardlink_to(other)
                    return True
        return False

    def install(self, made: Path, part: Part) -> None:
        """Move a complete file to where a part belongs, on the same file system."""
        target = self.folder / part.name
        target.parent.mkdir(parents=True, exist_ok=True)
        made.chmod(0o755 if part.is_program else 0o644)
        made.replace(target)

    @contextmanager
    def locked(self, console: Console) -> Iterator[None]:
        """Wait for other runs that fill the folder; the system frees the lock with its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.print("another run is getting the control plane: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
