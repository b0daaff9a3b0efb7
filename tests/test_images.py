"""images.yaml: what it says, how each mistake is named, and how a change leaves the rest alone."""

import errno
import stat
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from ruamel.yaml import YAML

from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.images import (
    Image,
    ImagesError,
    Pin,
    Release,
    Releases,
    check_build,
    read_images,
    update_images,
)
from repository import REPOSITORY

DIGEST = "sha256:" + "0123456789abcdef" * 4
OURS = Image(repository="ghcr.io/mordris/flink-app", tag="c" * 40)
VALID = f"""\
# What runs.
payment-api:
  repository: ghcr.io/mordris/payment-api
  tag: "{"a" * 40}"  # built on a Friday
  digest: {DIGEST}
  hold: "the audit: until May"

  # Two environments wait.
  pins:
    dev:
      tag: "{"d" * 40}"
      reason: a try
    # Ask before you touch this.
    staging:
      reason: 'hotfix #7'
      tag: "{"e" * 40}"
      digest: {DIGEST}

# Exactly one runs.
alert-monitor:
  repository: ghcr.io/mordris/alert-monitor
  tag: '{"b" * 40}'
flink-app:
  repository: ghcr.io/mordris/flink-app
  tag: {"c" * 40}
redpanda:
  repository: docker.io/redpandadata/redpanda
  tag: v25.3.15
redis:
  repository: docker.io/library/redis
  tag: 7.2.16-bookworm
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A file that uses everything that is allowed."""
    path = tmp_path / "images.yaml"
    path.write_text(VALID, encoding="utf-8", newline="")
    return path


def read(path: Path) -> Releases:
    """Read it, with the environments of the tests."""
    return read_images(path, environments=("dev", "staging"))


def update(path: Path, service: str, release: Release) -> None:
    """Change one service, with the environments of the tests."""
    update_images(path, {service: release}, environments=("dev", "staging"))


def edited(old: str, new: str) -> str:
    """The valid file with one difference."""
    assert VALID.count(old) == 1
    return VALID.replace(old, new)


def test_the_repositorys_own_file_is_valid() -> None:
    """What is committed must render, whatever a robot or a person last wrote."""
    names = [environment.name for environment in ENVIRONMENTS]
    read_images(REPOSITORY / "images.yaml", environments=names)


def test_every_key_is_read(images: Path) -> None:
    """A key that is accepted but dropped would change what runs without a word."""
    assert read(images).services["payment-api"] == Release(
        image=Image(repository="ghcr.io/mordris/payment-api", tag="a" * 40, digest=DIGEST),
        hold="the audit: until May",
        pins={
            "dev": Pin(tag="d" * 40, reason="a try"),
            "staging": Pin(tag="e" * 40, digest=DIGEST, reason="hotfix #7"),
        },
    )


def test_a_service_needs_no_more_than_repository_and_tag(images: Path) -> None:
    """Most services have neither digest nor hold nor pins."""
    assert read(images).services["redis"] == Release(
        image=Image(repository="docker.io/library/redis", tag="7.2.16-bookworm")
    )


def test_an_environment_runs_its_pin(images: Path) -> None:
    """A hotfix must reach the one environment that it is for, with its own digest."""
    assert read(images).for_environment("staging").payment_api == Image(
        repository="ghcr.io/mordris/payment-api", tag="e" * 40, digest=DIGEST
    )


def test_a_pin_without_digest_drops_the_releases(images: Path) -> None:
    """The digest names another image than the pinned tag, and the digest would win."""
    assert read(images).for_environment("dev").payment_api.digest is None


def test_an_environment_without_pin_runs_the_release(images: Path) -> None:
    """A pin is for one environment; the others go on."""
    assert read(images).for_environment("production").payment_api.tag == "a" * 40


def test_services_do_not_mix_up(images: Path) -> None:
    """Each field has the image of the key of the same name."""
    running = read(images).for_environment("dev")
    assert (running.alert_monitor.tag, running.flink_app.tag) == ("b" * 40, "c" * 40)
    assert (running.redpanda.tag, running.redis.tag) == ("v25.3.15", "7.2.16-bookworm")


def test_reference_names_repository_and_tag() -> None:
    """Without a digest a pod pulls by tag."""
    assert Image(repository="r.test/a", tag="1.2.3").reference == "r.test/a:1.2.3"


