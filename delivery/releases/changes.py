"""Changes of images.yaml that people and robots ask for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from delivery.errors import DeliveryError
from delivery.products.catalog import version_risks
from delivery.releases.edit import check_build, check_reason, unknown_service
from delivery.releases.history import Order, order
from delivery.releases.timeline import RELEASE, SOURCE_RUN
from delivery.text import short
from fraud_detection.images import SERVICES, Pin, Release, Releases
from fraud_detection.platform.image import Image

_Edit: TypeAlias = Callable[[Releases], Mapping[str, Release]]


class ReleaseError(DeliveryError):
    """A change cannot land; the message says why and what to do."""


class HeldError(ReleaseError):
    """A service is held."""

    exit_code = 3


class OlderError(ReleaseError):
    """A build is not newer than the released one, or cannot follow it."""

    exit_code = 4


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of images.yaml.

    Attributes:
        topic: Start of the name of a branch for it, such as `hold/redis`.
        subject: First line of the commit message.
        trailers: Last lines of the commit message, as keys and values.
        edit: Maps the current releases to the changed ones by service; empty if there is nothing
            to change.
        body: The reason, as one line between subject and trailers. Default: none.
        environment: Environment that it is about, whose branch gets it. Default: all of them, from
            the first one on.
        in_force: Whether the environment must read the branch.
    """

    topic: str
    subject: str
    trailers: Sequence[tuple[str, str]]
    edit: _Edit
    body: str | None = None
    environment: str | None = None
    in_force: bool = False

    @property
    def message(self) -> str:
        """The whole commit message."""
        trailers = "\n".join(f"{key}: {value}" for key, value in self.trailers)
        return "\n\n".join(filter(None, [self.subject, self.body, trailers]))

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
        allow_older: Whether to accept a build that is older, or that a store's data forbids.
        source_run: URL of the workflow run that built them, for the record.

    Raises:
        ImagesError: If images.yaml cannot hold a build.
        ReleaseError: If a service has two builds.
        HeldError: From the edit, if a service is held.
        OlderError: From the edit, if a build is not newer, or cannot follow the released one.
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
        for build in builds:
            _require_known(build.service, releases)
        new = [build for build in builds if not _is_released(releases, build)]
        for build in new:
            _require_unheld(releases, build)
            if not allow_older:
                require_order(releases.services[build.service].image, build)
                if history is not None:
                    _require_newer(releases, build, history)
        return {build.service: _bumped(releases, build, prove) for build in new}

    what = ", ".join(f"{build.service} to {short(build.tag)}" for build in builds)
    topic = f"bump/{builds[0].service}"
    return Change(topic=topic, subject=f"Bump {what}", trailers=trailers, edit=edit)


def _bumped(releases: Releases, build: Build, prove: Callable[[Image], Image]) -> Release:
    release = releases.services[build.service].bumped(build.tag, build.digest)
    return replace(release, image=prove(release.image))


def _is_released(releases: Releases, build: Build) -> bool:
    image = releases.services[build.service].image
    # People who repeat a bump by hand seldom give the digest.
    return build.tag == image.tag and build.digest in {None, image.digest}


def _require_unheld(releases: Releases, build: Build) -> None:
    held = releases.services[build.service].hold
    if held is not None:
        raise HeldError(
            f"{build.service} is held ({held}): run `delivery unhold {build.service}` first."
        )


def _require_newer(releases: Releases, build: Build, history: str) -> None:
    released = releases.services[build.service].image.tag
    found = order(history, released=released, build=build.tag)
    if found not in {Order.NEWER, Order.SAME}:
        raise OlderError(
            f"{build.service}: {build.tag} is {found.value}, {released}: "
            "add --allow-older if that is intended."
        )


def require_order(running: Image, build: Build) -> None:
    """Refuse a version of a store that cannot work with the data of the running one.

    Raises:
        OlderError: With the reason.
    """
    for risk in version_risks(running.repository, running.tag, build.tag):
        raise OlderError(f"{build.service}: {risk}; add --allow-older if that is intended.")


def hold(service: str, *, reason: str) -> Change:
    """Refuse bumps of a service.

    Raises:
        ImagesError: If the reason is not one line.
    """
    return Change(
        topic=f"hold/{service}",
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
        topic=f"unhold/{service}",
        subject=f"Unhold {service}",
        trailers=[("Service", service)],
        body=reason,
        edit=_edit_of(service, lambda release: replace(release, hold=None)),
    )


def pin(
    build: Build,
    environment: str,
    *,
    prove: Callable[[Image], Image],
    reason: str,
    allow_older: bool = False,
) -> Change:
    """Run a build in one environment, whatever is released.

    Args:
        build: The build.
        environment: The environment.
        prove: As for a bump.
        reason: Why.
        allow_older: Whether to accept a build that a store's data forbids.

    Raises:
        ImagesError: If images.yaml cannot hold the pin.
        OlderError: From the edit, if the build cannot follow what runs there.
    """
    check_build(build.service, build.tag, build.digest, services=SERVICES)

    def pinned(release: Release) -> Release:
        if not allow_older:
            require_order(release.for_environment(environment), build)
        image = prove(replace(release.image, tag=build.tag, digest=build.digest))
        pin = Pin(tag=image.tag, digest=image.digest, reason=reason)
        return replace(release, pins={**release.pins, environment: pin})

    return Change(
        topic=f"pin/{build.service}",
        subject=f"Pin {build.service} in {environment} to {short(build.tag)}",
        trailers=[("Pin", f"{environment} {build}")],
        body=reason,
        environment=environment,
        in_force=True,
        edit=_edit_of(build.service, pinned),
    )


def unpin(
    service: str, environment: str, *, reason: str | None, allow_older: bool = False
) -> Change:
    """Run the released build in a pinned environment again; the reason is optional.

    Raises:
        ImagesError: If the reason is not one line.
        OlderError: From the edit, if a store's data forbids it, unless older builds are allowed.
    """

    def unpinned(release: Release) -> Release:
        if not allow_older:
            released = Build(service=service, tag=release.image.tag)
            require_order(release.for_environment(environment), released)
        pins = {name: found for name, found in release.pins.items() if name != environment}
        return replace(release, pins=pins)

    return Change(
        topic=f"unpin/{service}",
        subject=f"Unpin {service} in {environment}",
        trailers=[("Unpin", f"{environment} {service}")],
        body=reason,
        environment=environment,
        edit=_edit_of(service, unpinned),
    )


def _edit_of(service: str, change: Callable[[Release], Release]) -> _Edit:
    def edit(releases: Releases) -> dict[str, Release]:
        _require_known(service, releases)
        return {service: change(releases.services[service])}

    return edit


def _require_known(service: str, releases: Releases) -> None:
    if service not in releases.services:
        raise unknown_service(service, releases.services)
