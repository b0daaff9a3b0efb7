"""The workflows themselves, run by act; `make test-workflows`."""

import json
import re
from pathlib import Path

import pytest

from acting import ACT, SECRETS, TOKEN, GitHub
from remotes import commit, run_git
from repository import REPOSITORY

WORKFLOWS = REPOSITORY / ".github" / "workflows"
pytestmark = [
    pytest.mark.workflows,
    pytest.mark.usefixtures("git_environment"),
    pytest.mark.skipif(ACT is None, reason="act is missing: run `make test-workflows`"),
]

BUNDLED = """
for each; do
    case $each in
        --bundle=*) bundle=${each#*=} ;;
        --branch=*) branch=${each#*=} ;;
    esac
done
sed -i s/1111111111111111111111111111111111111111/cccccccccccccccccccccccccccccccccccccccc/ \\
    images.yaml dist/*/payment-api.yaml
%s
git add --force --all images.yaml dist .github
git commit --quiet --message Release
git bundle create --quiet "$bundle" "HEAD^..$branch"
"""
"""What `delivery bump` does, and what else its branch's code does."""
PAYLOAD = {
    "service": "payment-api",
    "tag": "c" * 40,
    "digest": f"sha256:{'d' * 64}",
    "run": "https://github.test/application/actions/runs/7",
}


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    """Create a repository with our workflows."""
    return GitHub.create(tmp_path)


def dispatched(**payload: object) -> dict[str, object]:
    """Return the event that deliver-service.yml sends."""
    return {"action": "bump", "client_payload": {**PAYLOAD, **payload}}


def test_a_dispatched_bump_lands(github: GitHub) -> None:
    """From the event to the commit on develop."""
    github.answer("delivery", BUNDLED % "")
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": True, "land": True}, done.log
    assert "c" * 40 in github.remote.file("images.yaml")
    [(arguments, _)] = github.calls("delivery")
    assert arguments[:3] == ["bump", "--branch=develop", "--bundle=release.bundle"]


def test_code_of_a_branch_sees_no_secret(github: GitHub) -> None:
    """It has the token of the run, which can only read."""
    github.answer("delivery", BUNDLED % "")
    github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    [(_, environment)] = github.calls("delivery")
    assert not {TOKEN, *SECRETS.values()} & set(environment.values())


@pytest.mark.parametrize("key", ["service", "tag", "digest", "run"])
@pytest.mark.parametrize(
    "value",
    [
        "--help",
        "$(touch pwned)",
        "`touch pwned`",
        '"; touch pwned; "',
        "a\nb",
        "${{ github.token }}",
    ],
)
def test_a_hostile_payload_is_only_a_value(github: GitHub, key: str, value: str) -> None:
    """Whoever has the dispatch App's key chooses it."""
    github.answer("delivery", "exit 2")
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched(**{key: value}))
    assert done.jobs == {"prepare": False, "report": True}, done.log
    [(arguments, _)] = github.calls("delivery")
    assert any(each.endswith(value) for each in arguments)
    assert (arguments[-1] == value) is (key == "tag")
    assert not list(github.folder.rglob("pwned"))


def test_hostile_code_lands_nothing(github: GitHub) -> None:
    """A workflow in the commit would run with secrets at the next event."""
    github.answer("delivery", BUNDLED % "echo 'on: push' > .github/workflows/evil.yml")
    before = github.remote.head()
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": True, "land": False, "report": True}
    assert "evil.yml" in done.log
    assert github.remote.head() == before


def test_hostile_code_replaces_no_script(github: GitHub) -> None:
    """It decides what is handed over: a later step sees the variables that it sets."""
    github.answer(
        "delivery",
        """
        echo 'echo "$GH_TOKEN" > "$RECORDS/stolen"' > .github/scripts/land.sh
        echo BUNDLE=.github/scripts/land.sh >> "$GITHUB_ENV"
        """,
    )
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": True, "land": False, "report": True}, done.log
    assert not (github.records / "stolen").exists()


def test_nothing_to_do_is_no_commit(github: GitHub) -> None:
    """The same build again."""
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.succeeded, done.log
    assert "land" not in done.jobs