def test_reference_ends_with_the_digest() -> None:
    """With a digest a pod pulls just that image; the tag stays for people."""
    image = Image(repository="r.test/a", tag="1.2.3", digest=DIGEST)
    assert image.reference == f"r.test/a:1.2.3@{DIGEST}"


def refused(images: Path, text: str) -> str:
    """What is said about a file that is wrong."""
    images.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ImagesError) as error:
        read(images)
    return str(error.value)


COMMIT = "a full Git commit SHA (40 hexadecimal digits); give the commit that was built."
VERSION = "an exact version such as 7.2.16; give one that never moves."
REGISTRY = "an image with its registry, in lower case; write it like docker.io/library/redis."
DIGITS = "a digest (sha256: and 64 hexadecimal digits); copy it from the registry."
REASON = "a reason in one line of text; say why."
CORRECT = "correct this line or the one before it."
SERVICES = "payment-api, alert-monitor, flink-app, redpanda, redis"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "redis:\n",
            "reddis:\n",
            f"images.yaml:29: 'reddis' is no service; the services are {SERVICES}.",
            id="unknown-service",
        ),
        pytest.param(
            "  hold:",
            "  holds:",
            "images.yaml:6: payment-api: 'holds' is no key; the keys are "
            "repository, tag, digest, hold, pins.",
            id="unknown-key",
        ),
        pytest.param(
            "    dev:",
            "    prod:",
            "images.yaml:10: payment-api.pins: 'prod' is no environment; the environments are "
            "dev, staging.",
            id="unknown-environment",
        ),
        pytest.param(
            "      reason: a try\n",
            "      reason: a try\n      hold: no\n",
            "images.yaml:13: payment-api.pins.dev: 'hold' is no key; the keys are "
            "tag, reason, digest.",
            id="unknown-key-of-a-pin",
        ),
        pytest.param(
            "  tag: v25.3.15",
            "  ? [tag]\n  : v25.3.15",
            "images.yaml:28: redpanda: '?' is no key; the keys are "
            "repository, tag, digest, hold, pins.",
            id="key-that-is-no-text",
        ),
        pytest.param(
            "redis:\n  repository: docker.io/library/redis\n  tag: 7.2.16-bookworm\n",
            "",
            "images.yaml:1: redis: is missing; add it.",
            id="missing-service",
        ),
        pytest.param(
            "  repository: docker.io/library/redis\n",
            "",
            "images.yaml:29: redis.repository: is missing; add it.",
            id="missing-repository",
        ),
        pytest.param(
            "  tag: v25.3.15\n",
            "",
            "images.yaml:26: redpanda.tag: is missing; add it.",
            id="missing-tag",
        ),
        pytest.param(
            "      reason: a try\n",
            "",
            "images.yaml:10: payment-api.pins.dev.reason: is missing; add it.",
            id="missing-reason",
        ),
        pytest.param(
            f"{'c' * 40}\n",
            "latest\n",
            f"images.yaml:25: flink-app.tag: 'latest' is not {COMMIT}",
            id="our-latest",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "latest",
            f"images.yaml:31: redis.tag: 'latest' is not {VERSION}",
            id="their-latest",
        ),
        pytest.param(
            f"{'c' * 40}\n",
            f"{'c' * 7}\n",
            f"images.yaml:25: flink-app.tag: 'ccccccc' is not {COMMIT}",
            id="short-commit",
        ),
        pytest.param(
            f"{'c' * 40}\n",
            f"{'C' * 40}\n",
            f"images.yaml:25: flink-app.tag: '{'C' * 40}' is not {COMMIT}",
            id="upper-case-commit",
        ),
        pytest.param(
            f'"{"d" * 40}"',
            "1.2.3",
            f"images.yaml:11: payment-api.pins.dev.tag: '1.2.3' is not {COMMIT}",
            id="pin-of-ours-by-version",
        ),
        pytest.param(
            "7.2.16-bookworm",
            '"7"',
            f"images.yaml:31: redis.tag: '7' is not {VERSION}",
            id="floating-major",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "7.2-bookworm",
            f"images.yaml:31: redis.tag: '7.2-bookworm' is not {VERSION}",
            id="floating-minor",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "7.2.16+bookworm",
            f"images.yaml:31: redis.tag: '7.2.16+bookworm' is not {VERSION}",
            id="character-that-no-tag-has",
        ),
        pytest.param(
            "7.2.16-bookworm",
            f"7.2.16-{'b' * 122}",
            f"images.yaml:31: redis.tag: '7.2.16-{'b' * 122}' is not {VERSION}",
            id="tag-that-no-registry-takes",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "$(touch /tmp/x)1.2.3",
            f"images.yaml:31: redis.tag: '$(touch /tmp/x)1.2.3' is not {VERSION}",
            id="tag-with-shell",
        ),
        pytest.param(
            "7.2.16-bookworm",
            r'"7.2.16\n"',
            rf"images.yaml:31: redis.tag: '7.2.16\n' is not {VERSION}",
            id="tag-with-line-break",
        ),
        pytest.param(
            f"'{'b' * 40}'",
            rf'"{"b" * 40}\n"',
            rf"images.yaml:22: alert-monitor.tag: '{'b' * 40}\n' is not {COMMIT}",
            id="commit-with-line-break",
        ),
        pytest.param(
            f"digest: {DIGEST}\n  hold",
            "digest: sha256:abc\n  hold",
            f"images.yaml:5: payment-api.digest: 'sha256:abc' is not {DIGITS}",
            id="malformed-digest",
        ),
        pytest.param(
            "docker.io/library/redis",
            "redis",
            f"images.yaml:30: redis.repository: 'redis' is not {REGISTRY}",
            id="repository-without-registry",
        ),
        pytest.param(
            "docker.io/library/redis",
            "library/redis",
            f"images.yaml:30: redis.repository: 'library/redis' is not {REGISTRY}",
            id="repository-with-owner-only",
        ),
        pytest.param(
            "docker.io/library/redis",
            "docker.io",
            f"images.yaml:30: redis.repository: 'docker.io' is not {REGISTRY}",
            id="registry-without-repository",
        ),
        pytest.param(
            "docker.io/library/redis",
            "ghcr.io/Mordris/redis",
            f"images.yaml:30: redis.repository: 'ghcr.io/Mordris/redis' is not {REGISTRY}",
            id="repository-in-upper-case",
        ),
        pytest.param(
            "docker.io/library/redis",
            "docker.io/library/redis:7.2.16",
            f"images.yaml:30: redis.repository: 'docker.io/library/redis:7.2.16' is not {REGISTRY}",
            id="repository-with-tag",
        ),
        pytest.param(
            '"the audit: until May"',
            '""',
            f"images.yaml:6: payment-api.hold: '' is not {REASON}",
            id="empty-hold",
        ),
        pytest.param(
            "reason: a try",
            "reason: '  '",
            f"images.yaml:12: payment-api.pins.dev.reason: '  ' is not {REASON}",
            id="blank-reason",
        ),
        pytest.param(
            '"the audit: until May"',
            r'"one\ntwo"',
            rf"images.yaml:6: payment-api.hold: 'one\ntwo' is not {REASON}",
            id="reason-of-two-lines",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "7.2",
            "images.yaml:31: redis.tag: is a number; write it as text, in quotes.",
            id="number",
        ),
        pytest.param(
            f"{'c' * 40}\n",
            f"{'1' * 40}\n",
            "images.yaml:25: flink-app.tag: is a number; write it as text, in quotes.",
            id="commit-of-digits",
        ),
        pytest.param(
            f"{'c' * 40}\n",
            f"1e{'1' * 38}\n",
            "images.yaml:25: flink-app.tag: is a number; write it as text, in quotes.",
            id="commit-with-exponent",
        ),
        pytest.param(
            '"the audit: until May"',
            "true",
            "images.yaml:6: payment-api.hold: is true or false; write it as text, in quotes.",
            id="boolean",
        ),
        pytest.param(
            '"the audit: until May"',
            "2027-05-01",
            "images.yaml:6: payment-api.hold: is a date; write it as text, in quotes.",
            id="date",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "[7.2.16]",
            "images.yaml:31: redis.tag: is a list; write it as text, in quotes.",
            id="list",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "{version: 7.2.16}",
            "images.yaml:31: redis.tag: is a mapping; write it as text, in quotes.",
            id="mapping",
        ),
        pytest.param(
            " 7.2.16-bookworm",
            "",
            "images.yaml:31: redis.tag: is empty; write it as text, in quotes.",
            id="null",
        ),
        pytest.param(
            "7.2.16-bookworm",
            "!version 7.2.16",
            "images.yaml:31: redis.tag: is of an unknown type; write it as text, in quotes.",
            id="type-of-ones-own",
        ),
        pytest.param(
            "redis:\n  repository: docker.io/library/redis\n  tag: 7.2.16-bookworm\n",
            "redis: docker.io/library/redis:7.2.16\n",
            "images.yaml:29: redis: is text; write its keys below it, one per line.",
            id="text-for-a-service",
        ),
        pytest.param(
            "redis:\n  repository: docker.io/library/redis\n  tag: 7.2.16-bookworm\n",
            "redis:\n",
            "images.yaml:29: redis: is empty; write its keys below it, one per line.",
            id="nothing-for-a-service",
        ),
        pytest.param(
            "redis:\n  repository: docker.io/library/redis\n  tag: 7.2.16-bookworm\n",
            "redis: {repository: docker.io/library/redis, tag: 7.2.16-bookworm}\n",
            "images.yaml:29: redis: is in braces; write its keys below it, one per line.",
            id="braces",
        ),
        pytest.param(
            '"the audit: until May"',
            ">-\n    folded\n    text",
            "images.yaml:6: payment-api.hold: is not on one line with its key; "
            "write it there, in quotes.",
            id="folded-text",
        ),
        pytest.param(
            "tag: 7.2.16-bookworm",
            "tag:\n    7.2.16-bookworm",
            "images.yaml:31: redis.tag: is not on one line with its key; "
            "write it there, in quotes.",
            id="value-on-the-next-line",
        ),
        pytest.param(
            "7.2.16-bookworm\n",
            "7.2.16-bookworm\n  repository: docker.io/library/redis\n",
            "images.yaml:32: redis.repository: stands here for the second time; "
            "delete one of the two.",
            id="key-twice",
        ),
        pytest.param(
            "redpanda:\n",
            "flink-app:\n",
            "images.yaml:26: flink-app: stands here for the second time; delete one of the two.",
            id="service-twice",
        ),
        pytest.param(
            "redpanda:\n",
            "redpanda\n",
            "images.yaml:27: is not YAML: while scanning a simple key, "
            f"could not find expected ':'; {CORRECT}",
            id="missing-colon",
        ),
        pytest.param(
            "redis:\n",
            "<<<<<<< HEAD\nredis:\n",
            "images.yaml:30: is not YAML: while scanning a simple key, "
            f"could not find expected ':'; {CORRECT}",
            id="conflict-of-a-merge",
        ),
        pytest.param(
            '"the audit: until May"',
            "|\n \n     \n    the audit",
            "images.yaml:9: is not YAML: more indented follow up line than first in a "
            f"block scalar; {CORRECT}",
            id="indentation",
        ),
        pytest.param(
            "redis:\n",
            "---\nredis:\n",
            "images.yaml:29: is not YAML: expected a single document in the stream, "
            f"but found another document; {CORRECT}",
            id="two-documents",
        ),
        pytest.param(
            "redis:\n",
            "\x00redis:\n",
            "images.yaml:29: has a control character; delete it.",
            id="control-character",
        ),
        pytest.param(
            "# What runs.\n",
            "%YAML 1.9\n---\n",
            "images.yaml:1: asks for an unknown version of YAML; delete the line %YAML.",
            id="yaml-of-the-future",
        ),
    ],
)
def test_a_mistake_is_named(images: Path, old: str, new: str, message: str) -> None:
    """Whoever made it must find it at once: file, line, field, and what to do."""
    assert refused(images, edited(old, new)) == message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is empty; restore the file from Git.", id="empty"),
        pytest.param("# soon\n", "is empty; restore the file from Git.", id="comments"),
        pytest.param("- redis\n", "is a list; write its keys below it, one per line.", id="a-list"),
        pytest.param(
            "---\n%YAML 9.9\n",
            "asks for an unknown version of YAML; delete the line %YAML.",
            id="yaml-of-the-future",
        ),
        pytest.param("{}", "is in braces; write its keys below it, one per line.", id="braces"),
    ],
)
def test_a_file_without_services_is_named(images: Path, text: str, problem: str) -> None:
    """A truncated or foreign file has no field to name."""
    assert refused(images, text) == f"images.yaml:1: {problem}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The full path tells where it was looked for."""
    path = tmp_path / "images.yaml"
    with pytest.raises(ImagesError) as error:
        read(path)
    assert str(error.value) == f"{path}: No such file or directory; restore the file from Git."


