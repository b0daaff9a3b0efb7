"""Changes of images.yaml that land on a branch of a remote, whoever else is pushing to it."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import GitError, git, is_ancestor
from delivery.manifests import dist
from delivery.manifests.tree import DIST
from delivery.releases.history import Order, order
from delivery.releases.images import IMAGES
from delivery.releases.sandbox import Sandbox, absolute, sandbox
from delivery.releases.stages import stages
from fraud_detection.images import (
    ImagesError,
    Pin,
    Release,
    Releases,
    check_build,
    check_reason,
    read_images,
    update_images,
)

ATTEMPTS = 60
"""How often a change is made anew when others push first."""
_LONGEST_PAUSE_SECONDS = 20
_RELEASE = "Release"
"""The trailer that names a service and its image."""
_UNDER_WAY = re.compile(r"cannot lock ref|failed to update ref|incorrect old value")
"""What a remote says while somebody else's push is under way."""
_ROBOT = ("fraud-detection delivery", "delivery@fraud-detection.invalid")
"""Author of a commit where Git knows nobody."""


class ReleaseError(DeliveryError):
    """A change cannot land; the message says why and what to do."""


class HeldError(ReleaseError):
    """A service takes no bumps."""

    exit_code = 3


class OlderError(ReleaseError):
    """A build is not newer than the recorded one."""

    exit_code = 4


class RaceError(ReleaseError):
    """Others pushed first, each time."""

    exit_code = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """What shall be different.

    Attributes:
        subject: First line of the commit.
        trailers: Last lines of the commit, by key.
        edit: Given all releases, those that shall be different; none: nothing is to be done.
        body: What else the commit says. Default: nothing.
        environment: What must be one, with a folder below `dist/`. Default: nothing.
    """

    subject: str
    trailers: Sequence[tuple[str, str]]
    edit: Callable[[Releases], Mapping[str, Release]]
    body: str = ""
    environment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Build:
    """An image that was built.

    Attributes:
        service: As images.yaml calls it.
        tag: As of `Image`.
        digest: As of `Image`. Default: whatever the tag means.
    """

    service: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        """The service and its image, as a commit names them."""
        return f"{self.service} {self.tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True, kw_only=True)
class Landing:
    """What became of a change.

    Attributes:
        commit: The commit that the branch has; None: there was nothing to be done.
        attempts: How often it was made.
        difference: What it changed in images.yaml, as a unified diff.
    """

    commit: str | None
    attempts: int
    difference: str


def bump(
    builds: Sequence[Build],
    *,
    history: str | None = None,
    allow_older: bool = False,
    source_run: str | None = None,
) -> Change:
    """Release builds, all in one commit.

    Args:
        builds: What was built.
        history: As of `order`. Default: a build is taken for newer.
        allow_older: Whether to go back on purpose.
        source_run: Address of the run that built them, for the record.

    Raises:
        ImagesError: If images.yaml could not say this.
        ReleaseError: If a service is named twice.
        HeldError: From the edit, if one of them is held.
        OlderError: From the edit, if one of them is not newer.
    """
    for build in builds:
        check_build(build.service, build.tag, build.digest)
    if len({build.service for build in builds}) < len(builds):
        raise ReleaseError("A service is named twice: name the build that is meant.")
    trailers = [(_RELEASE, str(build)) for build in builds]
    if source_run is not None:
        if not source_run.isprintable():
            raise ReleaseError("The source run is not one line: it could pose as a trailer.")
        trailers.append(("Source-Run", source_run))

    def edit(releases: Releases) -> dict[str, Release]:
        new = [build for build in builds if not _is_released(releases, build)]
        for build in new:
            _require_free(releases, build)
            if history is not None and not allow_older:
                _require_newer(releases, build, history)
        return {
            build.service: releases.services[build.service].bumped(build.tag, build.digest)
            for build in new
        }

    what = ", ".join(f"{build.service} to {build.tag[:12]}" for build in builds)
    return Change(subject=f"Bump {what}", trailers=trailers, edit=edit)


def _is_released(releases: Releases, build: Build) -> bool:
    image = releases.services[build.service].image
    # Who repeats a bump by hand seldom gives the digest.
    return build.tag == image.tag and build.digest in {None, image.digest}


