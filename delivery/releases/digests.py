"""Digests in images.yaml: which images have none, and what the registries have for all of them."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.releases.edit import update_images
from delivery.releases.provenance import Builder, is_ours, require_merged, verify
from delivery.releases.registry import digest_of, tags_of
from fraud_detection.images import SERVICES, Release, Releases, Rule, read_images
from fraud_detection.platform.image import Image

_PATCH = re.compile(r"(v?[0-9]+\.[0-9]+\.)(0|[1-9][0-9]{0,8})(.*)")
"""A version: the series, the patch, and whatever follows, such as `-bookworm`."""


class DigestError(DeliveryError):
    """An image is not what its registry has; the message says what differs."""


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What the registries have that images.yaml lacks.

    Attributes:
        releases: The releases that differ, by service.
        problems: Why a service is left as it is, a sentence for each.
    """

    releases: Mapping[str, Release]
    problems: Sequence[str]


def without_digest(releases: Releases) -> list[str]:
    """Return the images that have no digest: `redis`, or `redis in staging` for a pin."""
    found = []
    for service, release in releases.services.items():
        digests = {service: release.image.digest} | {
            f"{service} in {environment}": pin.digest for environment, pin in release.pins.items()
        }
        found += [name for name, digest in digests.items() if digest is None]
    return found


def refreshed(releases: Releases, *, verify: Callable[[Image], object]) -> Refreshed:
    """Return the releases with a digest for every image, and the newest patch of third parties.

    The newest patch may be the released version, built again: that is how an image gets the fixes
    of its base. What is held or pinned keeps its version; our own images change by bumps only.

    Args:
        releases: All of images.yaml.
        verify: Raises a DeliveryError unless one of our images, with its digest, may run.
    """
    found: dict[str, Release] = {}
    problems: list[str] = []
    for service, release in releases.services.items():
        try:
            found[service] = _refreshed(release, verify)
        except DeliveryError as error:  # noqa: PERF203 - one that is missing delays no other
            problems.append(f"{service} stays as it is: {error}")
    changed = {name: new for name, new in found.items() if new != releases.services[name]}
    return Refreshed(releases=changed, problems=problems)


def refresh_images(
    path: Path,
    *,
    environments: Collection[str],
    verify: Callable[[Image], object],
    services: Mapping[str, Rule] = SERVICES,
) -> Refreshed:
    """Write the refreshed releases to images.yaml.

    Args:
        path: images.yaml.
        environments: Names that a pin may use.
        verify: As `refreshed` takes it.
        services: Known services, each with the rule for its tags.

    Raises:
        ImagesError: If images.yaml is wrong.
    """
    releases = read_images(path, environments=environments, services=services)
    found = refreshed(releases, verify=verify)
    update_images(path, found.releases, environments=environments, services=services)
    return found


def proved(image: Image, verify: Callable[[Image], object]) -> Image:
    """Return an image with its digest, or else with that of its registry, which is then verified.

    Args:
        image: An image that is going to run.
        verify: Raises a DeliveryError unless the image, with its digest, may run.

    Raises:
        RegistryError: If the registry does not have the tag, or does not answer.
    """
    found = image if image.digest else replace(image, digest=digest_of(image.repository, image.tag))
    verify(found)
    return found


def require_verified(image: Image, *, builder: Builder, history: str) -> None:
    """Refuse an image that is neither a verified build of ours nor published by a third party.

    Args:
        image: An image with a digest.
        builder: Who must have built an image of ours.
        history: The application repository, as `require_merged` takes it.

    Raises:
        DeliveryError: As `require_merged`, `verify` and `require_published` do.
    """
    if is_ours(image):
        require_merged(image.tag, history)
        verify(image, builder)
    else:
        require_published(image)


def require_published(image: Image) -> None:
    """Refuse a third-party image unless its tag means its digest.

    Args:
        image: An image with a digest.

    Raises:
        DigestError: If the tag means another digest.
        RegistryError: If the registry does not have the tag, or does not answer.
    """
    published = digest_of(image.repository, image.tag)
    if image.digest != published:
        raise DigestError(f"{image.reference} is not what the registry has: use {published}.")


def newest_patch(version: str, tags: Iterable[str]) -> str:
    """Return the newest patch of a version: of the same series, with the same suffix.

    Args:
        version: An exact version, such as `7.2.16-bookworm`.
        tags: All tags of the image.

    Returns:
        One of the tags, such as `7.2.17-bookworm`, or the version itself.
    """
    found = [match for tag in (version, *tags) if (match := _PATCH.fullmatch(tag))]
    same = [match for match in found if (match[1], match[3]) == (found[0][1], found[0][3])]
    return max(same, key=lambda match: int(match[2]))[0]


def _refreshed(release: Release, verify: Callable[[Image], object]) -> Release:
    image = release.image
    if is_ours(image) or release.hold is not None:
        image = _completed(image, verify)
    else:
        tag = newest_patch(image.tag, tags_of(image.repository))
        image = replace(image, tag=tag, digest=digest_of(image.repository, tag))
    pins = {
        name: replace(pin, digest=_completed(release.for_environment(name), verify).digest)
        for name, pin in release.pins.items()
    }
    return replace(release, image=image, pins=pins)


def _completed(image: Image, verify: Callable[[Image], object]) -> Image:
    if image.digest is not None:
        return image
    return proved(image, verify if is_ours(image) else require_published)
