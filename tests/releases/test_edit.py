"""The editor of images.yaml: a change leaves everything else alone."""

import errno
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from ruamel.yaml import YAML

from delivery.releases.edit import check_build, update_images
from fraud_detection.images import ImagesError, Pin, Release
from fraud_detection.platform.image import Image
from images_yaml import DIGEST, ENVIRONMENTS, SERVICES, VALID, edited, read

OURS = Image(repository="ghcr.io/mordris/flink-app", tag="c" * 40)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A file that uses everything that is allowed."""
    path = tmp_path / "images.yaml"
    path.write_text(VALID, encoding="utf-8", newline="")
    return path


def update_all(path: Path, changes: Mapping[str, Release]) -> None:
    """Change some services."""
    update_images(path, changes, environments=ENVIRONMENTS, services=SERVICES)


def update(path: Path, service: str, release: Release) -> None:
    """Change one service."""
    update_all(path, {service: release})


def test_a_bump_changes_one_value(images: Path) -> None:
    """The rest of the line, and every other line, belongs to its author."""
    release = read(images).services["alert-monitor"]
    update(images, "alert-monitor", release.bumped("f" * 40))
    assert images.read_text() == edited(f"'{'b' * 40}'", f'"{"f" * 40}"')


def test_an_overlong_value_is_truncated_in_the_error() -> None:
    """The error must stay readable in the log of a workflow."""
    with pytest.raises(ImagesError) as caught:
        check_build("redis", "7.2.16", "sha256:" + "f" * 100_000, services=SERVICES)
    assert len(str(caught.value)) < 400
    assert "fff...fff" in str(caught.value)


def test_a_bump_without_digest_drops_the_old_one(images: Path) -> None:
    """The digest wins over the tag: the old image would run under the new tag."""
    release = read(images).services["payment-api"].bumped("f" * 40)
    update(images, "payment-api", release)
    expected = edited(f"  digest: {DIGEST}\n  hold", "  hold").replace("a" * 40, "f" * 40)
    assert images.read_text() == expected


def test_a_digest_goes_below_its_tag(images: Path) -> None:
    """People look for it there, also when more keys follow."""
    digest = f"  digest: {DIGEST}\n  hold"
    images.write_text(edited(digest, "  hold"), encoding="utf-8")
    release = read(images).services["payment-api"]
    update(images, "payment-api", release.bumped("a" * 40, DIGEST))
    assert images.read_text() == edited(digest, f'  digest: "{DIGEST}"\n  hold')


def test_a_hold_goes_below_the_last_key(images: Path) -> None:
    """Also if the last line has no newline."""
    images.write_text(VALID.rstrip("\n"), encoding="utf-8")
    update(images, "redis", replace(read(images).services["redis"], hold='"7.4": #1'))
    assert images.read_text() == VALID + '  hold: "\\"7.4\\": #1"\n'


def test_unhold_removes_the_line_of_the_hold(images: Path) -> None:
    """The comments around it are about other keys."""
    release = replace(read(images).services["payment-api"], hold=None)
    update(images, "payment-api", release)
    assert images.read_text() == edited('  hold: "the audit: until May"\n', "")


def test_the_first_pin_adds_the_key_pins(images: Path) -> None:
    """A digest is written only if there is one."""
    pin = Pin(tag="f" * 40, reason="rollback")
    update(images, "flink-app", replace(read(images).services["flink-app"], pins={"dev": pin}))
    tag = f"  tag: {'c' * 40}\n"
    pins = f'  pins:\n    dev:\n      tag: "{"f" * 40}"\n      reason: "rollback"\n'
    assert images.read_text() == edited(tag, tag + pins)


def test_unpin_keeps_the_other_pin(images: Path) -> None:
    """And the comment above it."""
    release = read(images).services["payment-api"]
    update(images, "payment-api", replace(release, pins={"staging": release.pins["staging"]}))
    pin = f'    dev:\n      tag: "{"d" * 40}"\n      reason: a try\n'
    assert images.read_text() == edited(pin, "")


def test_the_last_unpin_removes_the_key_pins(images: Path) -> None:
    """A key without a value is not valid."""
    update(images, "payment-api", replace(read(images).services["payment-api"], pins={}))
    start, end = VALID.index("  pins:"), VALID.index("\n# Exactly one")
    assert images.read_text() == VALID[:start] + VALID[end:]


def test_a_pin_moves_to_another_environment(images: Path) -> None:
    """The only entry is removed in the same change that adds another."""
    one = replace(read(images).services["redis"], pins={"dev": Pin(tag="7.2.17", reason="a try")})
    update(images, "redis", one)
    update(images, "redis", replace(one, pins={"staging": one.pins["dev"]}))
    assert images.read_text().endswith(
        '  pins:\n    staging:\n      tag: "7.2.17"\n      reason: "a try"\n'
    )


def test_several_services_change_at_once(images: Path) -> None:
    """A bump of several services is one commit, so one write."""
    services = read(images).services
    changes = {name: services[name].bumped("f" * 40) for name in ("alert-monitor", "flink-app")}
    update_all(images, changes)
    assert read(images).services == {**services, **changes}


def test_line_endings_stay(images: Path) -> None:
    """A file from Windows must not become one large diff, or mix both endings."""
    images.write_bytes(VALID.replace("\n", "\r\n").encode())
    release = replace(read(images).services["redis"].bumped("7.2.17", DIGEST), hold="a try")
    update(images, "redis", release)
    content = images.read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") == VALID.count("\n") + 2


@pytest.mark.parametrize(
    "tag", ["1" * 40, f"1e{'1' * 38}", f"0{'7' * 39}", f"{'1' * 20}e{'1' * 19}"]
)
def test_a_commit_that_looks_like_a_number_stays_text(images: Path, tag: str) -> None:
    """Every YAML parser must read back the SHA, not infinity."""
    update(images, "flink-app", read(images).services["flink-app"].bumped(tag))
    assert YAML(typ="safe", pure=True).load(images)["flink-app"]["tag"] == tag


@pytest.mark.parametrize(
    ("service", "release", "problem"),
    [
        ("flink-app", Release(image=OURS).bumped("latest"), "'latest' is not"),
        ("flink-app", Release(image=OURS).bumped("1.2.3"), "'1.2.3' is not"),
        ("flink-app", Release(image=OURS).bumped(f"{'f' * 40}\n"), r"f\\n' is not"),
        ("flink-app", Release(image=OURS).bumped('"\n  hold: "x'), "is not a full"),
        ("flink-app", Release(image=OURS).bumped("$(id)"), "is not a full"),
        ("flink-app", Release(image=OURS).bumped("\udcff"), r"'\\udcff' is not"),
        ("flink-app", Release(image=OURS).bumped("f" * 40, ""), "'' is not a digest"),
        ("flink-app", Release(image=OURS, hold=""), "'' is not a reason"),
        ("flink-app", Release(image=OURS, hold="\u2028"), r"'\\u2028' is not a reason"),
        (
            "flink-app",
            Release(image=OURS, pins={"prod": Pin(tag="f" * 40, reason="a try")}),
            "unknown environment 'prod'",
        ),
        ("nobody", Release(image=OURS), "unknown service 'nobody'"),
    ],
)
def test_a_wrong_change_is_refused(
    images: Path, service: str, release: Release, problem: str
) -> None:
    """Nothing is written that `read_images` would refuse."""
    with pytest.raises(ImagesError, match=problem):
        update(images, service, release)
    assert images.read_text() == VALID


def test_a_refused_change_names_the_field(images: Path) -> None:
    """The person who typed the tag sees why, and where it would have been written."""
    with pytest.raises(ImagesError) as error:
        update(images, "redis", read(images).services["redis"].bumped("latest"))
    assert str(error.value).startswith(
        "images.yaml:31: redis.tag: 'latest' is not an exact version"
    )


def test_a_name_cannot_inject_yaml(images: Path) -> None:
    """The result is valid, but has more pins than were asked for."""
    name = 'dev:\n      tag: "7.2.16"\n      reason: "x"\n    staging'
    pins = {name: Pin(tag="7.2.17", reason="x")}
    with pytest.raises(ImagesError) as error:
        update(images, "redis", replace(read(images).services["redis"], pins=pins))
    assert str(error.value) == (
        "images.yaml: 'redis': cannot be written unambiguously; "
        "give plain names of services and environments."
    )
    assert images.read_text() == VALID


def test_a_wrong_file_is_not_edited(images: Path) -> None:
    """A robot must not commit somebody else's mistake."""
    release = read(images).services["redis"]
    broken = edited("  hold:", "  holds:")
    images.write_text(broken, encoding="utf-8")
    with pytest.raises(ImagesError, match="unknown key 'holds'"):
        update(images, "redis", release.bumped("7.2.17"))
    assert images.read_text() == broken


def test_an_unchanged_file_is_not_written(images: Path) -> None:
    """A repeated bump must not look like a change."""
    before = images.stat()
    update_all(images, read(images).services)
    assert images.read_text() == VALID
    assert images.stat().st_ino == before.st_ino


def test_the_file_is_replaced_as_a_whole(images: Path, tmp_path: Path) -> None:
    """A concurrent reader sees the old file or the new one, never a part."""
    old = tmp_path / "old"
    old.hardlink_to(images)
    update(images, "redis", read(images).services["redis"].bumped("7.2.17"))
    assert old.read_text() == VALID


def test_the_mode_stays(images: Path) -> None:
    """A temporary file starts with another mode."""
    images.chmod(0o640)
    update(images, "redis", read(images).services["redis"].bumped("7.2.17"))
    assert stat.S_IMODE(images.stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_file(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not damage the file or leave another behind."""

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    release = read(images).services["redis"].bumped("7.2.17")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        update(images, "redis", release)
    assert images.read_text() == VALID
    assert list(images.parent.iterdir()) == [images]