def _require_free(releases: Releases, build: Build) -> None:
    reason = releases.services[build.service].hold
    if reason is not None:
        raise HeldError(f"{build.service} is held: {reason}")


def _require_newer(releases: Releases, build: Build, history: str) -> None:
    recorded = releases.services[build.service].image.tag
    found = order(history, recorded=recorded, build=build.tag)
    if found not in {Order.NEWER, Order.SAME}:
        raise OlderError(
            f"{build.service}: {build.tag} is {found.value}, {recorded}: "
            "say --allow-older if that is meant."
        )


def bumped(repository: Path, base: str, head: str) -> Counter[str]:
    """How often each service was bumped between two commits.

    Args:
        repository: That has both.
        base: Commit whose bumps do not count.
        head: Commit whose bumps do.
    """
    form = f"--format=%(trailers:key={_RELEASE},valueonly)"
    lines = git(repository, "log", form, f"{base}..{head}").splitlines()
    return Counter(line.split()[0] for line in lines if line)


def hold(service: str, *, reason: str) -> Change:
    """Refuse bumps of a service.

    Args:
        service: As images.yaml calls it.
        reason: Why.
    """
    return _set_hold(service, f"Hold {service}", reason, hold=reason)


def unhold(service: str, *, reason: str | None) -> Change:
    """Take bumps of a held service again.

    Args:
        service: As images.yaml calls it.
        reason: Why, for the record.
    """
    return _set_hold(service, f"Unhold {service}", reason, hold=None)


def _set_hold(service: str, subject: str, reason: str | None, *, hold: str | None) -> Change:
    return Change(
        subject=subject,
        trailers=[("Service", service)],
        body=_recorded(reason),
        edit=lambda releases: _changed(releases, service, lambda found: replace(found, hold=hold)),
    )


def pin(
    build: Build,
    environment: str,
    *,
    reason: str,
) -> Change:
    """Have one environment run a build, whatever is released.

    Args:
        build: What it shall run.
        environment: Name of its folder below `dist/`.
        reason: Why.

    Raises:
        ImagesError: If images.yaml could not say this.
    """
    check_build(build.service, build.tag, build.digest)
    check_reason(reason)
    pinned = Pin(tag=build.tag, digest=build.digest, reason=reason)
    return Change(
        subject=f"Pin {build.service} in {environment} to {build.tag[:12]}",
        trailers=[("Pin", f"{environment} {build}")],
        body=reason,
        environment=environment,
        edit=lambda releases: _changed(
            releases,
            build.service,
            lambda found: replace(found, pins={**found.pins, environment: pinned}),
        ),
    )


def unpin(service: str, environment: str, *, reason: str | None) -> Change:
    """Have one environment run what is released again.

    Args:
        service: As images.yaml calls it.
        environment: Name of its folder below `dist/`.
        reason: Why, for the record.
    """
    return Change(
        subject=f"Unpin {service} in {environment}",
        trailers=[("Unpin", f"{environment} {service}")],
        body=_recorded(reason),
        environment=environment,
        edit=lambda releases: _changed(
            releases,
            service,
            lambda found: replace(
                found, pins={name: p for name, p in found.pins.items() if name != environment}
            ),
        ),
    )


def _recorded(reason: str | None) -> str:
    if reason is None:
        return ""
    check_reason(reason)
    return reason


def _changed(
    releases: Releases, service: str, change: Callable[[Release], Release]
) -> dict[str, Release]:
    if service not in releases.services:
        raise ImagesError(
            f"{service!r} is no service; the services are {', '.join(releases.services)}."
        )
    return {service: change(releases.services[service])}


