"""The way back to what a service ran before."""

from dataclasses import replace
from pathlib import Path

import pytest

from delivery.releases import changes
from delivery.releases.changes import Change, ReleaseError
from delivery.releases.images import images_of
from delivery.releases.rollback import rollback
from delivery.releases.timeline import timeline
from fraud_detection.images import ImagesError, Release
from fraud_detection.platform.image import Image
from promoting import bump, land, pin, promote
from remotes import Remote, run_git

A, B, C = (letter * 40 for letter in "abc")
DIGEST = f"sha256:{'d' * 64}"

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def proved(image: Image) -> Image:
    """Return an image with the digest of a registry."""
    return replace(image, digest=DIGEST)


def change(remote: Remote, environment: str = "dev", service: str = "payment-api") -> Change:
    """Return the rollback in an environment."""
    branch = {"dev": "develop", "staging": "main"}[environment]
    states = timeline(remote.clone, f"origin/{branch}")
    return rollback(
        states, service, environment, pinned=environment != "dev", prove=proved, reason="loses"
    )


def release(remote: Remote, branch: str = "develop") -> Release:
    """Return what a branch has of payment-api."""
    return images_of(remote.clone, f"origin/{branch}").services["payment-api"]


def test_the_first_environment_is_bumped_back_and_held(remote: Remote) -> None:
    """Otherwise the next build, which has the same fault, would be released."""
    bump(remote, A)
    bump(remote, B)
    before = len(remote.commits())
    land(remote, change(remote))
    assert release(remote).image.tag == A
    assert release(remote).hold == "loses"
    assert len(remote.commits()) == before + 1
    assert run_git(remote.bare, "log", "-1", "--format=%B", "develop") == (
        f"Roll back payment-api in dev to {A[:12]}\n\nloses\n\nRelease: payment-api {A}@{DIGEST}"
    )


def test_a_later_environment_is_pinned(remote: Remote) -> None:
    """A promotion would bring the faulty image back."""
    bump(remote, A)
    promote(remote)
    bump(remote, B)
    promote(remote)
    land(remote, change(remote, "staging"), "main")
    assert release(remote, "main").for_environment("staging").tag == A
    assert release(remote, "main").image.tag == B
    bump(remote, C)
    promote(remote)
    assert release(remote, "main").for_environment("staging").tag == A


def test_a_second_rollback_goes_further_back(remote: Remote) -> None:
    """Not forward, to the image that was left."""
    for tag in (A, B, C):
        bump(remote, tag)
    for expected in (B, A):
        land(remote, change(remote))
        assert release(remote).image.tag == expected
        land(remote, changes.unhold("payment-api", reason=None))


def test_a_second_rollback_of_a_pin_goes_further_back(remote: Remote) -> None:
    """The pin is what ran."""
    for tag in (A, B, C):
        bump(remote, tag)
        promote(remote)
    for expected in (B, A):
        land(remote, change(remote, "staging"), "main")
        assert release(remote, "main").pins["staging"].tag == expected


def test_an_image_with_a_digest_is_not_proved_again(remote: Remote) -> None:
    """It was when it was released, and GitHub may be down now."""
    other = f"sha256:{'e' * 64}"
    bump(remote, A, digest=other)
    bump(remote, B)
    land(remote, change(remote))
    assert release(remote).image.digest == other


def test_a_digest_that_was_filled_in_is_no_release(remote: Remote) -> None:
    """The rollback would run the same image."""
    bump(remote, A)
    bump(remote, B)
    bump(remote, B, digest=DIGEST)
    land(remote, change(remote))
    assert release(remote).image.tag == A


def test_without_an_image_before_there_is_nothing_to_do(remote: Remote) -> None:
    """The message says how to choose one."""
    with pytest.raises(ReleaseError, match=r"has run nothing but 7\.2\.16 in dev: pin what"):
        change(remote, service="redis")


def test_a_release_in_between_is_not_undone(remote: Remote) -> None:
    """It may be the fix."""
    bump(remote, A)
    bump(remote, B)
    late = change(remote)
    bump(remote, C)
    with pytest.raises(ReleaseError, match=rf"^payment-api has changed to {C} in dev meanwhile"):
        land(remote, late)
    assert release(remote).image.tag == C


def test_an_unknown_service_is_refused(remote: Remote) -> None:
    """A typo must not look like a service without a history."""
    with pytest.raises(ImagesError, match="Unknown service 'nobody'; known services: payment-api"):
        change(remote, service="nobody")


def test_a_pin_of_the_first_environment_does_not_count(remote: Remote) -> None:
    """What is released is rolled back; the pin stays as it is."""
    bump(remote, A)
    bump(remote, B)
    pin(remote, C, service="payment-api", environment="dev", branch="develop")
    land(remote, change(remote))
    assert (release(remote).image.tag, release(remote).pins["dev"].tag) == (A, C)
