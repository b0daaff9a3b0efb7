"""What people and robots do to the branches of a remote, each in one call."""

from collections.abc import Callable
from pathlib import Path

import remotes
from delivery.manifests.applications import Environment
from delivery.releases import changes, landing, promotion
from delivery.releases.changes import Build
from delivery.releases.promotion import Promotion
from github import merge
from remotes import DEV, STAGING, Remote, run_git


def land(remote: Remote, change: changes.Change, branch: str = "develop") -> None:
    """Land a change on a branch."""
    landing.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)
    run_git(remote.clone, "fetch", "--quiet")


def bump(
    remote: Remote,
    tag: str,
    branch: str = "develop",
    *,
    service: str = "payment-api",
    digest: str | None = None,
) -> None:
    """Release a build."""
    build = Build(service=service, tag=tag, digest=digest)
    land(remote, changes.bump([build], prove=remotes.trust), branch)


def pin(
    remote: Remote,
    tag: str = "7.2.17",
    *,
    service: str = "redis",
    environment: str = "staging",
    branch: str = "main",
    reason: str = "leaks",
) -> None:
    """Pin a service in an environment."""
    build = Build(service=service, tag=tag)
    land(remote, changes.pin(build, environment, reason=reason, prove=remotes.trust), branch)


def write(remote: Remote, branch: str, path: str, text: str, message: str = "Edit") -> str:
    """Commit a file on a branch, and return the commit."""
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "--detach", f"origin/{branch}")
    (remote.clone / path).write_text(text, encoding="utf-8")
    commit = remotes.commit(remote.clone, message)
    run_git(remote.clone, "push", "--quiet", "origin", f"HEAD:{branch}")
    return commit


def prepare_any(
    remote: Remote,
    *pair: Environment,
    verdict: str | None = None,
    overrule: str | None = None,
    render: Callable[[Path], object] = remotes.render,
) -> Promotion | None:
    """Prepare the promotion from dev to staging, or of another pair."""
    source, target = pair or (DEV, STAGING)
    return promotion.prepare(
        remote.clone,
        source,
        target,
        remote="origin",
        verdict=verdict,
        overrule=overrule,
        render=render,
    )


def prepare(
    remote: Remote, *pair: Environment, verdict: str | None = None, overrule: str | None = None
) -> Promotion:
    """Prepare a promotion that has something to promote."""
    found = prepare_any(remote, *pair, verdict=verdict, overrule=overrule)
    assert found is not None
    return found


def promote(
    remote: Remote, *pair: Environment, overrule: str | None = None, how: str = "--no-ff"
) -> str:
    """Promote and merge, and return the new commit of the target."""
    found = prepare(remote, *pair, overrule=overrule)
    ref = f"+{found.commit}:refs/heads/{found.branch}"
    run_git(remote.clone, "push", "--quiet", "origin", ref)
    return merge(remote.clone, found.branch, found.target, [how])
