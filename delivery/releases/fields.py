"""images.yaml merged by fields, which its neighboring lines make a conflict for Git."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from fraud_detection.images import Pin, Release, Releases
from fraud_detection.platform.image import Image

_Field: TypeAlias = tuple[str, str]


def merge(base: Releases, ours: Releases, theirs: Releases) -> tuple[Releases, list[str]]:
    """Return the changes of both sides, and the fields that they changed differently.

    Such a field keeps the value of our side. A tag and its digest are one field, as is a pin.
    """
    before, mine, others = map(_flat, (base, ours, theirs))
    merged, conflicts = {}, []
    for field in {**mine, **others}:
        old, left, right = (each.get(field) for each in (before, mine, others))
        if left != right and old not in (left, right):
            conflicts.append(".".join(field))
        merged[field] = right if left == old else left
    return _releases(merged), conflicts


def _flat(releases: Releases) -> dict[_Field, Any]:
    fields: dict[_Field, Any] = {}
    for service, release in releases.services.items():
        image = release.image
        fields[service, "repository"] = image.repository
        fields[service, "tag"] = image.tag, image.digest
        fields[service, "hold"] = release.hold
        for name, pin in release.pins.items():
            fields[service, f"pins.{name}"] = pin
    return fields


def _releases(fields: Mapping[_Field, Any]) -> Releases:
    services = {}
    for service in dict.fromkeys(name for name, _ in fields):
        repository, build = fields.get((service, "repository")), fields.get((service, "tag"))
        if repository is not None and build is not None:
            tag, digest = build
            services[service] = Release(
                image=Image(repository=repository, tag=tag, digest=digest),
                hold=fields.get((service, "hold")),
                pins={
                    field.removeprefix("pins."): pin
                    for (name, field), pin in fields.items()
                    if name == service and isinstance(pin, Pin)
                },
            )
    return Releases(services=services)
