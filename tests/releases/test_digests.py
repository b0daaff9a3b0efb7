"""Digests and patch versions: found in a registry, written to images.yaml."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import registry
from delivery.errors import DeliveryError
from delivery.releases import digests
from delivery.releases.digests import (
    DigestError,
    newest_patch,
    proved,
    refresh_images,
    refreshed,
    require_published,
    require_verified,
    without_digest,
)
from delivery.releases.provenance import Builder
from fraud_detection import images
from fraud_detection.images import Pin, Release, Releases
from fraud_detection.platform.image import Image
from registry import StandIn

COMMIT, PINNED = "a" * 40, "b" * 40
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """An empty registry."""
    with registry.serve() as server:
        yield server


def image(stand_in: StandIn, tag: str, *, digest: str | None = None) -> Image:
    """An image in the registry; one path is enough."""
    return Image(repository=f"{stand_in.address}/app", tag=tag, digest=digest)


def accept(image: Image) -> None:
    """Accept every image of ours as verified."""
    del image


def refuse(image: Image) -> None:
    """Refuse every image of ours as unverified."""
    raise DeliveryError(f"{image.reference} was built by a stranger.")


BUILDER = Builder(source="Owner/application", workflow="Owner/config/deliver-service.yml")


def one(release: Release) -> Releases:
    """Releases with a single service."""
    return Releases(services={"app": release})


def refresh(release: Release) -> Release:
    """Return what becomes of a release, or the same if it stays."""
    found = refreshed(one(release), verify=accept)
    assert found.problems == []
    return found.releases.get("app", release)


def test_images_without_a_digest_are_named() -> None:
    """Their tags can be moved to anything."""
    releases = Releases(
        services={
            "app": Release(
                image=Image(repository="r.test/app", tag=COMMIT, digest=DIGEST),
                pins={
                    "dev": Pin(tag=COMMIT, digest=DIGEST, reason="a try"),
                    "staging": Pin(tag=PINNED, reason="slow"),
                },
            ),
            "store": Release(image=Image(repository="r.test/store", tag="1.2.3")),
        }
    )
    assert without_digest(releases) == ["app in staging", "store"]


def test_every_image_of_ours_gets_its_digest(stand_in: StandIn) -> None:
    """That of the release and those of the pins, each of its own tag."""
    released = stand_in.push("app", COMMIT)
    pinned = stand_in.push("app", PINNED, content='{"pinned": true}')
    release = Release(
        image=image(stand_in, COMMIT), pins={"staging": Pin(tag=PINNED, reason="slow")}
    )
    assert refresh(release) == Release(
        image=image(stand_in, COMMIT, digest=released),
        pins={"staging": Pin(tag=PINNED, digest=pinned, reason="slow")},
    )


def test_a_digest_of_ours_is_not_asked_for_again(stand_in: StandIn) -> None:
    """It was verified when it was written; a tag that was moved since changes nothing."""
    stand_in.push("app", COMMIT)
    release = Release(image=image(stand_in, COMMIT, digest=DIGEST))
    assert refreshed(one(release), verify=refuse).releases == {}


def test_an_unverified_image_of_ours_stays_without_a_digest(stand_in: StandIn) -> None:
    """A digest in images.yaml is a promise that somebody has looked."""
    stand_in.push("app", COMMIT)
    found = refreshed(one(Release(image=image(stand_in, COMMIT))), verify=refuse)
    assert found.releases == {}
    assert "app stays as it is: " in found.problems[0]
    assert "was built by a stranger" in found.problems[0]


def test_an_unverified_pin_stays_without_a_digest(stand_in: StandIn) -> None:
    """It runs as well."""
    stand_in.push("app", PINNED)
    release = Release(
        image=image(stand_in, COMMIT, digest=DIGEST),
        pins={"staging": Pin(tag=PINNED, reason="slow")},
    )
    assert refreshed(one(release), verify=refuse).releases == {}


def test_a_third_party_gets_its_newest_patch(stand_in: StandIn) -> None:
    """Nobody else watches for its fixes; whether to take them is for the reviewer."""
    stand_in.push("app", "1.2.3")
    newest = stand_in.push("app", "1.2.10", content='{"newest": true}')
    stand_in.push("app", "1.3.0")
    release = Release(image=image(stand_in, "1.2.3", digest=DIGEST))
    assert refresh(release).image == image(stand_in, "1.2.10", digest=newest)


def test_a_version_that_was_built_again_gets_its_new_digest(stand_in: StandIn) -> None:
    """Official images get the fixes of their base without a new version."""
    rebuilt = stand_in.push("app", "1.2.3")
    release = Release(image=image(stand_in, "1.2.3", digest=DIGEST))
    assert refresh(release).image.digest == rebuilt


def test_a_third_party_is_not_verified_as_ours(stand_in: StandIn) -> None:
    """No workflow of ours has built it."""
    digest = stand_in.push("app", "1.2.3")
    release = Release(
        image=image(stand_in, "1.2.3"), pins={"staging": Pin(tag="1.2.3", reason="slow")}
    )
    found = refreshed(one(release), verify=refuse).releases["app"]
    assert [found.image.digest, found.pins["staging"].digest] == [digest, digest]


def test_what_is_held_keeps_its_version(stand_in: StandIn) -> None:
    """It only gets the digest of what it runs already."""
    digest = stand_in.push("app", "1.2.3")
    stand_in.push("app", "1.2.4", content='{"newer": true}')
    release = Release(image=image(stand_in, "1.2.3"), hold="the audit")
    assert refresh(release).image == image(stand_in, "1.2.3", digest=digest)


def test_what_is_held_keeps_its_digest(stand_in: StandIn) -> None:
    """A version that was built again is another image, too."""
    stand_in.push("app", "1.2.3")
    release = Release(image=image(stand_in, "1.2.3", digest=DIGEST), hold="the audit")
    assert refresh(release) == release


def test_what_is_pinned_keeps_its_version(stand_in: StandIn) -> None:
    """Somebody had a reason for this very one."""
    digest = stand_in.push("app", "1.2.3")
    stand_in.push("app", "1.2.4", content='{"newer": true}')
    release = Release(
        image=image(stand_in, "1.2.3"), pins={"staging": Pin(tag="1.2.3", reason="slow")}
    )
    assert refresh(release).pins["staging"] == Pin(tag="1.2.3", digest=digest, reason="slow")


def test_a_service_that_cannot_be_asked_for_delays_no_other(stand_in: StandIn) -> None:
    """A private image, for example, which nobody gets without a login."""
    stand_in.push("app", "1.2.3")
    private = Image(repository=f"{stand_in.address}/private", tag="1.2.3")
    services = {
        "private": Release(image=private),
        "app": Release(image=image(stand_in, "1.2.3")),
    }
    found = refreshed(Releases(services=services), verify=accept)
    assert list(found.releases) == ["app"]
    assert [problem.partition(":")[0] for problem in found.problems] == ["private stays as it is"]


def test_an_image_without_a_digest_is_proved_with_that_of_its_registry(stand_in: StandIn) -> None:
    """What is verified is what is written."""
    digest = stand_in.push("app", COMMIT)
    seen: list[Image] = []
    assert proved(image(stand_in, COMMIT), seen.append).digest == digest
    assert seen == [image(stand_in, COMMIT, digest=digest)]


def test_a_digest_that_is_given_is_verified_too(stand_in: StandIn) -> None:
    """A dispatch could make it up."""
    with pytest.raises(DeliveryError, match="was built by a stranger"):
        proved(image(stand_in, COMMIT, digest=DIGEST), refuse)


def test_an_image_of_ours_is_asked_of_its_builder(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit must be merged, and its build attested."""
    asked: list[object] = []
    monkeypatch.setattr(digests, "require_merged", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(digests, "verify", lambda *arguments: asked.append(arguments))
    ours = image(stand_in, COMMIT, digest=DIGEST)
    require_verified(ours, builder=BUILDER, history="Owner/application")
    assert asked == [(COMMIT, "Owner/application"), (ours, BUILDER)]


def test_an_image_of_a_third_party_is_asked_of_its_registry(stand_in: StandIn) -> None:
    """Nobody attests it to us; an invented digest is refused all the same."""
    stand_in.push("app", "1.2.3")
    with pytest.raises(DigestError):
        require_verified(
            image(stand_in, "1.2.3", digest=DIGEST), builder=BUILDER, history="Owner/application"
        )


def test_a_third_party_image_as_published_is_accepted(stand_in: StandIn) -> None:
    """Nobody attests it to us: that its registry has it is all that can be proved."""
    digest = stand_in.push("app", "1.2.3")
    require_published(image(stand_in, "1.2.3", digest=digest))


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_third_party_image_with_another_digest_is_refused(
    stand_in: StandIn, digest: str | None
) -> None:
    """A runtime follows the digest, whatever an honest tag makes a reviewer think."""
    published = stand_in.push("app", "1.2.3")
    with pytest.raises(DigestError, match=f"not what the registry has: use {published}"):
        require_published(image(stand_in, "1.2.3", digest=digest))


@pytest.mark.parametrize(
    ("version", "newest"),
    [
        ("7.2.16-bookworm", "7.2.17-bookworm"),
        ("7.2.9-bookworm", "7.2.17-bookworm"),
        ("7.2.18-bookworm", "7.2.18-bookworm"),
        ("7.2.16", "7.2.16"),
        ("v7.2.1", "v7.2.2"),
        ("7.4.0-alpine", "7.4.0-alpine"),
    ],
)
def test_the_newest_patch_is_of_the_same_series(version: str, newest: str) -> None:
    """Another minor version can have another format on disk, another suffix another base."""
    tags = [
        *("latest", "7", "7.2", "7.2-bookworm", "bookworm", "8.0.0-bookworm", "7.4.1-bookworm"),
        *("7.2.17-bookworm", "7.2.3-bookworm", "17.2.99-bookworm", "7.2.20-bookworm-rc1"),
        *("7.2.99-alpine", "7.2.18-rc1", "7.2.18-rc1-bookworm", "7.2.bookworm", "7.2.099-bookworm"),
        f"7.2.{'1' * 5000}-bookworm",
        *("v7.2.2", "v7.2.3-amd64", "v7.2.99-bookworm"),
    ]
    assert newest_patch(version, tags) == newest


def test_images_yaml_gets_what_was_found(stand_in: StandIn, tmp_path: Path) -> None:
    """Comments and order stay, as after any change by a robot."""
    names = ("app", "store")
    tags = (COMMIT, "1.2.3")
    services = {"app": images.COMMIT, "store": images.VERSION}
    digests = [
        stand_in.push(name, tag, content=f'"{name}"') for name, tag in zip(names, tags, strict=True)
    ]
    path = tmp_path / "images.yaml"
    before = "".join(
        f'# About {name}.\n{name}:\n  repository: {stand_in.address}/{name}\n  tag: "{tag}"\n'
        for name, tag in zip(names, tags, strict=True)
    )
    path.write_text(before, encoding="utf-8")
    found = refresh_images(path, environments=(), verify=accept, services=services)
    added = [f'  digest: "{digest}"' for digest in digests]
    after = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in after if line not in added] == before.splitlines()
    assert [line for line in after if line in added] == added
    assert list(found.releases) == list(names)
