"""Real Git remotes on disk: a bare repository with a system whose render takes no time."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from delivery.manifests.applications import environments
from delivery.releases.images import images_of
from fraud_detection.images import Pin, read_images, update_images
from repository import REPOSITORY

OURS = ("payment-api", "alert-monitor", "flink-app")


# Nothing of whoever runs the tests.
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A Person",
    "GIT_AUTHOR_EMAIL": "person@example.test",
    "GIT_COMMITTER_NAME": "A Person",
    "GIT_COMMITTER_EMAIL": "person@example.test",
}


def run_git(folder: Path, *arguments: str) -> str:
    """What Git answers."""
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def render(worktree: Path) -> None:
    """Render what depends on images.yaml, and so can be told from a stale one."""
    releases = images_of(worktree)
    for environment in environments(worktree):
        folder = worktree / "dist" / environment.name
        folder.mkdir(exist_ok=True)
        for service, release in releases.services.items():
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": service, "namespace": environment.namespace},
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "image": release.for_environment(environment.name).reference,
                        }
                    ]
                },
            }
            (folder / f"{service}.yaml").write_text(json.dumps(pod), encoding="utf-8")


@dataclass(frozen=True)
class Remote:
    """A bare repository with the branches develop and main, and a clone of it.

    Attributes:
        bare: The remote.
        clone: On the branch develop.
    """

    bare: Path
    clone: Path

    @classmethod
    def create(cls, folder: Path) -> "Remote":
        """Make both in an empty folder."""
        remote = cls(folder / "remote.git", folder / "clone")
        run_git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(remote.bare))
        run_git(folder, "clone", "--quiet", str(remote.bare), str(remote.clone))
        for path in ("images.yaml", "dist/argocd", "cdk8s.yaml"):
            target = remote.clone / path
            target.parent.mkdir(exist_ok=True)
            copy = shutil.copytree if (REPOSITORY / path).is_dir() else shutil.copy
            copy(REPOSITORY / path, target)
        render(remote.clone)
        run_git(remote.clone, "switch", "--quiet", "--create", "develop")
        commit(remote.clone, "Start")
        run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop", "HEAD:main")
        run_git(remote.clone, "fetch", "--quiet")
        return remote

    def head(self, branch: str = "develop") -> str:
        """The commit of a branch."""
        return run_git(self.bare, "rev-parse", f"refs/heads/{branch}")

    def commits(self, branch: str = "develop") -> list[str]:
        """All commits of a branch, the oldest first."""
        return run_git(self.bare, "rev-list", "--reverse", branch).splitlines()

    def file(self, path: str, commit: str = "develop") -> str:
        """What a file says in a commit."""
        return run_git(self.bare, "show", f"{commit}:{path}")

    def images(self, folder: Path, commit: str = "develop") -> dict[str, str]:
        """The tag of each service in a commit; the folder is for what is read."""
        path = folder / f"{commit}.yaml"
        path.write_text(self.file("images.yaml", commit) + "\n", encoding="utf-8")
        releases = read_images(path, environments=["dev", "staging"])
        return {name: release.image.tag for name, release in releases.services.items()}

    def inconsistent(self, folder: Path) -> list[str]:
        """The commits whose dist is not what their sources render; the folder is for a clone."""
        worktree = folder / "inspected"
        run_git(folder, "clone", "--quiet", "--shared", str(self.bare), str(worktree))
        found = []
        for commit in self.commits():
            run_git(worktree, "checkout", "--quiet", "--force", commit)
            render(worktree)
            if run_git(worktree, "status", "--porcelain"):
                found.append(commit)
        return found


def commit(clone: Path, message: str) -> str:
    """Commit all that is in a clone."""
    run_git(clone, "add", "--all")
    run_git(clone, "commit", "--quiet", "--allow-empty", "--message", message)
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
    found = read_images(images, environments=names).services[service]
    pinned = {name: Pin(tag=tag, reason="slow") for name, tag in pins.items()}
    release = replace(found, hold=hold, pins=pinned)
    update_images(images, {service: release}, environments=names)
    render(remote.clone)
    commit(remote.clone, f"Declare {service}")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")


def application(folder: Path, builds: int) -> list[str]:
    """Make the repository of an application: its commits, the oldest first."""
    run_git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    return [commit(folder, f"Build {number}") for number in range(builds)]
