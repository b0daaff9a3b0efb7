"""Real Git remotes on disk: a bare repository with a small system that renders instantly.

It has services and environments of its own, so that no change of the live ones matters here.
"""

import atexit
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from delivery.manifests.applications import EVERYTHING, Environment, environments
from delivery.releases.edit import update_images
from delivery.releases.images import images_of
from fraud_detection.commit_status import SUBSCRIPTION
from fraud_detection.images import COMMIT, VERSION, Pin, read_images
from fraud_detection.platform.image import Image

SERVICES = {
    "payment-api": COMMIT,
    "alert-monitor": COMMIT,
    "redis": VERSION,
}
"""The services of these remotes, each with the rule for its tags."""
_IMAGES = f"""\
# Released images.

payment-api:
  repository: registry.test/payment-api
  tag: "{"1" * 40}"

alert-monitor:
  repository: registry.test/alert-monitor
  tag: "{"2" * 40}"

redis:
  repository: docker.io/library/redis
  tag: "7.2.16"
"""


def environment(name: str, branch: str, *, application: str) -> Environment:
    """Declare an environment."""
    return Environment(
        application=application,
        spec={
            "project": "default",
            "source": {
                "repoURL": "https://git.test/system.git",
                "targetRevision": branch,
                "path": f"dist/{name}",
            },
            "destination": {
                "server": "https://kubernetes.default.svc",
                "namespace": f"system-{name}",
            },
        },
        project=EVERYTHING,
    )


DEV = environment("dev", "develop", application="system")
STAGING = environment("staging", "main", application="system-staging")
PRODUCTION = environment("production", "production", application="system-production")

# Nothing depends on who runs the tests.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A Person",
    "GIT_AUTHOR_EMAIL": "person@example.test",
    "GIT_COMMITTER_NAME": "A Person",
    "GIT_COMMITTER_EMAIL": "person@example.test",
}

# Whichever test is the first to need a remote, which may have dates of its own.
_START = {f"GIT_{role}_DATE": "1700000000 +0000" for role in ("AUTHOR", "COMMITTER")}


def trust(image: Image) -> Image:
    """Take an image for proved, without a question to anybody."""
    return image