def test_another_encoding_is_named(images: Path) -> None:
    """An editor with a legacy encoding writes bytes that are not UTF-8."""
    images.write_bytes(edited("a try", "für dev").encode("latin-1"))
    with pytest.raises(ImagesError) as error:
        read(images)
    assert str(error.value) == "images.yaml:12: is not UTF-8; save the file in that encoding."


def test_the_first_mistake_is_named(images: Path) -> None:
    """From top to bottom, as a person corrects them."""
    text = edited("  hold:", "  holds:").replace(f'"{"a" * 40}"', "latest")
    assert refused(images, text).startswith("images.yaml:4: payment-api.tag: 'latest'")


@pytest.mark.parametrize(
    "tag", ["7.2.16", "v25.3.15", "7.2.16-bookworm", "1.18.1-scala_2.12-java11", "25.3.15.1"]
)
def test_exact_versions_are_taken(images: Path, tag: str) -> None:
    """The forms in which third-party images are released."""
    images.write_text(edited("7.2.16-bookworm", tag), encoding="utf-8")
    assert read(images).for_environment("dev").redis.tag == tag


@pytest.mark.parametrize(
    "repository", ["localhost:5000/redis", "registry.test:443/a/b_c/d--e", "ghcr.io/mordris/a.b"]
)
def test_repositories_of_other_registries_are_taken(images: Path, repository: str) -> None:
    """A fork has its own registry, a kind cluster a local one."""
    images.write_text(edited("docker.io/library/redis", repository), encoding="utf-8")
    assert read(images).for_environment("dev").redis.repository == repository


