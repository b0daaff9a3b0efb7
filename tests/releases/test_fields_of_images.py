"""images.yaml, merged by fields."""

from dataclasses import replace

from delivery.releases.fields import merge
from fraud_detection.images import Pin, Release, Releases
from fraud_detection.platform.image import Image

BASE = Release(image=Image(repository="r.test/redis", tag="1.0.0"))
PIN = Pin(tag="0.9.0", reason="leaks")


def one(release: Release) -> Releases:
    """Return the releases of a system with one service."""
    return Releases(services={"redis": release})


def test_changes_of_different_fields_are_both_kept() -> None:
    """Git makes a conflict of their neighboring lines."""
    ours, theirs = BASE.bumped("2.0.0"), replace(BASE, hold="slow", pins={"staging": PIN})
    expected = replace(theirs, image=ours.image)
    assert merge(one(BASE), one(ours), one(theirs)) == (one(expected), [])
    assert merge(one(BASE), one(theirs), one(ours)) == (one(expected), [])


def test_the_end_of_a_hold_and_of_a_pin_are_changes() -> None:
    """Taking the other side would begin them again."""
    base = replace(BASE, hold="slow", pins={"staging": PIN})
    assert merge(one(base), one(base), one(BASE)) == (one(BASE), [])
    assert merge(one(base), one(BASE), one(base)) == (one(BASE), [])


def test_the_same_change_on_both_sides_is_no_conflict() -> None:
    """A release was promoted, or picked."""
    new = BASE.bumped("2.0.0")
    assert merge(one(BASE), one(new), one(new)) == (one(new), [])


def test_different_changes_of_a_field_are_a_conflict() -> None:
    """Only a person knows which is right; a tag and its digest belong together."""
    digest = f"sha256:{'d' * 64}"
    ours, theirs = BASE.bumped("2.0.0"), BASE.bumped("1.0.0", digest)
    assert merge(one(BASE), one(ours), one(theirs)) == (one(ours), ["redis.tag"])


def test_a_service_that_one_side_adds_or_removes_follows_it() -> None:
    """As a file would."""
    empty = Releases(services={})
    assert merge(empty, empty, one(BASE)) == (one(BASE), [])
    assert merge(one(BASE), one(BASE), empty) == (empty, [])
    assert merge(one(BASE), empty, one(BASE)) == (empty, [])
