"""What is released where: on the branches, and in a cluster."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery import dist
from delivery.dist import DIST, Environment
from delivery.git import git, resolve
from delivery.images import IMAGES, images_of
from delivery.release import bumped
from fraud_detection.images import Release, Releases

_DAY = 24 * 60 * 60


class StatusError(Exception):
    """The cluster does not answer; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a cluster runs of a service in one environment.

    Attributes:
        environment: Folder of `dist/`.
        sync: What Argo CD says of the environment's Application, such as `Synced`.
        health: Likewise, such as `Healthy`.
        images: The references that running pods have; empty: none runs.
    """

    environment: str
    sync: str
    health: str
    images: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a service is.

    Attributes:
        service: As images.yaml calls it.
        images: Tag by environment, as the branch of that environment has it.
        bumps: How many bumps of it the first branch has that the last one lacks.
        days: Between the commits that gave the first and the last branch their tags.
        hold: Why it takes no bumps, on the first branch.
        pins: Reason by environment.
        running: In the cluster, if that was asked.
    """

    service: str
    images: dict[str, str]
    bumps: int
    days: int
    hold: str | None
    pins: dict[str, str]
    running: Sequence[Running] = ()


def status(repository: Path, *, remote: str, context: str | None = None) -> list[Status]:
    """Find out where each service is.

    Args:
        repository: Root of the Git working tree.
        remote: Whose branches to look at, after fetching them.
        context: Of the kubeconfig, to ask that cluster too. Default: none is asked.

    Raises:
        GitError: If the remote lacks a branch, or cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong.
        StatusError: If the cluster does not answer.
    """
    stages = dist.environments(repository / DIST)
    branches = [stage.branch for stage in stages]
    git(repository, "fetch", "--quiet", "--no-tags", remote, *branches)
    heads = [resolve(repository, f"{remote}/{branch}") for branch in branches]
    releases = [images_of(repository, head) for head in heads]
    bumps = bumped(repository, heads[-1], heads[0])
    cluster = None if context is None else _Cluster(context, stages)
    return [
        Status(
            service=service,
            images=_tags(service, stages, releases),
            bumps=bumps[service],
            days=_days(repository, service, heads, releases),
            hold=release.hold,
            pins=_pins(service, releases),
            running=() if cluster is None else cluster.running(release),
        )
        for service, release in releases[0].services.items()
    ]


def _tags(
    service: str, stages: Sequence[Environment], releases: Sequence[Releases]
) -> dict[str, str]:
    return {
        stage.name: of.services[service].for_environment(stage.name).tag
        for stage, of in zip(stages, releases, strict=True)
    }


def _pins(service: str, releases: Sequence[Releases]) -> dict[str, str]:
    return {
        name: f"{pin.tag}: {pin.reason}"
        for of in releases
        for name, pin in of.services[service].pins.items()
    }


def _days(
    repository: Path, service: str, heads: Sequence[str], releases: Sequence[Releases]
) -> int:
    first, last = (
        _since(repository, head, of.services[service].image.tag)
        for head, of in ((heads[0], releases[0]), (heads[-1], releases[-1]))
    )
    return abs(last - first) // _DAY


def _since(repository: Path, head: str, tag: str) -> int:
    """When a tag came into images.yaml, in seconds."""
    found = git(repository, "log", "-1", "--format=%ct", f"-S{tag}", head, "--", IMAGES)
    return int(found or 0)


class _Cluster:
    """What a cluster says, asked once for each environment."""

    def __init__(self, context: str, stages: Sequence[Environment]) -> None:
        listed = _kubectl(context, "--namespace=argocd", "applications.argoproj.io")
        self._applications = {each["metadata"]["name"]: each.get("status", {}) for each in listed}
        self._stages = [
            (stage, _kubectl(context, f"--namespace={stage.namespace}", "pods")) for stage in stages
        ]

    def running(self, release: Release) -> list[Running]:
        """What each environment runs of a service."""
        found = []
        for stage, pods in self._stages:
            said = self._applications.get(stage.application, {})
            found.append(
                Running(
                    environment=stage.name,
                    sync=said.get("sync", {}).get("status", "no Application"),
                    health=said.get("health", {}).get("status", "no Application"),
                    images=sorted(set(_images(pods, release.image.repository))),
                )
            )
        return found


def _images(pods: Sequence[Any], repository: str) -> Iterator[str]:
    for pod in pods:
        if pod["status"].get("phase") == "Running":
            for container in pod["spec"]["containers"]:
                name, _, tag = container["image"].partition(":")
                if name == repository:
                    yield tag


def _kubectl(context: str, namespace: str, kind: str) -> list[Any]:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["kubectl", f"--context={context}", namespace, "get", kind, "--output=json"],  # noqa: S607 - the user's own kubectl
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise StatusError("There is no kubectl: install it, or leave out --context.") from error
    if done.returncode != 0:
        raise StatusError(f"kubectl get {kind} failed: {' '.join(done.stderr.split())}.")
    items: list[Any] = json.loads(done.stdout)["items"]
    return items
