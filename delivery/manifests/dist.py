"""The rendered manifests under `dist/`: replacing them, and proving that they are current."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from subprocess import TimeoutExpired

from delivery import processes
from delivery.errors import DeliveryError
from delivery.git import GitError, git
from delivery.manifests.applications import FOLDER, parse
from delivery.manifests.tree import DIST, manifests, read_dist, read_folder
from delivery.temporary import temporary_folder

_KEPT = re.compile(
    # Programs, and the libraries of a Python that is not the system's.
    r"PATH|LD_LIBRARY_PATH"
    # jsii keeps the unpacked cdk8s there; without it each render unpacks it again.
    r"|HOME"
    # Encoding of the files that are read.
    r"|LANG|LC_[A-Z]+"
    # Settings of the two runtimes, such as the Node to use.
    r"|JSII_\w+|PYTHON\w*"
)
"""Variables that a render inherits: any other may hold a secret, and any branch may read it."""
_DISK = re.compile(r"no space left on device|disk quota exceeded|(input/output|i/o) error")
_SECONDS = 10 * 60
"""Time limit of a render, which takes three seconds."""


class RenderError(DeliveryError):
    """The render failed or is incomplete; the message is that of the render."""


class Flaw(Enum):
    """A flaw of a file in dist; the value completes the sentence `<file> …`."""

    STALE = "is not what the sources render"
    MISSING = "is missing"
    ORPHANED = "is not rendered any more"
    UNTRACKED = "is not tracked by Git, so Argo CD will never see it"
    UNMERGED = "has an unresolved merge conflict"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A file with a flaw, by its path from the root of the repository."""

    path: str
    flaw: Flaw

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.path} {self.flaw.value}"


@contextmanager
def rendered(repository: Path) -> Iterator[Path]:
    """Render the sources of a working tree, by its own code, into a temporary folder.

    Yields:
        A folder like `dist/`, on the same file system as the repository; removed afterwards.

    Raises:
        RenderError: If the render fails, or renders nothing into a folder that Argo CD applies.
    """
    with temporary_folder(".synth-", parent=repository) as folder:
        fresh = folder / DIST
        _synth(repository, fresh)
        _require_complete(fresh)
        yield fresh


def synthesize(repository: Path) -> list[str]:
    """Run `cdk8s synth`, and replace `dist/` if the result is complete.

    Returns:
        Paths of the rendered files from the root of the repository.

    Raises:
        RenderError: If the render fails or is incomplete; `dist/` is unchanged then.
    """
    with rendered(repository) as fresh:
        dist = repository / DIST
        replaced = fresh.with_name("replaced")
        try:
            if dist.exists():
                dist.rename(replaced)
            fresh.rename(dist)
        finally:
            if not dist.exists() and replaced.exists():
                replaced.rename(dist)
        return sorted(map(str, read_dist(repository)))


def prove(repository: Path, fresh: Path) -> list[Finding]:
    """Compare the whole of `dist/` with a fresh render, and with the files that Git tracks.

    Returns:
        Every file that is stale, missing, orphaned, untracked or unmerged; empty if none is.

    Raises:
        RenderError: If this is not a Git working tree.
    """
    expected = {
        PurePosixPath(DIST, path): content for path, content in read_folder(fresh, ".").items()
    }
    actual, tracked = read_dist(repository), _tracked(repository)
    flawed = {
        Flaw.STALE: {
            path for path in expected.keys() & actual.keys() if expected[path] != actual[path]
        },
        Flaw.MISSING: expected.keys() - actual.keys(),
        Flaw.ORPHANED: actual.keys() - expected.keys(),
        Flaw.UNTRACKED: actual.keys() - tracked.keys(),
        Flaw.UNMERGED: {path for path, stage in tracked.items() if stage != "0"},
    }
    findings = [Finding(path=str(each), flaw=flaw) for flaw in flawed for each in flawed[flaw]]
    return sorted(findings, key=lambda finding: finding.path)


def _synth(repository: Path, output: Path) -> None:
    programs = Path(sys.executable).parent
    temporary = output.with_name("tmp")
    temporary.mkdir()
    try:
        done = processes.run(
            [programs / "cdk8s", "synth", "--check-upgrade", "false", "--output", output],
            folder=repository,
            environment={
                **{name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)},
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                # The installed package may be that of another working tree.
                "PYTHONPATH": str(repository / "constructs"),
                # What cdk8s and jsii leave there goes with the render.
                "TMPDIR": str(temporary),
            },
            limit=_SECONDS,
        )
    except FileNotFoundError as error:
        raise RenderError("cdk8s is not installed here: run `make setup`.") from error
    except TimeoutExpired as error:
        raise RenderError(
            f"The render did not end within {error.timeout:g} seconds: "
            "run `cdk8s synth` to see where it waits."
        ) from error
    if done.returncode != 0:
        errors = done.stderr.decode(errors="replace")
        # Python, Node and jsii each surround it with a stack trace.
        if cause := _DISK.search(errors.lower()):
            raise RenderError(f"Cannot render in {repository}: {cause[0]}; free or fix the disk.")
        # The message of main.py comes first, then a stack trace of the command line itself.
        message = errors.partition('Error: command "')[0].strip()
        raise RenderError(message or errors)


def _require_complete(fresh: Path) -> None:
    """Refuse an empty or missing folder: Argo CD would prune everything that it had applied."""
    files = read_dist(fresh.parent)
    known = parse(each.manifest for each in manifests(files, FOLDER))
    for folder in (FOLDER, *(each.folder for each in known)):
        if not manifests(files, folder):
            raise RenderError(f"The sources render nothing into {folder}.")


def _tracked(repository: Path) -> dict[PurePosixPath, str]:
    """Return the files of dist in Git's index, each with its stage: `0` unless in conflict."""
    # A commit hook may be given an index of its own.
    index = {name: value for name, value in os.environ.items() if name == "GIT_INDEX_FILE"}
    try:
        listing = git(repository, "ls-files", "-z", "--stage", "--", DIST, environment=index)
    except GitError as error:
        reason = error.output.strip()
        raise RenderError(f"Cannot list what Git tracks below {DIST}: {reason}") from error
    entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
    return {PurePosixPath(path): blob.split()[2] for blob, _, path in entries}
