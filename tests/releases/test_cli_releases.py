"""The commands that move releases: their output, and the exit codes that workflows rely on."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import remotes
from delivery import cli
from delivery.cli import main
from delivery.commands import CommandError
from delivery.git import GitError
from delivery.manifests import dist
from delivery.manifests.applications import Environment
from delivery.manifests.dist import RenderError
from delivery.releases import changes, digests, landing, promotion, status
from delivery.releases.chain import ChainError
from delivery.releases.changes import Build
from delivery.releases.digests import Refreshed
from delivery.releases.history import HistoryError
from delivery.releases.landing import Landing
from delivery.releases.promotion import Promotion
from delivery.releases.provenance import Builder
from fraud_detection.images import ImagesError, Release
from fraud_detection.platform.image import Image
from remotes import DEV, PRODUCTION, STAGING

TAG = "a" * 40
BUMP = ["bump", "payment-api", TAG]


def run(*arguments: str) -> Result:
    """Run a command as if it had been typed."""
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the working tree in which the command runs, with a chain of two environments."""
    (tmp_path / "cdk8s.yaml").touch()
    remotes.write_applications(tmp_path, [DEV, STAGING])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def landed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Land everything, and return the arguments of each call."""
    calls = []

    def land(repository: Path, change: changes.Change, **options: object) -> Landing:
        calls.append({"repository": repository, "change": change, **options})
        return Landing(commit="c" * 40, attempts=2, difference="+ tag")

    monkeypatch.setattr(landing, "land", land)
    return calls


def test_a_bump_reports_where_it_landed(landed: list[dict[str, Any]], repository: Path) -> None:
    """And the number of attempts, which explain a slow run."""
    result = run(*BUMP)
    assert (result.exit_code, result.stdout) == (
        0,
        f"Pushed {'c' * 40} to origin/develop (2 attempts)\n",
    )
    assert landed[0]["repository"] == repository
    assert landed[0]["change"].trailers == [("Release", f"payment-api {TAG}")]


def test_several_builds_are_pairs(landed: list[dict[str, Any]]) -> None:
    """The digests have the same order."""
    digests = [f"--digest=sha256:{letter * 64}" for letter in "bc"]
    assert run(*BUMP, "redis", "7.2.17", *digests).exit_code == 0
    assert landed[0]["change"].trailers == [
        ("Release", f"payment-api {TAG}@sha256:{'b' * 64}"),
        ("Release", f"redis 7.2.17@sha256:{'c' * 64}"),
    ]


def test_the_options_of_a_workflow_reach_the_bump(
    landed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dropped option would accept an older build, or lose the record."""
    given: dict[str, object] = {}

    change = changes.hold("redis", reason="slow")

    def bump(builds: list[Build], **options: object) -> changes.Change:
        given.update(options, builds=builds)
        return change

    monkeypatch.setattr(changes, "bump", bump)
    run(*BUMP, "--history=o/app", "--allow-older", "--source-run=https://ci.test/1")
    assert callable(given.pop("prove"))
    assert given == {
        "builds": [Build(service="payment-api", tag=TAG)],
        "history": "o/app",
        "allow_older": True,
        "source_run": "https://ci.test/1",
    }
    assert landed[0]["change"] is change


@pytest.mark.usefixtures("landed")
@pytest.mark.parametrize(
    ("arguments", "history"),
    [
        ((*BUMP, "--history=o/app"), "o/app"),
        (BUMP, "Owner/application"),
        (("pin", "payment-api", "dev", TAG, "--reason=slow"), "Owner/application"),
    ],
    ids=["bump", "bump-without-history", "pin"],
)
def test_an_image_must_be_a_build_of_our_workflow(
    monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], history: str
) -> None:
    """By hand as in a workflow: whoever can push a commit cannot invent an image."""
    image = Image(repository="r.test/payment-api", tag=TAG, digest="sha256:0")
    asked: list[object] = []

    def verify(image: Image, *, builder: Builder, history: str) -> None:
        asked.extend((image, builder, history))

    def prove(*_: object, prove: Callable[[Image], Image], **__: object) -> changes.Change:
        prove(image)
        return changes.hold("redis", reason="slow")

    monkeypatch.setattr(digests, "require_verified", verify)
    monkeypatch.setattr(changes, arguments[0], prove)
    monkeypatch.setattr(cli, "APPLICATION", "https://github.com/Owner/application")
    monkeypatch.setattr(cli, "REPOSITORY", "https://github.com/Owner/config.git")
    assert run(*arguments).exit_code == 0
    workflow = "Owner/config/.github/workflows/deliver-service.yml"
    assert asked == [image, Builder(source="Owner/application", workflow=workflow), history]