def run_git(folder: Path, *arguments: str, **variables: str) -> str:
    """Return the output of Git, which gets these environment variables as well."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **variables},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def write_applications(worktree: Path, chain: Sequence[Environment]) -> None:
    """Write the `dist/argocd` of a chain of environments."""
    applications = [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": each.application,
                "namespace": "argocd",
                "annotations": {SUBSCRIPTION: ""} if each.reports else {},
            },
            "spec": each.spec,
        }
        for each in chain
    ]
    folder = worktree / "dist" / "argocd"
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump_all(applications, sort_keys=False)
    (folder / "system.yaml").write_text(text, encoding="utf-8")


def render(worktree: Path) -> None:
    """Render what depends on images.yaml, so that a stale dist shows."""
    releases = images_of(worktree)
    for environment in environments(worktree):
        folder = worktree / "dist" / environment.name
        folder.mkdir(exist_ok=True)
        for service, release in releases.services.items():
            image = release.for_environment(environment.name).reference
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": service, "namespace": environment.namespace},
                "spec": {"containers": [{"name": "main", "image": image}]},
            }
            (folder / f"{service}.yaml").write_text(json.dumps(pod), encoding="utf-8")


@dataclass(frozen=True)
class Remote:
    """A bare repository with a branch per environment, and a clone of it.

    Attributes:
        bare: The remote.
        clone: The clone, on the branch develop.
    """

    bare: Path
    clone: Path

    @classmethod
    def create(cls, folder: Path, *environments: Environment) -> "Remote":
        """Create both in an empty folder.

        Args:
            folder: The folder.
            environments: The chain, beginning with `DEV`. Default: `DEV` and `STAGING`.
        """
        if not environments:
            # Hundreds of tests need this one, and Git starts twenty processes to build it.
            return _template().copy(folder)
        remote = cls(folder / "remote.git", folder / "clone")
        _build(remote, environments)
        return remote

    def copy(self, folder: Path) -> "Remote":
        """Copy both to an empty folder."""
        remote = Remote(folder / "remote.git", folder / "clone")
        shutil.copytree(self.bare, remote.bare)
        shutil.copytree(self.clone, remote.clone)
        config = remote.clone / ".git" / "config"
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace(str(self.bare), str(remote.bare)), encoding="utf-8")
        return remote

    def head(self, branch: str = "develop") -> str:
        """Return the commit of a branch."""
        return run_git(self.bare, "rev-parse", f"refs/heads/{branch}")

    def commits(self, branch: str = "develop") -> list[str]:
        """Return all commits of a branch, the oldest first."""
        return run_git(self.bare, "rev-list", "--reverse", branch).splitlines()

    def file(self, path: str, commit: str = "develop") -> str:
        """Return the content of a file in a commit."""
        return run_git(self.bare, "show", f"{commit}:{path}")

    def images(self, commit: str = "develop") -> dict[str, str]:
        """Return the tag of each service in a commit."""
        releases = images_of(self.bare, commit)
        return {name: release.image.tag for name, release in releases.services.items()}

    def inconsistent(self, folder: Path) -> list[str]:
        """Return the commits whose dist is not what their sources render.

        Args:
            folder: A folder for another clone.
        """
        worktree = folder / "inspected"
        run_git(folder, "clone", "--quiet", "--shared", str(self.bare), str(worktree))
        found = []
        for commit in self.commits():
            run_git(worktree, "checkout", "--quiet", "--force", commit)
            render(worktree)
            if run_git(worktree, "status", "--porcelain"):
                found.append(commit)
        return found


def _build(remote: Remote, chain: Sequence[Environment]) -> None:
    """Create a remote with a chain of environments."""
    bare, clone = remote.bare, remote.clone
    run_git(bare.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    run_git(bare.parent, "clone", "--quiet", str(bare), str(clone))
    (clone / "cdk8s.yaml").touch()
    (clone / "images.yaml").write_text(_IMAGES, encoding="utf-8")
    write_applications(clone, chain)
    render(clone)
    run_git(clone, "switch", "--quiet", "--create", "develop")
    commit(clone, "Start", **_START)
    run_git(clone, "push", "--quiet", "origin", *(f"HEAD:refs/heads/{e.branch}" for e in chain))
    run_git(clone, "fetch", "--quiet")


def lasting_folder() -> Path:
    """Create a folder that is removed when the process ends."""
    temporary = TemporaryDirectory()
    atexit.register(temporary.cleanup)
    return Path(temporary.name)


@cache
def _template() -> Remote:
    """Create the remote of `DEV` and `STAGING` once per process, for others to copy."""
    folder = lasting_folder()
    template = Remote(folder / "remote.git", folder / "clone")
    _build(template, (DEV, STAGING))
    for sample in folder.glob("**/hooks/*.sample"):
        sample.unlink()
    return template


def commit(clone: Path, message: str, **variables: str) -> str:
    """Commit everything in a clone; Git gets these environment variables as well."""
    run_git(clone, "add", "--all")
    run_git(clone, "commit", "--quiet", "--allow-empty", "--message", message, **variables)
    return run_git(clone, "rev-parse", "HEAD")


def add_service(remote: Remote, name: str, tag: str) -> None:
    """Add a service to develop, where nothing has landed yet."""
    with (remote.clone / "images.yaml").open("a", encoding="utf-8") as file:
        file.write(f'\n{name}:\n  repository: r.test/{name}\n  tag: "{tag}"\n')
    render(remote.clone)
    commit(remote.clone, f"Add {name}")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")


def declare(remote: Remote, service: str, *, hold: str, pins: Mapping[str, str]) -> None:
    """Hold a service on develop, and pin environments to tags."""
    images = remote.clone / "images.yaml"
    names = [environment.name for environment in environments(remote.clone)]
    found = read_images(images, environments=names, services=SERVICES).services[service]
    pinned = {name: Pin(tag=tag, reason="slow") for name, tag in pins.items()}
    release = replace(found, hold=hold, pins=pinned)
    update_images(images, {service: release}, environments=names, services=SERVICES)
    render(remote.clone)
    commit(remote.clone, f"Declare {service}")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")


def application(folder: Path, builds: int) -> list[str]:
    """Create an application repository, and return its commits, the oldest first."""
    run_git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    return [commit(folder, f"Build {number}") for number in range(builds)]
