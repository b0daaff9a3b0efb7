"""The way back to what a service ran before, as its branch's history has it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from delivery.releases.changes import Build, Change, ReleaseError, pin, require_order
from delivery.releases.edit import unknown_service
from delivery.releases.timeline import RELEASE, State, changes
from delivery.text import short
from fraud_detection.images import Release, Releases
from fraud_detection.platform.image import Image


def rollback(
    states: Sequence[State],
    service: str,
    environment: str,
    *,
    pinned: bool,
    prove: Callable[[Image], Image],
    reason: str,
    allow_older: bool = False,
) -> Change:
    """Run the image before the current one again.

    A second rollback goes one image further back, not to the one that was left. An image with a
    digest was proved when it was released.

    Args:
        states: The timeline of the environment's branch.
        service: The service.
        environment: The environment.
        pinned: Whether to pin it in this environment, where a promotion would bring the current
            image back. Otherwise it is released and held.
        prove: Returns an image with its digest, or raises a DeliveryError if it may not run.
        reason: Why, in one line.
        allow_older: Whether to accept an image that a store's data forbids.

    Raises:
        ImagesError: If the reason is not one line, or there is no such service.
        OlderError: From the edit, if a store's data forbids the image.
        ReleaseError: If the service ran nothing before; from the edit, if it runs something else by
            now.
    """

    def image(release: Release) -> Image:
        return release.for_environment(environment) if pinned else release.image

    known = states[0].releases.services
    if service not in known:
        raise unknown_service(service, known)
    current = image(known[service])
    before = _before([new for _, new in changes(states, service, image) if new])
    if before is None:
        raise ReleaseError(
            f"{service} has run nothing but {current.tag} in {environment}: "
            f"pin what it should run with `delivery pin {service} {environment} TAG`."
        )
    to = before if before.digest else prove(before)
    build = Build(service=service, tag=to.tag, digest=to.digest)
    what = pin(
        build,
        environment,
        prove=lambda found: found,
        reason=reason,
        allow_older=allow_older,
    )

    def edit(releases: Releases) -> dict[str, Release]:
        release = releases.services[service]
        if image(release) != current:
            raise ReleaseError(
                f"{service} has changed to {image(release).tag} in {environment} meanwhile: "
                "try again if that does not help."
            )
        if pinned:
            return dict(what.edit(releases))
        if not allow_older:
            require_order(current, build)
        return {service: replace(release.bumped(to.tag, to.digest), hold=reason)}

    return replace(
        what,
        topic=f"rollback/{service}",
        subject=f"Roll back {service} in {environment} to {short(to.tag)}",
        trailers=what.trailers if pinned else [(RELEASE, str(build))],
        edit=edit,
    )


def _before(images: Sequence[Image]) -> Image | None:
    """Return the image to which the newest one rolls back."""
    stack: list[Image] = []
    for image in reversed(images):
        same = next((i for i, each in enumerate(stack) if _is_same(each, image)), len(stack))
        stack[same:] = [image]
    return stack[-2] if len(stack) > 1 else None


def _is_same(one: Image, other: Image) -> bool:
    """Return whether two images are the same, if a digest that is unknown counts as equal."""
    return replace(one, digest=None) == replace(other, digest=None) and (
        one.digest == other.digest or None in {one.digest, other.digest}
    )