def test_a_lost_race_starts_the_same_again(github: GitHub) -> None:
    """No release is lost, and nothing is merged."""
    push = "git push --quiet origin HEAD^:refs/heads/other"
    first = run_git(github.remote.clone, "rev-parse", "HEAD")
    run_git(github.remote.clone, "switch", "--quiet", "--detach", first)
    other = commit(github.remote.clone, "First")
    run_git(github.remote.clone, "push", "--quiet", "origin", "HEAD:refs/heads/first")
    moved = f"git --git-dir={github.remote.bare} update-ref refs/heads/develop {other}"
    github.answer("delivery", f"{BUNDLED % ''}\n{moved}".replace(push, ""))
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": True, "land": True, "again": True}, done.log
    assert github.remote.head() == other
    [(arguments, environment)] = github.calls("gh")
    assert arguments[:3] == ["workflow", "run", "operate.yml"]
    assert {
        "--raw-field=action=bump",
        "--raw-field=service=payment-api",
        f"--raw-field=tag={PAYLOAD['tag']}",
        f"--raw-field=digest={PAYLOAD['digest']}",
        f"--raw-field=source-run={PAYLOAD['run']}",
        "--raw-field=attempt=2",
    } <= set(arguments)
    assert environment["GH_TOKEN"] == "token-of-the-run"  # noqa: S105 - a stand-in


HELD = 'payment-api is held (loses "$(touch pwned)" transactions): unhold it first.'


def set_statuses(github: GitHub) -> list[tuple[str, dict[str, str]]]:
    """Return each commit status that was set: its path, and its fields."""
    records = (github.records / "statuses").read_text().splitlines()
    return [
        (arguments[2], json.loads(given))
        for (arguments, environment), given in zip(github.calls("gh"), records, strict=True)
        if environment["GH_TOKEN"] == TOKEN
    ]


def test_a_refused_bump_is_reported_to_its_commit(github: GitHub) -> None:
    """Its developer does not look into this repository."""
    github.answer("delivery", f"echo 'Error: {HELD}' >&2; exit 3")
    github.answer("gh", 'tr -d "\\n" >> "$RECORDS/statuses"; echo >> "$RECORDS/statuses"')
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": False, "report": True}, done.log
    [(path, fields)] = set_statuses(github)
    assert path == f"repos/Mordris/fraud-detection-system/statuses/{PAYLOAD['tag']}"
    assert fields == {
        "context": "payment-api/dev",
        "state": "failure",
        "description": HELD,
        "target_url": "https://github.com/owner/name/actions/runs/1",
    }
    assert not list(github.folder.rglob("pwned"))


def test_a_bump_that_cannot_land_is_reported_as_well(github: GitHub) -> None:
    """Whatever the cause: without a word it would look as if it were still on its way."""
    github.answer("delivery", BUNDLED % "echo 'on: push' > .github/workflows/evil.yml")
    github.answer("gh", 'tr -d "\\n" >> "$RECORDS/statuses"; echo >> "$RECORDS/statuses"')
    done = github.run(WORKFLOWS / "operate.yml", "repository_dispatch", dispatched())
    assert done.jobs == {"prepare": True, "land": False, "report": True}, done.log
    [(_, fields)] = set_statuses(github)
    assert fields["description"] == "Not released: the run says why"


def test_a_refused_hold_is_nobodys_commit(github: GitHub) -> None:
    """A person who starts it sees the run."""
    github.answer("delivery", "exit 2")
    inputs = {"action": "hold", "service": "redis", "reason": "slow"}
    done = github.run(WORKFLOWS / "operate.yml", "workflow_dispatch", {"inputs": inputs})
    assert done.jobs == {"prepare": False}, done.log


