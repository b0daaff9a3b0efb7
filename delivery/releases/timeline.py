"""What a branch released, and when, from its own history."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from delivery.git import blobs, git
from delivery.releases.images import IMAGES, parse
from fraud_detection.images import ImagesError, Release, Releases
from fraud_detection.platform.image import Image

RELEASE = "Release"
"""Trailer with a service and its image, as the bump that released it writes it."""
SOURCE_RUN = "Source-Run"
"""Trailer with the URL of the workflow run that built it."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The releases of a branch from one commit on, until the next one.

    `time` is the commit's, in seconds since the epoch; it landed on the branch itself, by a push or
    a merge of `author`.
    """

    commit: str
    time: int
    author: str
    releases: Releases


def timeline(repository: Path, head: str) -> list[State]:
    """Return the states of a branch, the newest first; those that cannot be read are left out.

    Raises:
        GitError: If there is no such commit.
    """
    form = "--format=%H%x00%ct%x00%an"
    log = git(repository, "log", "--first-parent", "--diff-filter=AM", form, head, "--", IMAGES)
    commits = [line.split("\0") for line in log.splitlines()]
    contents = blobs(repository, [f"{commit}:{IMAGES}" for commit, _, _ in commits])
    states = []
    for (commit, time, author), content in zip(commits, contents, strict=True):
        with suppress(ImagesError):
            releases = parse(content, commit)
            states.append(State(commit=commit, time=int(time), author=author, releases=releases))
    return states


def changes(
    states: Sequence[State], service: str, image: Callable[[Release], Image]
) -> Iterator[tuple[State, Image | None]]:
    """Yield when a service got another image, and which, the newest first.

    Args:
        states: See `timeline`.
        service: Name in images.yaml.
        image: Returns the image of a release that counts, such as that of an environment.
    """
    found = [
        image(release) if (release := state.releases.services.get(service)) else None
        for state in states
    ]
    for (state, new), old in zip(zip(states, found, strict=True), [*found[1:], None], strict=True):
        if new != old:
            yield state, new


def unpromoted(states: Sequence[State], service: str, image: Image | None) -> list[State]:
    """Return when a branch released what is newer than an image of the same service."""
    newer = []
    for state, released in changes(states, service, lambda release: release.image):
        if released == image:
            break
        newer.append(state)
    return newer
