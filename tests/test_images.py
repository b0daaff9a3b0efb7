"""images.yaml: what it holds, and how each mistake is reported."""

from dataclasses import fields
from pathlib import Path

import pytest

from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.images import SERVICES as LIVE
from fraud_detection.images import Images, ImagesError, Pin, Release, Releases, read_images
from fraud_detection.platform.image import Image
from images_yaml import DIGEST, SERVICES, VALID, edited, read
from repository import REPOSITORY


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A file that uses everything that is allowed."""
    path = tmp_path / "images.yaml"
    path.write_text(VALID, encoding="utf-8", newline="")
    return path


def test_the_repositorys_own_file_is_valid() -> None:
    """A robot or a person may have broken it, and nothing would render."""
    names = [environment.name for environment in ENVIRONMENTS]
    read_images(REPOSITORY / "images.yaml", environments=names)


def test_every_key_is_read(images: Path) -> None:
    """A key that is accepted but dropped would silently change what runs."""
    assert read(images).services["payment-api"] == Release(
        image=Image(repository="ghcr.io/mordris/payment-api", tag="a" * 40, digest=DIGEST),
        hold="the audit: until May",
        pins={
            "dev": Pin(tag="d" * 40, reason="a try"),
            "staging": Pin(tag="e" * 40, digest=DIGEST, reason="hotfix #7"),
        },
    )


def test_a_service_requires_only_repository_and_tag(images: Path) -> None:
    """Most services have no digest, hold or pins."""
    assert read(images).services["redis"] == Release(
        image=Image(repository="docker.io/library/redis", tag="7.2.16-bookworm")
    )


def test_an_environment_runs_its_pin(images: Path) -> None:
    """A hotfix must reach its environment, with its own digest."""
    assert read(images).services["payment-api"].for_environment("staging") == Image(
        repository="ghcr.io/mordris/payment-api", tag="e" * 40, digest=DIGEST
    )


def test_a_pin_without_digest_drops_the_released_digest(images: Path) -> None:
    """The digest wins over the tag, and would run the released image."""
    assert read(images).services["payment-api"].for_environment("dev").digest is None


def test_an_environment_without_pin_runs_the_release(images: Path) -> None:
    """A pin is for one environment only."""
    assert read(images).services["payment-api"].for_environment("production").tag == "a" * 40


def test_each_service_has_a_field_of_its_own() -> None:
    """The constructs read fields; one that has another service's image would run it."""
    images = {name: Image(repository=f"r.test/{name}", tag="1.2.3") for name in LIVE}
    releases = {name: Release(image=image) for name, image in images.items()}
    running = Releases(services=releases).for_environment("dev")
    found = {each.name.replace("_", "-"): getattr(running, each.name) for each in fields(Images)}
    assert found == images


def test_a_reference_has_repository_and_tag() -> None:
    """Without a digest a pod pulls by tag."""
    assert Image(repository="r.test/a", tag="1.2.3").reference == "r.test/a:1.2.3"


def test_reference_ends_with_the_digest() -> None:
    """With a digest a pod pulls exactly that image; the tag is for people."""
    image = Image(repository="r.test/a", tag="1.2.3", digest=DIGEST)
    assert image.reference == f"r.test/a:1.2.3@{DIGEST}"


