"""The commands that move releases: what they say, and the exit codes that workflows rely on."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from delivery.cli import main
from delivery.git import GitError
from delivery.manifests.dist import RenderError
from delivery.releases import changes as release
from delivery.releases import promotion, status
from delivery.releases.changes import Build, Landing
from delivery.releases.history import HistoryError
from delivery.releases.promotion import Promotion
from delivery.releases.stages import StagesError
from fraud_detection.images import ImagesError

TAG = "a" * 40
BUMP = ["bump", "payment-api", TAG]


def run(*arguments: str) -> Result:
    """Run a command as if it was typed."""
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working tree in which the command is typed."""
    (tmp_path / "cdk8s.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """With what `land` was called; it lands everything."""
    calls = []

    def land(repository: Path, change: release.Change, **options: object) -> Landing:
        calls.append({"repository": repository, "change": change, **options})
        return Landing(commit="c" * 40, attempts=2, difference="+ tag")

    monkeypatch.setattr(release, "land", land)
    return calls


def test_a_bump_says_where_it_landed(landed: list[dict[str, Any]], repository: Path) -> None:
    """And how often it was made, for whoever looks at a slow run."""
    result = run(*BUMP)
    assert (result.exit_code, result.stdout) == (
        0,
        f"origin/develop has it: commit {'c' * 40}, attempts: 2\n",
    )
    assert landed[0]["repository"] == repository
    assert landed[0]["change"].trailers == [("Release", f"payment-api {TAG}")]


def test_several_builds_are_pairs(landed: list[dict[str, Any]]) -> None:
    """With their digests in the same order."""
    digests = [f"--digest=sha256:{letter * 64}" for letter in "bc"]
    assert run(*BUMP, "redis", "1.0.0", *digests).exit_code == 0
    assert landed[0]["change"].trailers == [
        ("Release", f"payment-api {TAG}@sha256:{'b' * 64}"),
        ("Release", f"redis 1.0.0@sha256:{'c' * 64}"),
    ]


def test_what_a_workflow_says_reaches_the_bump(
    landed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option that is dropped on the way lets an older build pass, or loses the record."""
    given: dict[str, object] = {}

    def bump(builds: list[Build], **options: object) -> str:
        given.update(options, builds=builds)
        return "the change"

    monkeypatch.setattr(release, "bump", bump)
    run(*BUMP, "--history=o/app", "--allow-older", "--source-run=https://ci.test/1")
    assert given == {
        "builds": [Build(service="payment-api", tag=TAG)],
        "history": "o/app",
        "allow_older": True,
        "source_run": "https://ci.test/1",
    }
    assert landed[0]["change"] == "the change"


@pytest.mark.parametrize(
    "arguments",
    [["payment-api"], [*BUMP[1:], "redis"], [*BUMP[1:], "redis", "1.0.0", "--digest=sha256:0"]],
    ids=["no-tag", "odd", "digests"],
)
def test_what_is_no_pair_is_refused(arguments: list[str]) -> None:
    """Half a pair could be meant for anything."""
    assert run("bump", *arguments).exit_code == 2


def test_a_dry_run_shows_the_difference(landed: list[dict[str, Any]]) -> None:
    """That is what it is for."""
    assert run(*BUMP, "--dry-run").stdout == "+ tag\n"
    assert landed[0]["dry_run"] is True


def test_what_is_there_already_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a success: a repeated run ends well."""
    nothing = Landing(commit=None, attempts=1, difference="")
    monkeypatch.setattr(release, "land", lambda *_, **__: nothing)
    result = run(*BUMP)
    assert (result.exit_code, result.stdout) == (
        0,
        "origin/develop is already up to date\n",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (release.HeldError("it is held"), 3),
        (release.OlderError("it is older"), 4),
        (release.RaceError("others were first"), 5),
        (GitError("push", "no"), 2),
        (HistoryError("it does not say"), 2),
        (ImagesError("wrong"), 2),
        (RenderError("it does not render"), 2),
        (StagesError("it is damaged"), 2),
        (OSError(28, "No space left on device"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_refusal_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """A workflow that is held is not a workflow that is broken."""

    def fail(*_: object, **__: object) -> Landing:
        raise error

    monkeypatch.setattr(release, "land", fail)
    result = run(*BUMP)
    assert result.exit_code == code
    said = "No space left on device" if isinstance(error, OSError) else str(error)
    assert result.stderr.splitlines()[-1] == f"Error: {said}"


def test_progress_on_a_terminal_is_shown_as_it_is(
    landed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address such as `[/x]` looks like markup, which would end in a trace."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(*BUMP, "--remote=[/x]")
    landed[0]["report"]("fetch [/x]/develop")


@pytest.mark.usefixtures("landed")
def test_malicious_text_ends_in_a_sentence() -> None:
    """No trace, and nothing ran."""
    result = run("bump", "payment-api", "$(touch gotcha)")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: payment-api.tag: '$(touch gotcha)' is not a full Git")


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["hold", "redis", "--reason=slow"], "Hold redis"),
        (["release", "redis"], "Release redis"),
        (["pin", "redis", "staging", "1.0.0", "--reason=slow"], "Pin redis in staging to 1.0.0"),
        (["unpin", "redis", "staging"], "Unpin redis in staging"),
    ],
)
def test_each_command_lands_its_change(
    landed: list[dict[str, Any]], arguments: list[str], subject: str
) -> None:
    """On the branch that is named, wherever that is."""
    assert run(*arguments, "--remote=fork", "--branch=main").exit_code == 0
    assert landed[0]["change"].subject == subject
    assert (landed[0]["remote"], landed[0]["branch"]) == ("fork", "main")


@pytest.mark.parametrize(
    "arguments",
    [
        ["hold", "redis"],
        ["release", "redis"],
        ["pin", "redis", "staging", "1.0.0"],
        ["unpin", "redis", "staging"],
    ],
)
def test_a_reason_reaches_the_commit(landed: list[dict[str, Any]], arguments: list[str]) -> None:
    """In a month it is all that is known."""
    run(*arguments, "--reason=because")
    assert landed[0]["change"].body == "because"


def test_a_pin_may_name_a_digest(landed: list[dict[str, Any]]) -> None:
    """As a bump may."""
    digest = f"sha256:{'b' * 64}"
    run("pin", "redis", "staging", "1.0.0", f"--digest={digest}", "--reason=slow")
    assert landed[0]["change"].trailers == [("Pin", f"staging redis 1.0.0@{digest}")]


@pytest.mark.parametrize("arguments", [["hold", "redis"], ["pin", "redis", "staging", "1.0.0"]])
def test_a_reason_is_asked_for(arguments: list[str]) -> None:
    """In a month nobody remembers it."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["diff", "promote", "status"])
def test_without_a_dist_nothing_is_said_to_be_alike(command: str) -> None:
    """An empty answer would be taken for a good one."""
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: dist/argocd has no Application: run `make synth`."
    )