def test_a_bump_changes_one_value(images: Path) -> None:
    """The rest of the line, and every other line, is somebody's."""
    release = read(images).services["alert-monitor"]
    update(images, "alert-monitor", release.bumped("f" * 40))
    assert images.read_text() == edited(f"'{'b' * 40}'", f'"{"f" * 40}"')


def test_an_endless_value_is_shown_in_part() -> None:
    """The sentence must be found in the log of a pipeline, whatever somebody sent."""
    with pytest.raises(ImagesError) as caught:
        check_build("redis", "7.2.16", "sha256:" + "f" * 100_000)
    assert len(str(caught.value)) < 400
    assert "fff...fff" in str(caught.value)


def test_a_bump_without_digest_drops_the_old_one(images: Path) -> None:
    """Otherwise the old image would run under the new tag: the digest wins."""
    release = read(images).services["payment-api"].bumped("f" * 40)
    update(images, "payment-api", release)
    expected = edited(f"  digest: {DIGEST}\n  hold", "  hold").replace("a" * 40, "f" * 40)
    assert images.read_text() == expected


def test_a_digest_goes_below_its_tag(images: Path) -> None:
    """Where a person looks for it, also when more follows."""
    digest = f"  digest: {DIGEST}\n  hold"
    images.write_text(edited(digest, "  hold"), encoding="utf-8")
    release = read(images).services["payment-api"]
    update(images, "payment-api", release.bumped("a" * 40, DIGEST))
    assert images.read_text() == edited(digest, f'  digest: "{DIGEST}"\n  hold')