STATUS = {
    "commit": "c" * 40,
    "context": "payment-api/staging",
    "state": "pending",
    "description": "Not promoted to staging yet",
    "target_url": "https://github.test/commit",
}


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("push", {}),
        ("status", {"context": "argocd/dev", "state": "failure"}),
    ],
)
def test_what_is_missing_is_set(github: GitHub, event: str, payload: dict[str, object]) -> None:
    """After each landing, and after each report of Argo CD."""
    github.answer("delivery", f"echo 'statuses={json.dumps([STATUS])}'")
    github.answer("gh", 'tr -d "\\n" >> "$RECORDS/statuses"; echo >> "$RECORDS/statuses"')
    done = github.run(WORKFLOWS / "report.yml", event, payload)
    assert done.jobs == {"prepare": True, "land": True}, done.log
    [(path, fields)] = set_statuses(github)
    assert {"commit": path.rpartition("/")[2], **fields} == STATUS
    [(arguments, environment)] = github.calls("delivery")
    assert arguments == ["report"]
    assert not {TOKEN, *SECRETS.values()} & set(environment.values())


def test_nothing_missing_needs_no_token(github: GitHub) -> None:
    """Most reports of Argo CD repeat the one before."""
    github.answer("delivery", "echo 'statuses=[]'")
    done = github.run(WORKFLOWS / "report.yml", "push", {})
    assert done.jobs == {"prepare": True}, done.log


def test_other_statuses_report_nothing(github: GitHub) -> None:
    """Every check of every commit sends one."""
    payload = {"context": "ci", "state": "success"}
    done = github.run(WORKFLOWS / "report.yml", "status", payload)
    assert (done.succeeded, done.jobs) == (True, {}), done.log


def test_an_operation_on_main_is_a_pull_request(github: GitHub) -> None:
    """Staging changes after a review alone."""
    github.answer("delivery", BUNDLED % "")
    before = github.remote.head("main")
    inputs = {
        "action": "pin",
        "service": "redis",
        "environment": "staging",
        "tag": "7.2.15",
        "reason": "slow; $(touch pwned)",
    }
    done = github.run(WORKFLOWS / "operate.yml", "workflow_dispatch", {"inputs": inputs})
    assert done.jobs == {"prepare": True, "land": True}, done.log
    assert github.remote.head("main") == before
    assert "c" * 40 in github.remote.file("images.yaml", "operate/1")
    _, (arguments, environment) = github.calls("gh")
    assert {"--method=POST", "--raw-field=base=main", "--raw-field=head=operate/1"} < set(arguments)
    assert environment["GH_TOKEN"] == TOKEN
    [(arguments, _)] = github.calls("delivery")
    assert "--reason=slow; $(touch pwned)" in arguments


def pull_request(github: GitHub, base: str = "develop") -> dict[str, object]:
    """Return the event of a pull request from this repository."""
    head = {"sha": github.remote.head(), "repo": {"full_name": "owner/name"}, "ref": "feature"}
    return {
        "number": 1,
        "pull_request": {"number": 1, "head": head, "base": {"ref": base}},
        "action": "opened",
    }


REHEARSED = 'case "$*" in rehearse*) echo verdict > rehearsal.md; exit %d;; esac\necho "$*"'


def test_a_green_pull_request_is_green(github: GitHub) -> None:
    """Each comment names the commits that it compares."""
    github.answer("delivery", REHEARSED % 0)
    done = github.run(WORKFLOWS / "ci.yml", "pull_request", pull_request(github), branch="develop")
    assert done.succeeded, done.log
    base, head = github.remote.commits()[-2:]
    assert "proved" not in {arguments[0] for arguments, _ in github.calls("delivery")}
    for header, text in (("diff", f"diff {base}"), ("rehearsal", "verdict")):
        comment = (github.records / f"comment-{header}").read_text()
        assert re.match(rf"\[{base[:12]} → {head[:12]}\]\(\S+/{base}\.\.\.{head}\)\n", comment)
        assert text in comment


def test_a_blocking_rehearsal_is_shown_and_blocks(github: GitHub) -> None:
    """After a failed step GitHub skips what follows, unless it is told otherwise."""
    github.answer("delivery", REHEARSED % 1)
    done = github.run(WORKFLOWS / "ci.yml", "pull_request", pull_request(github), branch="develop")
    assert (done.jobs["rehearse"], done.jobs["ci"]) == (False, False)
    assert "verdict" in (github.records / "comment-rehearsal").read_text()


