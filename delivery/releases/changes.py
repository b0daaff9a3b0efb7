"""Changes of images.yaml, and how they land on a branch to which others push as well."""

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import TypeAlias

from delivery.errors import DeliveryError
from delivery.git import GitError, git, is_ancestor
from delivery.manifests import dist
from delivery.manifests.applications import environments, select
from delivery.manifests.tree import DIST
from delivery.releases.bundle import write_bundle
from delivery.releases.edit import check_build, check_reason, unknown_service, update_images
from delivery.releases.history import Order, order
from delivery.releases.images import IMAGES
from delivery.releases.sandbox import Sandbox, absolute, sandbox
from delivery.releases.timeline import RELEASE, SOURCE_RUN
from fraud_detection.images import SERVICES, Pin, Release, Releases, read_images
from fraud_detection.platform.image import Image

ATTEMPTS = 60
"""Maximum number of times that a change is redone because others push first."""
_LONGEST_PAUSE_SECONDS = 20
_CONCURRENT_PUSH = re.compile(r"cannot lock ref|failed to update ref|incorrect old value")
"""Errors of a remote during somebody else's push."""
_Edit: TypeAlias = Callable[[Releases], Mapping[str, Release]]


class ReleaseError(DeliveryError):
    """A change cannot land; the message says why and what to do."""


class HeldError(ReleaseError):
    """A service is held."""

    exit_code = 3


class OlderError(ReleaseError):
    """A build is not newer than the released one."""

    exit_code = 4


