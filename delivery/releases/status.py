"""What is released where: on the branches, and in a cluster."""

import json
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.errors import DeliveryError
from delivery.git import git
from delivery.manifests.applications import Environment
from delivery.releases.changes import bumped
from delivery.releases.images import IMAGES, images_of
from delivery.releases.stages import fetch, stages
from fraud_detection.images import Image, Pin, Release, Releases

_DAY = 24 * 60 * 60
_PATIENCE = "--request-timeout=20s"
"""Without it, kubectl waits for minutes for a cluster that is not there."""


class StatusError(DeliveryError):
    """The cluster does not answer; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a cluster runs of a service in one environment.

    Attributes:
        environment: Folder of `dist/`.
        sync: What Argo CD says of the environment's Application, such as `Synced`.
        health: Likewise, such as `Healthy`.
        revision: The commit that Argo CD compared it with; empty: with none.
        images: The tags that running pods have; empty: none runs.
    """

    environment: str
    sync: str
    health: str
    revision: str
    images: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A service that runs something else in one environment than what is released.

    Attributes:
        environment: Folder of `dist/`.
        branches: That say so.
        tag: What it runs.
        reason: Why.
    """

    environment: str
    branches: Sequence[str]
    tag: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a service is.

    Attributes:
        service: As images.yaml calls it.
        images: Tag by environment, as the branch of that environment has it; None: that branch
            does not know the service.
        bumps: How many bumps of it the first branch has that the last one lacks.
        days: Between the commits that gave the first and the last branch their tags.
        hold: Why it takes no bumps, on the first branch.
        pins: On any branch.
        running: In the cluster, if that was asked.
    """

    service: str
    images: dict[str, str | None]
    bumps: int
    days: int
    hold: str | None
    pins: Sequence[Pinned]
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
        StagesError: If there are no environments, or the history is not there.
        StatusError: If the cluster does not answer.
    """
    known = stages(repository)
    heads = fetch(repository, remote, known)
    branches = [
        _Branch(stage=stage, head=head, releases=images_of(repository, head))
        for stage, head in zip(known, heads, strict=True)
    ]
    first, last = branches[0], branches[-1]
    bumps = bumped(repository, last.head, first.head)
    cluster = None if context is None else _Cluster(context, known)
    return [
        Status(
            service=service,
            images={each.stage.name: _tag(each.image(service)) for each in branches},
            bumps=bumps[service],
            days=_days(repository, service, first, last),
            hold=_hold(first.release(service)),
            pins=_pins(service, branches),
            running=() if cluster is None else cluster.running(_repositories(service, branches)),
        )
        for service in dict.fromkeys(name for each in branches for name in each.releases.services)
    ]


@dataclass(frozen=True, kw_only=True)
class _Branch:
    """Where one environment is released, and what."""

    stage: Environment
    head: str
    releases: Releases

    def release(self, service: str) -> Release | None:
        """What it says of a service, if it knows it."""
        return self.releases.services.get(service)

    def image(self, service: str) -> Image | None:
        """What its environment runs of it."""
        release = self.release(service)
        return release.for_environment(self.stage.name) if release else None


def _tag(image: Image | None) -> str | None:
    return image.tag if image else None


def _hold(release: Release | None) -> str | None:
    return release.hold if release else None


def _pins(service: str, branches: Sequence[_Branch]) -> list[Pinned]:
    found: dict[tuple[str, Pin], list[str]] = {}
    for each in branches:
        release = each.release(service)
        for pin in release.pins.items() if release else ():
            found.setdefault(pin, []).append(each.stage.branch)
    return [
        Pinned(environment=environment, branches=where, tag=pin.tag, reason=pin.reason)
        for (environment, pin), where in found.items()
    ]


def _repositories(service: str, branches: Sequence[_Branch]) -> set[str]:
    return {image.repository for each in branches if (image := each.image(service))}


def _days(repository: Path, service: str, first: _Branch, last: _Branch) -> int:
    newer, older = first.image(service), last.image(service)
    if newer is None or older is None or newer.tag == older.tag:
        return 0
    seconds = _since(repository, first.head, newer) - _since(repository, last.head, older)
    return abs(seconds) // _DAY


def _since(repository: Path, head: str, image: Image) -> int:
    """When a tag came into images.yaml, in seconds."""
    found = git(repository, "log", "-1", "--format=%ct", f"-S{image.tag}", head, "--", IMAGES)
    return int(found or 0)


class _Cluster:
    """What a cluster says, asked once for each environment."""

    def __init__(self, context: str, stages: Sequence[Environment]) -> None:
        listed = _kubectl(context, "--namespace=argocd", "applications.argoproj.io")
        self._applications = {each["metadata"]["name"]: each.get("status", {}) for each in listed}
        self._stages = [
            (stage, _kubectl(context, f"--namespace={stage.namespace}", "pods")) for stage in stages
        ]

    def running(self, repositories: Collection[str]) -> list[Running]:
        """What each environment runs of the images with these names."""
        found = []
        for stage, pods in self._stages:
            said = self._applications.get(stage.application, {})
            found.append(
                Running(
                    environment=stage.name,
                    sync=said.get("sync", {}).get("status", "no Application"),
                    health=said.get("health", {}).get("status", "no Application"),
                    revision=said.get("sync", {}).get("revision", ""),
                    images=sorted({tag for name in repositories for tag in _tags(pods, name)}),
                )
            )
        return found


def _tags(pods: Sequence[Any], repository: str) -> Iterator[str]:
    for pod in pods:
        if pod["status"].get("phase") == "Running":
            for container in pod["spec"]["containers"]:
                image: str = container["image"]
                if image.startswith(f"{repository}:"):
                    yield image.removeprefix(f"{repository}:")


def _kubectl(context: str, namespace: str, kind: str) -> list[Any]:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            [
                *("kubectl", f"--context={context}", namespace, "get", kind),
                *("--output=json", _PATIENCE),
            ],
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