def land(
    repository: Path,
    change: Change,
    *,
    remote: str,
    branch: str,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda _: None,
    render: Callable[[Path], object] = dist.synthesize,
) -> Landing:
    """Commit a change on top of a remote's branch and push it.

    When others push first, everything is made anew on what they pushed: what was rendered is never
    merged. Nothing of the caller's checkout, index or branches changes.

    Args:
        repository: Any worktree of the repository.
        change: What shall be different.
        remote: Name or address.
        branch: On the remote.
        dry_run: Do all but push.
        report: Is told what happens, a line each.
        render: Makes the `dist/` of a worktree. Default: the code of that worktree does.

    Raises:
        ReleaseError: If the change itself says so, or others push first each time.
        ImagesError: If images.yaml is wrong, or cannot say this.
        GitError: If Git or the remote refuses.
        RenderError: If the branch does not render.
        StagesError: If the branch names no environments.
    """
    git(repository, "check-ref-format", "--branch", branch)
    place = f"{remote}/{branch}"
    remote = absolute(repository, remote)
    with sandbox(repository) as private:
        for attempt in range(1, ATTEMPTS + 1):
            started = time.monotonic()
            report(f"fetch {place}")
            base = _fetch(private, remote, branch)
            _check_out(private, base)
            difference = _edit(private, change)
            if not difference:
                return Landing(commit=None, attempts=attempt, difference="")
            report("render")
            render(private.folder)
            commit = _commit(private, change)
            if dry_run or _push(private, remote, branch, base, report):
                return Landing(commit=commit, attempts=attempt, difference=difference)
            spent = time.monotonic() - started
            longest = min(_LONGEST_PAUSE_SECONDS, spent * 2 ** min(attempt, 4))
            report(f"{place} has moved: attempt {attempt + 1}")
            time.sleep(random.uniform(0, longest))  # noqa: S311 - keeps rivals apart, no secret
    raise RaceError(
        f"Others pushed to {place} first, {ATTEMPTS} times: nothing has changed, try again later."
    )


def _fetch(private: Sandbox, remote: str, branch: str) -> str:
    # A mirror's own refspec would write to the branch that is checked out.
    private.git("fetch", "--quiet", "--refmap=", "--", remote, f"refs/heads/{branch}")
    return private.git("rev-parse", "FETCH_HEAD")


def _check_out(private: Sandbox, commit: str) -> None:
    private.git("reset", "--quiet", "--hard", commit)
    # Also what Python compiled: a source that changes within a second looks the same to it.
    private.git("clean", "--quiet", "-ffdx")


def _edit(private: Sandbox, change: Change) -> str:
    images = private.folder / IMAGES
    names = [stage.name for stage in stages(private.folder)]
    if change.environment not in {None, *names}:
        raise ReleaseError(f"There is no environment {change.environment!r}: {', '.join(names)}.")
    changed = change.edit(read_images(images, environments=names))
    before = images.read_text(encoding="utf-8")
    update_images(images, changed, environments=names)
    after = images.read_text(encoding="utf-8")
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(unified_diff(old, new, f"a/{IMAGES}", f"b/{IMAGES}", lineterm=""))


def _commit(private: Sandbox, change: Change) -> str:
    private.git("add", "--force", "--all", "--", IMAGES, DIST)
    trailers = "\n".join(f"{key}: {value}" for key, value in change.trailers)
    message = "\n\n".join(filter(None, [change.subject, change.body, trailers]))
    # Whatever the caller's own commits are: a reason may begin with a `#`.
    cleanup = "--cleanup=verbatim"
    private.git(*_identity(private), "commit", "--quiet", cleanup, "--message", message)
    return private.git("rev-parse", "HEAD")


def _identity(private: Sandbox) -> list[str]:
    try:
        private.git("config", "user.email")
    except GitError:
        name, email = _ROBOT
        return ["-c", f"user.name={name}", "-c", f"user.email={email}"]
    return []


def _push(
    private: Sandbox, remote: str, branch: str, base: str, report: Callable[[str], None]
) -> bool:
    """Whether the remote took the commit and has it; otherwise others were first."""
    report("push")
    # Only onto what we built on: a plain push would bring back what somebody took away.
    lease = f"--force-with-lease=refs/heads/{branch}:{base}"
    try:
        private.git("push", "--quiet", lease, "--", remote, f"HEAD:refs/heads/{branch}")
    except GitError as error:
        # Git says in many ways that others were first, and some of them sound like a refusal.
        if _UNDER_WAY.search(error.said) or _fetch(private, remote, branch) != base:
            return False
        raise
    return is_ancestor(private.folder, "HEAD", _fetch(private, remote, branch))