class RaceError(ReleaseError):
    """Others pushed first on every attempt."""

    exit_code = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of images.yaml.

    Attributes:
        subject: First line of the commit message.
        trailers: Last lines of the commit message, as keys and values.
        edit: Maps the current releases to the changed ones by service; empty if there is nothing
            to change.
        body: The reason, as one line between subject and trailers. Default: none.
        environment: Environment that must exist. Default: none.
    """

    subject: str
    trailers: Sequence[tuple[str, str]]
    edit: _Edit
    body: str | None = None
    environment: str | None = None

    def __post_init__(self) -> None:
        """Refuse a body that could pose as a trailer."""
        if self.body is not None:
            check_reason(self.body)


@dataclass(frozen=True, kw_only=True)
class Build:
    """A built image of a service of images.yaml; see `Image` for its tag and digest."""

    service: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        """Return the service and its image, as in a commit message."""
        return f"{self.service} {self.tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, kw_only=True)
class Landing:
    """The result of landing a change.

    There is no commit if there was nothing to change. The difference is that of images.yaml.
    """

    commit: str | None
    attempts: int
    difference: str


def bump(
    builds: Sequence[Build],
    *,
    prove: Callable[[Image], Image],
    history: str | None = None,
    allow_older: bool = False,
    source_run: str | None = None,
) -> Change:
    """Release builds, at most one of each service, all in one commit.

    Args:
        builds: The builds.
        prove: Returns an image with its digest, or raises a DeliveryError if it may not run.
        history: See `order`. Default: every build counts as newer.
        allow_older: Whether to accept a build that is older.
        source_run: URL of the workflow run that built them, for the record.

    Raises:
        ImagesError: If images.yaml cannot hold a build.
        ReleaseError: If a service has two builds.
        HeldError: From the edit, if a service is held.
        OlderError: From the edit, if a build is not newer.
    """
    for build in builds:
        check_build(build.service, build.tag, build.digest, services=SERVICES)
    if len({build.service for build in builds}) < len(builds):
        raise ReleaseError("A service has two builds: give one.")
    trailers = [(RELEASE, str(build)) for build in builds]
    if source_run is not None:
        if not source_run.isprintable():
            raise ReleaseError("The source run is not one line of text: give its URL.")
        trailers.append((SOURCE_RUN, source_run))

    def edit(releases: Releases) -> dict[str, Release]:
        new = [build for build in builds if not _is_released(releases, build)]
        for build in new:
            held = releases.services[build.service].hold
            if held is not None:
                raise HeldError(
                    f"{build.service} is held ({held}): "
                    f"run `delivery unhold {build.service}` first."
                )
            if history is not None and not allow_older:
                _require_newer(releases, build, history)
        return {build.service: _bumped(releases, build, prove) for build in new}

    what = ", ".join(f"{build.service} to {build.tag[:12]}" for build in builds)
    return Change(subject=f"Bump {what}", trailers=trailers, edit=edit)


def _bumped(releases: Releases, build: Build, prove: Callable[[Image], Image]) -> Release:
    release = releases.services[build.service].bumped(build.tag, build.digest)
    return replace(release, image=prove(release.image))


def _is_released(releases: Releases, build: Build) -> bool:
    image = releases.services[build.service].image
    # People who repeat a bump by hand seldom give the digest.
    return build.tag == image.tag and build.digest in {None, image.digest}


def _require_newer(releases: Releases, build: Build, history: str) -> None:
    released = releases.services[build.service].image.tag
    found = order(history, released=released, build=build.tag)
    if found not in {Order.NEWER, Order.SAME}:
        raise OlderError(
            f"{build.service}: {build.tag} is {found.value}, {released}: "
            "add --allow-older if that is intended."
        )


def hold(service: str, *, reason: str) -> Change:
    """Refuse bumps of a service.

    Raises:
        ImagesError: If the reason is not one line.
    """
    return Change(
        subject=f"Hold {service}",
        trailers=[("Service", service)],
        body=reason,
        edit=_edit_of(service, lambda release: replace(release, hold=reason)),
    )


def unhold(service: str, *, reason: str | None) -> Change:
    """Accept bumps of a held service again; the reason is optional.

    Raises:
        ImagesError: If the reason is not one line.
    """
    return Change(
        subject=f"Unhold {service}",
        trailers=[("Service", service)],
        body=reason,
        edit=_edit_of(service, lambda release: replace(release, hold=None)),
    )


def pin(build: Build, environment: str, *, prove: Callable[[Image], Image], reason: str) -> Change:
    """Run a build in one environment, whatever is released; `prove` is that of a bump.

    Raises:
        ImagesError: If images.yaml cannot hold the pin.
    """
    check_build(build.service, build.tag, build.digest, services=SERVICES)

    def pinned(release: Release) -> Release:
        image = prove(replace(release.image, tag=build.tag, digest=build.digest))
        pin = Pin(tag=image.tag, digest=image.digest, reason=reason)
        return replace(release, pins={**release.pins, environment: pin})

    return Change(
        subject=f"Pin {build.service} in {environment} to {build.tag[:12]}",
        trailers=[("Pin", f"{environment} {build}")],
        body=reason,
        environment=environment,
        edit=_edit_of(build.service, pinned),
    )


def unpin(service: str, environment: str, *, reason: str | None) -> Change:
    """Run the released build in a pinned environment again; the reason is optional.

    Raises:
        ImagesError: If the reason is not one line.
    """

    def unpinned(release: Release) -> Release:
        pins = {name: found for name, found in release.pins.items() if name != environment}
        return replace(release, pins=pins)

    return Change(
        subject=f"Unpin {service} in {environment}",
        trailers=[("Unpin", f"{environment} {service}")],
        body=reason,
        environment=environment,
        edit=_edit_of(service, unpinned),
    )


def _edit_of(service: str, change: Callable[[Release], Release]) -> _Edit:
    def edit(releases: Releases) -> dict[str, Release]:
        if service not in releases.services:
            raise unknown_service(service, releases.services)
        return {service: change(releases.services[service])}

    return edit


def land(
    repository: Path,
    change: Change,
    *,
    remote: str,
    branch: str,
    dry_run: bool = False,
    bundle: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    render: Callable[[Path], object] = dist.synthesize,
) -> Landing:
    """Commit a change on top of a remote's branch and push it.

    When others push first, the change is redone on top of theirs: rendered files are never merged.
    The caller's checkout, index and branches stay as they are. A dry run does everything but push;
    with `bundle`, the commit is written to that file instead. `report` gets one line per step;
    `render` replaces the `dist/` of a worktree, by default with what the worktree's own code
    renders.

    Raises:
        ReleaseError: If the edit refuses, a hook changes the commit, or others push first on every
            attempt.
        ImagesError: If images.yaml is wrong, or cannot hold the change.
        GitError: If Git or the remote refuses.
        RenderError: If the branch does not render.
        TreeError: If `dist/argocd` of the branch is missing or damaged.
        UnknownEnvironmentError: If the branch lacks the change's environment.
    """
    git(repository, "check-ref-format", "--branch", branch)
    place = f"{remote}/{branch}"
    if remote not in git(repository, "remote").splitlines():
        remote = absolute(repository, remote)
    with sandbox(repository) as private:
        for attempt in range(1, ATTEMPTS + 1):
            started = time.monotonic()
            report(f"fetch {place}")
            base = _fetch(private, remote, branch)
            private.git("reset", "--quiet", "--hard", base)
            # Including Python's bytecode: it misses a source that changes twice within a second.
            private.git("clean", "--quiet", "-ffdx")
            difference = _edit(private, change)
            if not difference:
                return Landing(commit=None, attempts=attempt, difference="")
            report("render")
            render(private.folder)
            commit = _commit(private, change)
            if bundle is not None:
                write_bundle(private, commit, bundle, branch=branch)
            if dry_run or bundle or _push(private, remote, branch, base, report):
                return Landing(commit=commit, attempts=attempt, difference=difference)
            spent = time.monotonic() - started
            longest = min(_LONGEST_PAUSE_SECONDS, spent * 2 ** min(attempt, 4))
            report(f"{place} has moved: attempt {attempt + 1}")
            time.sleep(random.uniform(0, longest))  # noqa: S311 - keeps rivals apart, no secret
    raise RaceError(
        f"Others pushed to {place} first on {ATTEMPTS} attempts: nothing has changed; "
        "try again later."
    )


def _fetch(private: Sandbox, remote: str, branch: str) -> str:
    # A mirror's refspec would update the branch that is checked out.
    private.git("fetch", "--quiet", "--refmap=", "--", remote, f"refs/heads/{branch}")
    return private.git("rev-parse", "FETCH_HEAD")


def _edit(private: Sandbox, change: Change) -> str:
    images = private.folder / IMAGES
    known = environments(private.folder)
    if change.environment is not None:
        select(known, change.environment)
    names = [environment.name for environment in known]
    changed = change.edit(read_images(images, environments=names, services=SERVICES))
    before = images.read_text(encoding="utf-8")
    update_images(images, changed, environments=names, services=SERVICES)
    after = images.read_text(encoding="utf-8")
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(unified_diff(old, new, f"a/{IMAGES}", f"b/{IMAGES}", lineterm=""))


def _commit(private: Sandbox, change: Change) -> str:
    private.git("add", "--force", "--all", "--", IMAGES, DIST)
    trailers = "\n".join(f"{key}: {value}" for key, value in change.trailers)
    message = "\n\n".join(filter(None, [change.subject, change.body, trailers]))
    # Git would take a reason that begins with a `#` for a comment.
    cleanup = "--cleanup=verbatim"
    tree = private.git("write-tree")
    private.git(*_identity(private), "commit", "--quiet", cleanup, "--message", message)
    if private.git("log", "-1", "--format=%T%n%B") != f"{tree}\n{message}":
        raise ReleaseError(
            "A Git hook of this clone changed the commit: a hook may refuse a release, "
            "not change it; fix or remove the hook."
        )
    return private.git("rev-parse", "HEAD")


def _identity(private: Sandbox) -> list[str]:
    try:
        private.git("config", "user.email")
    except GitError:
        email = "delivery@fraud-detection.invalid"
        return ["-c", "user.name=fraud-detection delivery", "-c", f"user.email={email}"]
    return []


def _push(
    private: Sandbox, remote: str, branch: str, base: str, report: Callable[[str], None]
) -> bool:
    """Return whether the remote has the commit; if not, others pushed first."""
    report("push")
    # Only onto our base: a plain push would restore commits that somebody has removed.
    lease = f"--force-with-lease=refs/heads/{branch}:{base}"
    try:
        private.git("push", "--quiet", lease, "--", remote, f"HEAD:refs/heads/{branch}")
    except GitError as error:
        # Git has many messages for a lost race, and some of them read like a refusal.
        if _CONCURRENT_PUSH.search(error.output) or _fetch(private, remote, branch) != base:
            return False
        raise
    return is_ancestor(private.folder, "HEAD", _fetch(private, remote, branch))