def test_a_hold_goes_below_the_last_key(images: Path) -> None:
    """Also below a last line that has no end."""
    images.write_text(VALID.rstrip("\n"), encoding="utf-8")
    update(images, "redis", replace(read(images).services["redis"], hold='"7.4": #1'))
    assert images.read_text() == VALID + '  hold: "\\"7.4\\": #1"\n'


def test_release_of_a_hold_removes_its_line(images: Path) -> None:
    """The comments around it are not about it."""
    release = replace(read(images).services["payment-api"], hold=None)
    update(images, "payment-api", release)
    assert images.read_text() == edited('  hold: "the audit: until May"\n', "")


def test_the_first_pin_brings_its_key(images: Path) -> None:
    """The digest is written only where there is one."""
    pin = Pin(tag="f" * 40, reason="rollback")
    update(images, "flink-app", replace(read(images).services["flink-app"], pins={"dev": pin}))
    tag = f"  tag: {'c' * 40}\n"
    pins = f'  pins:\n    dev:\n      tag: "{"f" * 40}"\n      reason: "rollback"\n'
    assert images.read_text() == edited(tag, tag + pins)


def test_unpin_keeps_the_other_pin(images: Path) -> None:
    """Also the comment that stands before it."""
    release = read(images).services["payment-api"]
    update(images, "payment-api", replace(release, pins={"staging": release.pins["staging"]}))
    pin = f'    dev:\n      tag: "{"d" * 40}"\n      reason: a try\n'
    assert images.read_text() == edited(pin, "")


