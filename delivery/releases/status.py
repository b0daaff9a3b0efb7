"""The released image of each service on each branch, and in a cluster."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from delivery.commands import kubectl
from delivery.manifests.applications import Environment, environments
from delivery.releases.chain import ChainError, fetch
from delivery.releases.gate import newest_report
from delivery.releases.images import images_of
from delivery.releases.reports import Report
from delivery.releases.timeline import State, timeline, unpromoted
from fraud_detection.images import Pin, Releases
from fraud_detection.platform.image import Image

_TIMEOUT = "--request-timeout=20s"
"""By default kubectl waits for minutes for a cluster that does not answer."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service in the cluster, in one environment.

    `sync`, `health` and `revision` are those of the environment's Application, such as `Synced`
    and `Healthy`; the revision is empty before the first sync. `images` are the tags of the
    running pods.
    """

    environment: str
    sync: str
    health: str
    revision: str
    images: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Held:
    """A hold of a service, and the branches that have it; promotions take it along."""

    branches: Sequence[str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A pin of a service, and the branches that have it."""

    environment: str
    branches: Sequence[str]
    tag: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How far an environment is behind the first one.

    Bumps are those that the first branch has released since the image that this one has; `seconds`
    is how long ago the first of them landed. A pin has no influence on either.
    """

    bumps: int
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of one service.

    Attributes:
        service: Name in images.yaml.
        images: Tag by environment, each from the environment's own branch; None: the branch does
            not know the service.
        behind: Lag by environment, for each environment after the first.
        missing: Branch by environment, for branches that the remote lacks; these environments are
            in neither `images` nor `behind`.
        without_digest: Environments whose image has no digest.
        holds: Holds on any branch; only that of the first one refuses bumps.
        pins: Pins on any branch.
        reports: What Argo CD reported last on GitHub, by environment that reports.
        running: State in the cluster, if one was asked.
    """

    service: str
    images: Mapping[str, str | None]
    behind: Mapping[str, Lag]
    missing: Mapping[str, str]
    without_digest: Sequence[str]
    holds: Sequence[Held]
    pins: Sequence[Pinned]
    reports: Mapping[str, Report | None]
    running: Sequence[Running] = ()


def status(
    repository: Path, *, remote: str, context: str | None = None, now: float | None = None
) -> list[Status]:
    """Return the state of each service on a remote, and in the cluster of a kubeconfig context.

    `now` is the time of the report in seconds since the epoch, by default that of the call.

    Raises:
        ChainError: If there are no branches, or the clone is shallow.
        TreeError: If `dist/argocd` is missing or damaged.
        CommandError: If the cluster does not answer, or GitHub, if an environment reports there.
        GitError: If the remote cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong.
    """
    now = time() if now is None else now
    known = environments(repository)
    heads = fetch(repository, remote, known)
    missing = {each.name: each.branch for each in known if each.branch not in heads}
    if not heads:
        raise ChainError(
            f"{remote} has none of the branches {', '.join(missing.values())}: push one first."
        )
    branches = [
        _Branch(environment=each, releases=images_of(repository, head))
        for each in known
        if (head := heads.get(each.branch))
    ]
    first, *later = branches
    states = timeline(repository, heads[first.environment.branch])
    cluster = None if context is None else _Cluster(context, known)
    reports = {
        each.name: newest_report(repository, each, heads[each.branch])
        for each in known
        if each.reports and each.branch in heads
    }
    found = []
    for service in dict.fromkeys(name for each in branches for name in each.releases.services):
        images = {each.environment.name: each.image(service) for each in branches}
        repositories = {image.repository for image in images.values() if image}
        found.append(
            Status(
                service=service,
                images={name: image.tag if image else None for name, image in images.items()},
                behind={each.environment.name: _lag(states, service, each, now) for each in later},
                missing=missing,
                without_digest=[
                    name for name, image in images.items() if image and image.digest is None
                ],
                holds=_holds(service, branches),
                pins=_pins(service, branches),
                reports=reports,
                running=cluster.running(repositories) if cluster else (),
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class _Branch:
    """The branch of one environment."""

    environment: Environment
    releases: Releases

    def image(self, service: str) -> Image | None:
        """Return the image that its environment runs; None if it does not know the service."""
        release = self.releases.services.get(service)
        return release.for_environment(self.environment.name) if release else None


def _holds(service: str, branches: Sequence[_Branch]) -> list[Held]:
    found: dict[str, list[str]] = {}
    for each in branches:
        release = each.releases.services.get(service)
        if release and release.hold is not None:
            found.setdefault(release.hold, []).append(each.environment.branch)
    return [Held(branches=where, reason=reason) for reason, where in found.items()]


def _pins(service: str, branches: Sequence[_Branch]) -> list[Pinned]:
    found: dict[tuple[str, Pin], list[str]] = {}
    for each in branches:
        release = each.releases.services.get(service)
        for pin in release.pins.items() if release else ():
            found.setdefault(pin, []).append(each.environment.branch)
    return [
        Pinned(environment=environment, branches=where, tag=pin.tag, reason=pin.reason)
        for (environment, pin), where in found.items()
    ]


def _lag(states: Sequence[State], service: str, later: _Branch, now: float) -> Lag:
    release = later.releases.services.get(service)
    newer = unpromoted(states, service, release.image if release else None)
    return Lag(bumps=len(newer), seconds=max(0, int(now) - newer[-1].time) if newer else 0)


class _Cluster:
    """A cluster's Applications and running images, read once."""

    def __init__(self, context: str, environments: Sequence[Environment]) -> None:
        listed = _list(context, "argocd", "applications.argoproj.io")
        self._applications = {each["metadata"]["name"]: each.get("status", {}) for each in listed}
        self._images = [
            (
                environment,
                [
                    container["image"]
                    for pod in _list(context, environment.namespace, "pods")
                    if pod["status"].get("phase") == "Running"
                    for container in pod["spec"]["containers"]
                ],
            )
            for environment in environments
        ]

    def running(self, repositories: Collection[str]) -> list[Running]:
        """Return the state of the images with these names, by environment."""
        found = []
        for environment, images in self._images:
            application = self._applications.get(environment.application, {})
            sync = application.get("sync", {})
            tags = {
                image.removeprefix(f"{name}:")
                for name in repositories
                for image in images
                if image.startswith(f"{name}:")
            }
            found.append(
                Running(
                    environment=environment.name,
                    sync=sync.get("status", "no Application"),
                    health=application.get("health", {}).get("status", "no Application"),
                    revision=sync.get("revision", ""),
                    images=sorted(tags),
                )
            )
        return found


def _list(context: str, namespace: str, kind: str) -> list[Any]:
    options = ("--output=json", _TIMEOUT)
    items: list[Any] = json.loads(
        kubectl(context, f"--namespace={namespace}", "get", kind, *options)
    )["items"]
    return items