def test_a_run_that_fails_early_takes_old_comments_back(github: GitHub) -> None:
    """They speak of another commit."""
    github.answer("delivery", "exit 2")
    github.run(WORKFLOWS / "ci.yml", "pull_request", pull_request(github), branch="develop")
    for header in ("diff", "rehearsal"):
        assert (github.records / f"comment-{header}").read_text().startswith("Outdated.")


def test_a_push_to_main_speaks_of_staging(github: GitHub) -> None:
    """What main says about dev runs nowhere; and a push is compared with what was there."""
    github.answer("delivery", REHEARSED % 0)
    before = github.remote.commits("main")[0]
    done = github.run(WORKFLOWS / "ci.yml", "push", {"before": before})
    assert done.succeeded, done.log
    compared = [arguments for arguments, _ in github.calls("delivery") if before in arguments]
    assert sorted(each[0] for each in compared) == ["diff", "diff", "graph", "rehearse"]
    assert all({"--environment=staging", "staging"} & set(each) for each in compared)
    assert "proved" not in {arguments[0] for arguments, _ in github.calls("delivery")}


def test_a_promotion_asks_what_dev_has_proved(github: GitHub) -> None:
    """Only on its way: what has landed is not asked about again, and develop has no dev before."""
    github.answer("delivery", REHEARSED % 0)
    github.run(WORKFLOWS / "ci.yml", "pull_request", pull_request(github, "main"))
    head = github.remote.head()
    assert [each for each, _ in github.calls("delivery") if each[0] == "proved"] == [
        ["proved", head, "--environment=staging"]
    ]


PROMOTED = """
for each; do
    case $each in
        --bundle=*) bundle=${each#*=} ;;
        --body=* | --output=*) echo "text with $(cat rehearsal.md)" > "${each#*=}" ;;
    esac
done
[ "$1" != rehearse ] || { echo verdict > rehearsal.md; exit 1; }
export GIT_AUTHOR_DATE="@1 +0000" GIT_COMMITTER_DATE="@1 +0000"
%s
git update-ref refs/heads/promote/staging \\
    "$(git commit-tree -p origin/main -p origin/develop -m Promote "$tree")"
git bundle create --quiet "$bundle" promote/staging --not origin/main origin/develop
"""
"""What `delivery promote` and `delivery rehearse` do, with a tree of their branch's choice."""