def test_the_last_pin_takes_its_key_along(images: Path) -> None:
    """A key without a value is a mistake."""
    update(images, "payment-api", replace(read(images).services["payment-api"], pins={}))
    start, end = VALID.index("  pins:"), VALID.index("\n# Exactly one")
    assert images.read_text() == VALID[:start] + VALID[end:]


def test_a_pin_moves_to_another_environment(images: Path) -> None:
    """Remove and add in one change, where nothing is left to stand beside."""
    one = replace(read(images).services["redis"], pins={"dev": Pin(tag="7.2.17", reason="a try")})
    update(images, "redis", one)
    update(images, "redis", replace(one, pins={"staging": one.pins["dev"]}))
    assert images.read_text().endswith(
        '  pins:\n    staging:\n      tag: "7.2.17"\n      reason: "a try"\n'
    )


def test_several_services_change_at_once(images: Path) -> None:
    """Several services of one bump land as one commit, so as one write."""
    services = read(images).services
    changes = {name: services[name].bumped("f" * 40) for name in ("alert-monitor", "flink-app")}
    update_images(images, changes, environments=("dev", "staging"))
    assert read(images).services == {**services, **changes}


def test_line_endings_stay(images: Path) -> None:
    """A file from Windows must not become one large diff, nor a mixture."""
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
            "'prod' is no environment",
        ),
        ("nobody", Release(image=OURS), "'nobody' is no service"),
    ],
)
def test_a_wrong_change_is_refused(
    images: Path, service: str, release: Release, problem: str
) -> None:
    """What `read_images` would not take is never written."""
    with pytest.raises(ImagesError, match=problem):
        update(images, service, release)
    assert images.read_text() == VALID


def test_a_refused_change_names_the_field(images: Path) -> None:
    """The person who typed the tag sees why, and where it would have stood."""
    with pytest.raises(ImagesError) as error:
        update(images, "redis", read(images).services["redis"].bumped("latest"))
    assert str(error.value) == f"images.yaml:31: redis.tag: 'latest' is not {VERSION}"


def test_a_name_smuggles_nothing_in(images: Path) -> None:
    """A name with YAML in it reads back as valid, but as more than one pin."""
    name = 'dev:\n      tag: "7.2.16"\n      reason: "x"\n    staging'
    pins = {name: Pin(tag="7.2.17", reason="x")}
    with pytest.raises(ImagesError) as error:
        update(images, "redis", replace(read(images).services["redis"], pins=pins))
    assert str(error.value) == (
        "images.yaml: 'redis': would not read back as asked; "
        "give plain names of services and environments."
    )
    assert images.read_text() == VALID


def test_a_wrong_file_is_not_edited(images: Path) -> None:
    """Somebody else's mistake must not be committed under a robot's name."""
    release = read(images).services["redis"]
    broken = edited("  hold:", "  holds:")
    images.write_text(broken, encoding="utf-8")
    with pytest.raises(ImagesError, match="'holds' is no key"):
        update(images, "redis", release.bumped("7.2.17"))
    assert images.read_text() == broken


def test_the_same_again_writes_nothing(images: Path) -> None:
    """A repeated bump must not even look like a change."""
    before = images.stat()
    update_images(images, read(images).services, environments=("dev", "staging"))
    assert images.read_text() == VALID
    assert images.stat().st_ino == before.st_ino


def test_the_file_is_replaced_as_a_whole(images: Path, tmp_path: Path) -> None:
    """Who reads at that moment sees the old file or the new one, never half of one."""
    old = tmp_path / "old"
    old.hardlink_to(images)
    update(images, "redis", read(images).services["redis"].bumped("7.2.17"))
    assert old.read_text() == VALID


def test_the_mode_stays(images: Path) -> None:
    """A file aside starts with another mode."""
    images.chmod(0o640)
    update(images, "redis", read(images).services["redis"].bumped("7.2.17"))
    assert stat.S_IMODE(images.stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_file(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must cost nothing but the change, and leave nothing behind."""

    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    release = read(images).services["redis"].bumped("7.2.17")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        update(images, "redis", release)
    assert images.read_text() == VALID
    assert list(images.parent.iterdir()) == [images]