def refused(images: Path, text: str) -> str:
    """Return the error for a wrong file."""
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
KNOWN = ", ".join(SERVICES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "redis:\n",
            "reddis:\n",
            f"images.yaml:29: unknown service 'reddis'; known services: {KNOWN}.",
            id="unknown-service",
        ),
        pytest.param(
            "  hold:",
            "  holds:",
            "images.yaml:6: payment-api: unknown key 'holds'; known keys: "
            "repository, tag, digest, hold, pins.",
            id="unknown-key",
        ),
        pytest.param(
            "    dev:",
            "    prod:",
            "images.yaml:10: payment-api.pins: unknown environment 'prod'; known environments: "
            "dev, staging.",
            id="unknown-environment",
        ),
        pytest.param(
            "      reason: a try\n",
            "      reason: a try\n      hold: no\n",
            "images.yaml:13: payment-api.pins.dev: unknown key 'hold'; known keys: "
            "tag, reason, digest.",
            id="unknown-key-of-a-pin",
        ),
        pytest.param(
            "  tag: v25.3.15",
            "  ? [tag]\n  : v25.3.15",
            "images.yaml:28: redpanda: unknown key '?'; known keys: "
            "repository, tag, digest, hold, pins.",
            id="key-that-is-not-text",
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
            id="our-pin-by-version",
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
            id="character-invalid-in-tags",
        ),
        pytest.param(
            "7.2.16-bookworm",
            f"7.2.16-{'b' * 122}",
            f"images.yaml:31: redis.tag: '7.2.16-{'b' * 122}' is not {VERSION}",
            id="tag-too-long-for-registries",
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
            id="custom-type",
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
            "images.yaml:32: redis.repository: duplicate key; delete one of the two.",
            id="key-twice",
        ),
        pytest.param(
            "redpanda:\n",
            "flink-app:\n",
            "images.yaml:26: flink-app: duplicate key; delete one of the two.",
            id="service-twice",
        ),
        pytest.param(
            "redpanda:\n",
            "redpanda\n",
            "images.yaml:27: is not valid YAML: while scanning a simple key, "
            f"could not find expected ':'; {CORRECT}",
            id="missing-colon",
        ),
        pytest.param(
            "redis:\n",
            "<<<<<<< HEAD\nredis:\n",
            "images.yaml:30: is not valid YAML: while scanning a simple key, "
            f"could not find expected ':'; {CORRECT}",
            id="conflict-of-a-merge",
        ),
        pytest.param(
            '"the audit: until May"',
            "|\n \n     \n    the audit",
            "images.yaml:9: is not valid YAML: more indented follow up line than first in a "
            f"block scalar; {CORRECT}",
            id="indentation",
        ),
        pytest.param(
            "redis:\n",
            "---\nredis:\n",
            "images.yaml:29: is not valid YAML: expected a single document in the stream, "
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
            id="unknown-yaml-version",
        ),
    ],
)
def test_a_mistake_is_reported(images: Path, old: str, new: str, message: str) -> None:
    """Its author must find it at once: file, line, field and remedy."""
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
            id="unknown-yaml-version",
        ),
        pytest.param("{}", "is in braces; write its keys below it, one per line.", id="braces"),
    ],
)
def test_a_file_without_services_is_reported(images: Path, text: str, problem: str) -> None:
    """A truncated or unrelated file has no field to name."""
    assert refused(images, text) == f"images.yaml:1: {problem}"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """The full path shows where it was expected."""
    path = tmp_path / "images.yaml"
    with pytest.raises(ImagesError) as error:
        read(path)
    assert str(error.value) == f"{path}: No such file or directory; restore the file from Git."


def test_another_encoding_is_reported(images: Path) -> None:
    """An editor with a legacy encoding writes bytes that are not UTF-8."""
    images.write_bytes(edited("a try", "für dev").encode("latin-1"))
    with pytest.raises(ImagesError) as error:
        read(images)
    assert str(error.value) == "images.yaml:12: is not UTF-8; save the file in that encoding."


def test_the_first_mistake_is_reported(images: Path) -> None:
    """People correct mistakes from top to bottom."""
    text = edited("  hold:", "  holds:").replace(f'"{"a" * 40}"', "latest")
    assert refused(images, text).startswith("images.yaml:4: payment-api.tag: 'latest'")


@pytest.mark.parametrize(
    "tag", ["7.2.16", "v25.3.15", "7.2.16-bookworm", "1.18.1-scala_2.12-java11", "25.3.15.1"]
)
def test_exact_versions_are_accepted(images: Path, tag: str) -> None:
    """Third-party images are released in these forms."""
    images.write_text(edited("7.2.16-bookworm", tag), encoding="utf-8")
    assert read(images).services["redis"].for_environment("dev").tag == tag


@pytest.mark.parametrize(
    "repository", ["localhost:5000/redis", "registry.test:443/a/b_c/d--e", "ghcr.io/mordris/a.b"]
)
def test_repositories_of_other_registries_are_accepted(images: Path, repository: str) -> None:
    """A fork has its own registry, a kind cluster a local one."""
    images.write_text(edited("docker.io/library/redis", repository), encoding="utf-8")
    assert read(images).services["redis"].for_environment("dev").repository == repository