@pytest.mark.usefixtures("landed")
def test_refresh_names_what_could_not_be_proved(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are written all the same."""
    image = Image(repository="r.test/redis", tag="7.2.20", digest="sha256:0")
    found = Refreshed(releases={"redis": Release(image=image)}, problems=["app stays as it is."])
    monkeypatch.setattr(digests, "refresh_images", lambda *_, **__: found)
    monkeypatch.setattr(dist, "synthesize", lambda folder: [folder])
    remotes.write_applications(repository, [DEV])
    result = run("refresh")
    assert (result.exit_code, result.stdout) == (2, "redis: r.test/redis:7.2.20@sha256:0\n")
    assert "app stays as it is.\nError: 1 service could not be refreshed.\n" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["payment-api"], [*BUMP[1:], "redis"], [*BUMP[1:], "redis", "7.2.17", "--digest=sha256:0"]],
    ids=["no-tag", "odd", "digests"],
)
def test_an_incomplete_pair_is_refused(arguments: list[str]) -> None:
    """Its meaning is unknown."""
    assert run("bump", *arguments).exit_code == 2


def test_a_dry_run_shows_the_difference(landed: list[dict[str, Any]]) -> None:
    """People run it to read the difference."""
    assert run(*BUMP, "--dry-run").stdout == "+ tag\n"
    assert landed[0]["dry_run"] is True


def test_a_change_without_effect_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow may be run again."""
    nothing = Landing(commit=None, attempts=1, difference="")
    monkeypatch.setattr(landing, "land", lambda *_, **__: nothing)
    result = run(*BUMP)
    assert (result.exit_code, result.stdout) == (
        0,
        "origin/develop is already up to date\n",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (changes.HeldError("redis is held"), 3),
        (changes.OlderError("redis is older"), 4),
        (landing.RaceError("others were first"), 5),
        (GitError("push", "no"), 2),
        (HistoryError("no such commit"), 2),
        (ImagesError("wrong"), 2),
        (RenderError("it does not render"), 2),
        (ChainError("dist is damaged"), 2),
        (OSError(28, "No space left on device"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """A workflow must tell a hold from a failure."""

    def fail(*_: object, **__: object) -> Landing:
        raise error

    monkeypatch.setattr(landing, "land", fail)
    result = run(*BUMP)
    assert result.exit_code == code
    message = "No space left on device" if isinstance(error, OSError) else str(error)
    assert result.stderr.splitlines()[-1] == f"Error: {message}"


def test_progress_on_a_terminal_is_shown_as_it_is(
    landed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address such as `[/x]` looks like markup, and would end in a traceback."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(*BUMP, "--remote=[/x]")
    landed[0]["report"]("fetch [/x]/develop")


@pytest.mark.usefixtures("landed")
def test_malicious_text_is_refused() -> None:
    """It comes from another repository's workflow."""
    result = run("bump", "payment-api", "$(touch gotcha)")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: payment-api.tag: '$(touch gotcha)' is not a full Git")


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["hold", "redis", "--reason=slow"], "Hold redis"),
        (["unhold", "redis"], "Unhold redis"),
        (["pin", "redis", "staging", "7.2.17", "--reason=slow"], "Pin redis in staging to 7.2.17"),
        (["unpin", "redis", "staging"], "Unpin redis in staging"),
    ],
)
def test_each_command_lands_its_change(
    landed: list[dict[str, Any]], arguments: list[str], subject: str
) -> None:
    """On the given branch of the given remote."""
    assert run(*arguments, "--remote=fork", "--branch=main").exit_code == 0
    assert landed[0]["change"].subject == subject
    assert (landed[0]["remote"], landed[0]["branch"]) == ("fork", "main")


@pytest.mark.parametrize(
    ("arguments", "branch"),
    [
        (BUMP, "develop"),
        (["hold", "redis", "--reason=slow"], "develop"),
        (["unhold", "redis"], "develop"),
        (["pin", "redis", "staging", "7.2.17", "--reason=slow"], "main"),
        (["pin", "redis", "dev", "7.2.17", "--reason=slow"], "develop"),
        (["unpin", "redis", "staging"], "main"),
    ],
)
def test_a_change_lands_where_its_environment_reads_it(
    landed: list[dict[str, Any]], arguments: list[str], branch: str
) -> None:
    """A pin of staging on develop did nothing, and a push to main is never allowed."""
    run(*arguments)
    assert (landed[0]["branch"], landed[0]["propose"]) == (branch, branch == "main")


def test_a_pull_request_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever typed it still has to find a reviewer."""
    proposed = Landing(commit="c" * 40, attempts=1, difference="", proposed="https://github.test/7")
    monkeypatch.setattr(landing, "land", lambda *_, **__: proposed)
    assert run("unpin", "redis", "staging").stdout == (
        f"Opened https://github.test/7 to main, with {'c' * 40}\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["hold", "redis"],
        ["unhold", "redis"],
        ["pin", "redis", "staging", "7.2.17"],
        ["unpin", "redis", "staging"],
    ],
)
def test_a_reason_reaches_the_commit(landed: list[dict[str, Any]], arguments: list[str]) -> None:
    """In a month nobody remembers it."""
    run(*arguments, "--reason=because")
    assert landed[0]["change"].body == "because"


def test_a_pin_may_name_a_digest(landed: list[dict[str, Any]]) -> None:
    """A tag of somebody else may move."""
    digest = f"sha256:{'b' * 64}"
    run("pin", "redis", "staging", "7.2.17", f"--digest={digest}", "--reason=slow")
    assert landed[0]["change"].trailers == [("Pin", f"staging redis 7.2.17@{digest}")]


@pytest.mark.parametrize("arguments", [["hold", "redis"], ["pin", "redis", "staging", "7.2.17"]])
def test_a_hold_and_a_pin_require_a_reason(arguments: list[str]) -> None:
    """In a month nobody remembers it."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["diff", "promote", "status"])
def test_a_missing_dist_is_an_error(command: str, repository: Path) -> None:
    """Empty output would look like no differences."""
    shutil.rmtree(repository / "dist")
    result = run(command)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: dist/argocd has no Application: run `make synth`."
    )


PROPOSAL = Promotion(
    commit="c" * 40,
    branch="promote/staging",
    source="develop",
    head="d" * 40,
    target="main",
    base="e" * 40,
    title="Title",
    body="body",
    text="text",
)


@pytest.fixture
def three(repository: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Declare a chain of three, whose last branch is missing; return what was proposed."""
    remotes.write_applications(repository, [DEV, STAGING, PRODUCTION])
    proposed: list[str] = []

    def prepare(_: Path, source: Environment, target: Environment, **__: object) -> Promotion:
        if target == PRODUCTION:
            raise promotion.MissingBranchError("production: origin has no branch production")
        return replace(PROPOSAL, source=source.branch, target=target.branch)

    def propose(_: Path, proposal: Promotion, **__: object) -> str:
        proposed.append(proposal.target)
        return f"Opened https://github.test/{proposal.target}"

    monkeypatch.setattr(promotion, "prepare", prepare)
    monkeypatch.setattr(promotion, "propose", propose)
    return proposed


def test_a_pair_without_its_branch_is_skipped(three: list[str]) -> None:
    """A new environment must not stop the promotions of the others."""
    result = run("promote")
    assert (result.exit_code, three) == (0, ["main"])
    assert result.stdout == "Opened https://github.test/main\n"
    assert "Skipped production: origin has no branch production\n" in result.stderr


@pytest.mark.usefixtures("three")
def test_a_promotion_that_skips_everything_fails() -> None:
    """Otherwise a workflow would stay green without promoting anything."""
    result = run("promote", "--environment=production")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("\nSkipped production: origin has no branch production\n")


def test_a_refused_promotion_is_the_answer_no(
    three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow must be red; the promotions of the other environments go on."""

    def refuse(_: Path, __: Environment, target: Environment, **___: object) -> Promotion:
        if target == STAGING:
            raise promotion.LackingError("develop lacks changes of main: abc")
        return replace(PROPOSAL, target=target.branch)

    monkeypatch.setattr(promotion, "prepare", refuse)
    result = run("promote")
    assert (result.exit_code, three) == (1, ["production"])
    assert "Skipped develop lacks changes of main: abc\n" in result.stderr


def test_promote_may_be_limited_to_one_environment(three: list[str]) -> None:
    """Each environment may have a schedule of its own."""
    assert run("promote", "-e", "staging").exit_code == 0
    assert three == ["main"]


def test_each_pair_has_a_pull_request(
    three: list[str], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    """And the file has the text of each."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: PROPOSAL)
    assert run("promote", "--output=all.md").exit_code == 0
    assert len(three) == 2
    assert (repository / "all.md").read_text(encoding="utf-8") == "text\ntext\n"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "option", ["--verdict=verdict.md", "--bundle=x", "--body=x", "--overrule=done better"]
)
def test_some_options_are_about_one_environment(repository: Path, option: str) -> None:
    """A rehearsal of another environment would be quoted, a second bundle replace the first."""
    (repository / "verdict.md").touch()
    result = run("promote", option)
    assert (result.exit_code, "add --environment" in result.stderr) == (2, True)


def test_one_environment_has_nothing_to_promote(repository: Path) -> None:
    """A system may begin with one."""
    remotes.write_applications(repository, [DEV])
    result = run("promote")
    assert (result.exit_code, result.stdout) == (
        0,
        "nothing to promote: dist/argocd has one environment\n",
    )


@pytest.mark.parametrize("dry", [True, False])
def test_promote_proposes_unless_it_is_a_dry_run(
    monkeypatch: pytest.MonkeyPatch, repository: Path, *, dry: bool
) -> None:
    """The full text is kept either way."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: PROPOSAL)
    monkeypatch.setattr(promotion, "propose", lambda *_, **__: "https://github.test/pull/7")
    result = run("promote", "--output=all.md", *(["--dry-run"] if dry else []))
    assert result.stdout == ("Title\n\nbody\n" if dry else "https://github.test/pull/7\n")
    assert (repository / "all.md").read_text(encoding="utf-8") == "text\n"


def test_the_text_is_kept_if_github_refuses(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    """A person can open the pull request with it."""

    def refuse(*_: object, **__: object) -> str:
        raise CommandError("no permission")

    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: PROPOSAL)
    monkeypatch.setattr(promotion, "propose", refuse)
    assert run("promote", "--output=all.md").exit_code == 2
    assert (repository / "all.md").read_text(encoding="utf-8") == "text\n"


@pytest.mark.parametrize("options", [["--dry-run"], ["--bundle=new.bundle", "-e", "staging"]])
def test_nothing_to_promote_is_a_success(
    monkeypatch: pytest.MonkeyPatch, repository: Path, options: list[str]
) -> None:
    """It must not leave a file that looks like a proposal; offer.sh knows it by this line."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: None)
    result = run("promote", "--output=all.md", *options)
    assert (result.exit_code, result.stdout) == (
        0,
        "nothing to promote from develop to main\n",
    )
    assert not (repository / "all.md").exists()


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("done", ["Closed https://github.test/pull/7", None])
def test_a_promotion_that_has_become_empty_is_withdrawn(
    monkeypatch: pytest.MonkeyPatch, done: str | None
) -> None:
    """By hand as by the workflow."""
    monkeypatch.setattr(promotion, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(promotion, "withdraw", lambda *_, **__: done)
    result = run("promote")
    assert result.stdout.splitlines() == [
        "nothing to promote from develop to main",
        *([done] if done else []),
    ]


def test_a_stale_dist_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workflow can tell that develop has to be fixed."""

    def fail(*_: object, **__: object) -> Promotion:
        raise promotion.StaleError("develop is not ready")

    monkeypatch.setattr(promotion, "prepare", fail)
    result = run("promote")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (3, "Error: develop is not ready")


def test_the_verdict_of_a_rehearsal_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    """The workflow writes it to a file."""
    (repository / "verdict.md").write_text("Nothing blocks.", encoding="utf-8")
    given: dict[str, object] = {}
    monkeypatch.setattr(promotion, "prepare", lambda *_, **options: given.update(options))
    run("promote", "--verdict=verdict.md")
    assert given["verdict"] == "Nothing blocks."


def test_status_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like every command."""

    def fail(*_: object, **__: object) -> None:
        raise CommandError("There is no kubectl.")

    monkeypatch.setattr(status, "status", fail)
    result = run("status")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "Error: There is no kubectl.")


def test_no_message_has_the_password_of_a_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many name the remote as it was given, and the log of a workflow is public."""

    def fail(*_: object, remote: str, **__: object) -> None:
        raise promotion.MissingBranchError(f"{remote} has no branch main.")

    monkeypatch.setattr(promotion, "prepare", fail)
    result = run("promote", "--remote=https://robot:s3cret@git.test/x.git")
    assert "https://git.test/x.git has no branch main" in result.stderr
    assert "s3cret" not in result.output


def test_work_of_others_is_not_shown_backwards_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout behind its remote looks as if it undid what others did."""
    (tmp_path / "behind").mkdir()
    remote = remotes.Remote.create(tmp_path / "behind")
    remotes.run_git(remote.clone, "switch", "--quiet", "--detach")
    newer = remotes.commit(remote.clone, "Others")
    remotes.run_git(remote.clone, "push", "--quiet", "origin", f"{newer}:develop", f"{newer}:main")
    remotes.run_git(remote.clone, "switch", "--quiet", "develop")
    monkeypatch.chdir(remote.clone)
    assert "This checkout lacks 1 commit of origin/develop, which" in run("diff").stderr
    assert "lacks" not in run("diff", "HEAD").stderr