PROPOSAL = Promotion(source="develop", target="main", title="Title", body="body", text="text")


@pytest.mark.parametrize("dry", [True, False])
def test_promote_proposes_unless_it_is_a_dry_run(
    monkeypatch: pytest.MonkeyPatch, repository: Path, *, dry: bool
) -> None:
    """The whole text is kept either way."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: PROPOSAL)
    monkeypatch.setattr(promotion, "propose", lambda *_: "https://github.test/pull/7")
    result = run("promote", "--output=all.md", *(["--dry-run"] if dry else []))
    assert result.stdout == ("Title\n\nbody\n" if dry else "https://github.test/pull/7\n")
    assert (repository / "all.md").read_text(encoding="utf-8") == "text"


def test_nothing_to_promote_is_a_success(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """It leaves no file behind that could be taken for a proposal."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: None)
    result = run("promote", "--output=all.md")
    assert (result.exit_code, result.stdout) == (0, "nothing to promote\n")
    assert not (repository / "all.md").exists()


def test_a_stale_dist_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is on develop, not in the workflow."""

    def fail(*_: object, **__: object) -> Promotion:
        raise promotion.StaleError("develop is not ready")

    monkeypatch.setattr(promotion, "prepare", fail)
    result = run("promote")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, "Error: develop is not ready")


def test_the_verdict_of_a_rehearsal_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    """The workflow has it in a file."""
    (repository / "verdict.md").write_text("Nothing blocks.", encoding="utf-8")
    given: dict[str, object] = {}
    monkeypatch.setattr(promotion, "prepare", lambda *_, **options: given.update(options))
    run("promote", "--verdict=verdict.md")
    assert given["verdict"] == "Nothing blocks."


def test_status_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""

    def fail(*_: object, **__: object) -> None:
        raise status.StatusError("There is no kubectl.")

    monkeypatch.setattr(status, "status", fail)
    result = run("status")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "Error: There is no kubectl.")
