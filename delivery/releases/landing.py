"""How a change of images.yaml lands on a branch to which others push as well."""

import os
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path

from delivery.commands import CommandError
from delivery.git import GitError, git, is_ancestor, without_credentials
from delivery.manifests import dist
from delivery.manifests.applications import environments, select
from delivery.manifests.tree import DIST
from delivery.releases import pull_request
from delivery.releases.bundle import write_bundle
from delivery.releases.changes import Change, ReleaseError
from delivery.releases.edit import update_images
from delivery.releases.images import ANY_TAG, IMAGES, images_of
from delivery.releases.sandbox import ROBOT_EMAIL, ROBOT_NAME, Sandbox, absolute, sandbox
from delivery.text import escaped
from fraud_detection.images import SERVICES, ImagesError, Rule, read_images

ATTEMPTS = 60
"""Maximum number of times that a change is redone because others push first."""
_LONGEST_PAUSE_SECONDS = 20
_CONCURRENT_PUSH = re.compile(r"cannot lock ref|failed to update ref|incorrect old value")
"""Errors of a remote during somebody else's push."""
_REFUSED = "[remote rejected]"
"""Git's word for an answer of the remote's rules, such as GitHub's rulesets."""


class RaceError(ReleaseError):
    """Others pushed first on every attempt."""

    exit_code = 5


@dataclass(frozen=True, kw_only=True)
class Landing:
    """The result of landing a change.

    Attributes:
        commit: The commit; None if there was nothing to change.
        attempts: How often it was made.
        difference: That of images.yaml.
        proposed: Address of the pull request that offers it, if it could not be pushed.
    """

    commit: str | None
    attempts: int
    difference: str
    proposed: str | None = None


def land(
    repository: Path,
    change: Change,
    *,
    remote: str,
    branch: str,
    propose: bool = False,
    dry_run: bool = False,
    bundle: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
    render: Callable[[Path], object] = dist.synthesize,
) -> Landing:
    """Commit a change on top of a remote's branch and push it.

    When others push first, the change is redone on top of theirs: rendered files are never merged.
    When the remote's rules refuse the push, a pull request offers it. The caller's checkout, index
    and branches stay as they are.

    Args:
        repository: The repository, which lends its remotes and credentials.
        change: The change.
        remote: Name or address of the remote.
        branch: Branch on the remote.
        propose: Whether to open a pull request without an attempt to push.
        dry_run: Whether to do everything but push.
        bundle: File to write the commit to, instead of pushing it.
        report: Gets one line per step.
        render: Replaces the `dist/` of a worktree, by default with what its own code renders.

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
    place = without_credentials(f"{remote}/{branch}")
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
            difference = _edit(private, change, branch)
            if not difference:
                return Landing(commit=None, attempts=attempt, difference="")
            report("render")
            render(private.folder)
            commit = _commit(private, change)
            if bundle is not None:
                write_bundle(private, commit, bundle, branch=branch)
            landing = Landing(commit=commit, attempts=attempt, difference=difference)
            if dry_run or bundle:
                return landing
            report("push")
            try:
                if not propose and _push(private, remote, branch, base):
                    return landing
                refused = propose
            except GitError as error:
                refused = _REFUSED in error.output
                if not refused:
                    raise
            if refused:
                proposed = _propose(repository, private, change, remote, branch)
                return replace(landing, proposed=proposed)
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


def _edit(private: Sandbox, change: Change, branch: str) -> str:
    images = private.folder / IMAGES
    known = environments(private.folder)
    about = select(known, change.environment)[0]
    if change.in_force and about.branch != branch:
        raise ReleaseError(
            f"Nothing reads a pin of {about.name} on {branch}: add --branch {about.branch}."
        )
    names = [environment.name for environment in known]
    services = _services(private)
    changed = change.edit(read_images(images, environments=names, services=services))
    before = images.read_text(encoding="utf-8")
    update_images(images, changed, environments=names, services=services)
    after = images.read_text(encoding="utf-8")
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(unified_diff(old, new, f"a/{IMAGES}", f"b/{IMAGES}", lineterm=""))


def _services(private: Sandbox) -> Mapping[str, Rule]:
    """Return the services of the branch: a checkout of another one may know more, or fewer."""
    with suppress(ImagesError, OSError):
        known = images_of(private.folder).services
        return {name: SERVICES.get(name, ANY_TAG) for name in known}
    # The next reader reports what is wrong with it.
    return SERVICES


def _commit(private: Sandbox, change: Change) -> str:
    private.git("add", "--force", "--all", "--", IMAGES, DIST)
    # Git would take a reason that begins with a `#` for a comment.
    cleanup = "--cleanup=verbatim"
    tree = private.git("write-tree")
    private.git(*_identity(private), "commit", "--quiet", cleanup, "--message", change.message)
    if private.git("log", "-1", "--format=%T%n%B") != f"{tree}\n{change.message}":
        raise ReleaseError(
            "A Git hook of this clone changed the commit: a hook may refuse a release, "
            "not change it; fix or remove the hook."
        )
    return private.git("rev-parse", "HEAD")


def _identity(private: Sandbox) -> list[str]:
    """Return options that name the robot, if this is a workflow that names nobody else."""
    try:
        private.git("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
    except GitError as error:
        if not os.environ.get("CI"):
            raise ReleaseError(
                "Git does not know who you are, and others may have questions about this change: "
                "run `git config --global user.name NAME` and "
                "`git config --global user.email EMAIL`."
            ) from error
        return ["-c", f"user.name={ROBOT_NAME}", "-c", f"user.email={ROBOT_EMAIL}"]
    return []


def _push(private: Sandbox, remote: str, branch: str, base: str) -> bool:
    """Return whether the remote has the commit; if not, others pushed first."""
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


def _propose(repository: Path, private: Sandbox, change: Change, remote: str, branch: str) -> str:
    """Push the commit to a branch of its own, and return the pull request from there."""
    commit = private.git("rev-parse", "HEAD")
    head = f"{change.topic}-{commit[:7]}"
    private.git("push", "--quiet", "--", remote, f"HEAD:refs/heads/{head}")
    try:
        return pull_request.create(
            repository,
            head=head,
            base=branch,
            title=change.subject,
            body=escaped(change.body or ""),
        )
    except CommandError as error:
        raise ReleaseError(
            f"{branch} takes pull requests only: open one from the branch {head}, which was "
            f"pushed; it could not be opened here: {error.reason}"
        ) from error