def test_a_push_to_develop_is_promoted(github: GitHub) -> None:
    """Also when the rehearsal blocks: its verdict is read in the pull request."""
    develop = commit(github.remote.clone, "Release")
    run_git(github.remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    github.answer("delivery", PROMOTED % "tree=$(git rev-parse origin/develop^{tree})")
    done = github.run(WORKFLOWS / "promote.yml", "push", {}, branch="develop")
    assert done.jobs == {"prepare": True, "land": True}, done.log
    parents = run_git(github.remote.bare, "log", "-1", "--format=%P", "promote/staging")
    assert parents.split() == [github.remote.head("main"), develop]
    *_, (arguments, environment) = github.calls("gh")
    assert {"--raw-field=base=main", "--raw-field=head=promote/staging"} < set(arguments)
    assert environment["GH_TOKEN"] == TOKEN
    assert (github.records / "artifacts" / "promotion-body.md").read_text() == "text with verdict\n"


def test_hostile_code_promotes_nothing(github: GitHub) -> None:
    """A workflow that develop lacks would be read as one that was reviewed there."""
    commit(github.remote.clone, "Release")
    run_git(github.remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    hostile = "echo on: push > .github/workflows/evil.yml; git add .github; tree=$(git write-tree)"
    github.answer("delivery", PROMOTED % hostile)
    done = github.run(WORKFLOWS / "promote.yml", "push", {}, branch="develop")
    assert done.jobs == {"prepare": True, "land": False}, done.log
    assert "evil.yml" in done.log
    assert run_git(github.remote.bare, "branch", "--list", "promote/*") == ""


def test_an_empty_promotion_is_closed(github: GitHub) -> None:
    """A revert on develop takes it back."""
    github.answer("delivery", "echo nothing to promote from develop to main")
    github.answer("gh", "echo 7")
    done = github.run(WORKFLOWS / "promote.yml", "push", {}, branch="develop")
    assert done.jobs == {"prepare": True, "land": True}, done.log
    *_, (arguments, _) = github.calls("gh")
    assert {"--method=PATCH", "repos/owner/name/pulls/7", "--raw-field=state=closed"} < set(
        arguments
    )


@pytest.mark.parametrize(
    ("context", "state", "runs"),
    [("argocd/dev", "success", True), ("argocd/dev", "failure", False), ("ci", "success", False)],
)
def test_a_proof_is_promoted(github: GitHub, context: str, state: str, *, runs: bool) -> None:
    """It arrives minutes after the push, when nothing else would start the workflow."""
    github.answer("delivery", "echo Skipped staging")
    payload = {"context": context, "state": state}
    done = github.run(WORKFLOWS / "promote.yml", "status", payload)
    assert done.jobs == ({"prepare": True} if runs else {}), done.log


def test_what_is_refreshed_is_proposed(github: GitHub) -> None:
    """One pull request to develop, with what Trivy found."""
    refreshed = "echo 'image: docker.io/library/redis:7.2.17'"
    github.answer(
        "delivery",
        "sed -i s/7.2.16/7.2.17/ images.yaml\n"
        f"for each in dist/*/redis.yaml; do {refreshed} > $each; done",
    )
    github.answer("trivy", "exit 3")
    done = github.run(WORKFLOWS / "images.yml", "schedule", {})
    assert done.succeeded, done.log
    assert "7.2.17" in github.remote.file("images.yaml", "images")
    _, (arguments, _) = github.calls("gh")
    assert {"--method=POST", "--raw-field=base=develop", "--raw-field=head=images"} < set(arguments)


@pytest.fixture
def application(github: GitHub) -> GitHub:
    """Make the repository one that calls deliver-service.yml."""
    clone = github.remote.clone
    caller = REPOSITORY / "docs" / "application-repository" / "payment-api.yml"
    text = re.sub(r"uses: \S+/(.github/\S+)@main", r"uses: ./\1", caller.read_text())
    for name, content in (
        ("payment-api.yml", text),
        ("deliver-service.yml", (WORKFLOWS / "deliver-service.yml").read_text()),
    ):
        # Act does not know this permission.
        known = re.sub(r" +artifact-metadata: .*\n", "", content)
        (clone / ".github" / "workflows" / name).write_text(known)
    commit(clone, "Add the caller")
    run_git(clone, "push", "--quiet", "origin", "HEAD:main", "HEAD:develop")
    run_git(clone, "fetch", "--quiet")
    digest = f"sha256:{'d' * 64}"
    github.answer("docker", f'[ "$1" != inspect ] || echo "digest={digest}"')
    return github


def test_a_push_to_the_application_dispatches_its_bump(application: GitHub) -> None:
    """The very payload that operate.yml reads."""
    caller = application.remote.clone / ".github" / "workflows" / "payment-api.yml"
    done = application.run(caller, "push", {})
    assert done.succeeded, done.log
    payload = json.loads((application.records / "payload").read_text())
    assert set(payload) == set(PAYLOAD)
    assert payload["digest"] == PAYLOAD["digest"]
    assert payload["tag"] == application.remote.head("main")


def test_a_branch_of_the_application_is_not_delivered(application: GitHub) -> None:
    """By hand a caller can be started on any branch, whose code nobody has reviewed."""
    caller = application.remote.clone / ".github" / "workflows" / "payment-api.yml"
    done = application.run(caller, "workflow_dispatch", {}, branch="develop")
    assert (done.succeeded, done.jobs) == (True, {}), done.log
    assert application.run(caller, "workflow_dispatch", {}).jobs != {}


def test_a_private_application_is_refused_before_its_image_is_pushed(application: GitHub) -> None:
    """What a private repository attests nobody can verify."""
    caller = application.remote.clone / ".github" / "workflows" / "payment-api.yml"
    private = {"repository": {"private": True, "default_branch": "main"}}
    done = application.run(caller, "push", private)
    assert "This workflow delivers public repositories alone" in done.log
    assert (done.succeeded, application.calls("docker")) == (False, [])
