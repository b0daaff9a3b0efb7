"""What a service ran, when, where, and who released it."""

import json
from pathlib import Path

import pytest

import remotes
from delivery.releases import changes, record
from delivery.releases.changes import Build
from delivery.releases.record import Run
from fraud_detection.images import ImagesError
from promoting import bump, land, pin, promote
from remotes import Remote

A, B = "a" * 40, "b" * 40

pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Create a remote whose branches develop and main are equal; all commits are of one time."""
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0200")
    return Remote.create(tmp_path)


def runs(remote: Remote, service: str = "payment-api") -> list[Run]:
    """Return what a service ran."""
    return record.record(remote.clone, service, remote="origin")


def test_each_environment_has_its_own_history(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest is first; a promotion is a release of its environment."""
    build = Build(service="payment-api", tag=A)
    run = "https://ci.test/runs/1"
    land(remote, changes.bump([build], prove=remotes.trust, source_run=run))
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700003600 +0200")
    landed = promote(remote)
    assert runs(remote)[0] == Run(
        time="2023-11-14 23:13+00:00",
        environment="staging",
        image=A,
        author="A Person",
        commit=landed,
        source_run=run,
    )
    assert [(each.environment, each.image) for each in runs(remote)[1:]] == [
        ("dev", A),
        ("dev", "1" * 40),
        ("staging", "1" * 40),
    ]
    assert runs(remote)[1].source_run == run


def test_a_pin_and_its_end_are_runs(remote: Remote) -> None:
    """Somebody looks for when staging ran what."""
    pin(remote)
    land(remote, changes.unpin("redis", "staging", reason=None), "main")
    staging = [run.image for run in runs(remote, "redis") if run.environment == "staging"]
    assert staging == ["7.2.16", "7.2.17", "7.2.16"]


def test_what_changes_no_image_is_no_run(remote: Remote) -> None:
    """A hold, or the release of another service."""
    before = runs(remote)
    land(remote, changes.hold("payment-api", reason="slow"))
    bump(remote, "7.2.17", service="redis")
    assert runs(remote) == before


def test_an_unknown_service_is_refused(remote: Remote) -> None:
    """An empty table would look like a service that never ran."""
    with pytest.raises(ImagesError, match="Unknown service 'nobody'"):
        runs(remote, "nobody")


RUN = Run(
    time="2023-11-14 23:13+00:00",
    environment="staging",
    image=f"{A}@sha256:{'d' * 64}",
    author="Ada\x1b[2K",
    commit=B,
    source_run=None,
)


def test_the_table_is_for_a_person() -> None:
    """Names are of others, and must not control the terminal."""
    heading, _, row = record.text([RUN]).splitlines()
    columns = ["since", "environment", "image", "by", "commit", "reported", "built", "by"]
    assert heading.split() == columns
    image = f"{A[:12]}@sha256:{'d' * 12}"
    assert row.split() == ["2023-11-14", "23:13", "staging", image, r"Ada\x1b[2K", B[:12]]


def test_json_is_for_a_program() -> None:
    """Nothing is shortened."""
    [found] = json.loads(record.as_json([RUN]))
    assert (found["commit"], found["image"]) == (B, RUN.image)
