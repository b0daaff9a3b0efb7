"""The workflow that opens promotions, and its scripts."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.releases import promotion
from fraud_detection.commit_status import context
from fraud_detection.environments import ENVIRONMENTS
from github import GitHub
from promoting import bump, pin, prepare
from remotes import Remote, commit, run_git
from repository import REPOSITORY
from workflows import GITHUB, load, using, words, workflow

PROMOTE = GITHUB / "workflows" / "promote.yml"
SCRIPTS = REPOSITORY / ".github" / "scripts"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("git_environment", "services")]
needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="needs jq, as gh has it built in")


@dataclass(frozen=True)
class Job:
    """The job that has the token, after another one has made a promotion.

    Attributes:
        remote: The remote, and the clone of the other job.
        checkout: The clone in which the script runs.
        github: The pull requests.
    """

    remote: Remote
    checkout: Path
    github: GitHub

    def offer(self) -> str:
        """Make the commit and its text, and return the commit."""
        found = prepare(self.remote)
        promotion.write(self.remote.clone, found, path=self.checkout / "promotion.bundle")
        (self.checkout / "body.md").write_text(found.body, encoding="utf-8")
        return found.commit

    def pack(self, head: str) -> None:
        """Offer another commit instead."""
        run_git(self.remote.clone, "update-ref", "refs/heads/promote/staging", head)
        file = str(self.checkout / "promotion.bundle")
        given = ("promote/staging", "--not", "origin/main", "origin/develop")
        run_git(self.remote.clone, "bundle", "create", "--quiet", file, *given)

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        arguments = ("staging", "develop", "main", "promotion.bundle", "body.md")
        return subprocess.run(
            [SCRIPTS / "promote.sh", *arguments],
            cwd=self.checkout,
            env={**os.environ, "GITHUB_REPOSITORY": "owner/name", **variables},
            check=False,
            capture_output=True,
            text=True,
        )

    def said(self, **variables: str) -> str:
        """Run the script, which must succeed; return its line of the summary."""
        done = self.run(**variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self) -> str:
        """Run the script, which must refuse and change nothing; return why."""
        before = run_git(self.remote.bare, "for-each-ref")
        done = self.run()
        assert done.returncode == 1, done.stdout
        assert run_git(self.remote.bare, "for-each-ref") == before
        assert self.github.pulls == []
        return done.stderr


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Create a remote with a bump on develop that was not promoted."""
    remote = Remote.create(tmp_path)
    bump(remote, "a" * 40)
    run_git(tmp_path, "clone", "--quiet", str(remote.bare), str(tmp_path / "checkout"))
    return Job(remote, tmp_path / "checkout", GitHub.of(remote, tmp_path / "bin", monkeypatch))


@needs_jq
def test_the_promotion_is_opened_and_refreshed(job: Job) -> None:
    """From a branch of its own, with the text of the very commit."""
    offered = job.offer()
    assert job.said() == f"Opened https://github.test/pull/7 with {offered}.\n"
    assert job.remote.head("promote/staging") == offered
    [pull] = job.github.pulls
    assert (pull["head"], pull["base"]) == ("promote/staging", "main")
    assert pull["title"] == "Promote develop to main"
    assert offered in pull["body"]
    bump(job.remote, "b" * 40)
    offered = job.offer()
    assert job.said() == f"Refreshed https://github.test/pull/7 with {offered}.\n"
    assert offered in job.github.pulls[0]["body"]
    assert job.remote.head("promote/staging") == offered


@pytest.mark.parametrize("name", ["promotion.bundle", "body.md"])
def test_no_file_of_the_job_is_published(job: Job, name: str) -> None:
    """Both come from a job that may be hostile, and the token is in the environment."""
    job.offer()
    (job.checkout / name).unlink()
    (job.checkout / name).symlink_to("/proc/self/environ")
    assert name in job.refused()


@needs_jq
def test_an_approved_promotion_stays_until_its_target_moves(job: Job) -> None:
    """A reviewer gets what they have read; the summary says what waits."""
    first = job.offer()
    job.said()
    job.github.review("APPROVED", "COMMENTED")
    bump(job.remote, "b" * 40)
    job.offer()
    assert job.said() == (
        "#7 is approved and stays as it is; newer commits of develop that wait: 1.\n"
    )
    assert job.remote.head("promote/staging") == first
    pin(job.remote)
    job.offer()
    assert job.said().startswith("Refreshed ")


@needs_jq
def test_an_approved_promotion_is_refreshed_on_purpose(job: Job) -> None:
    """By hand, in GitHub's page."""
    job.offer()
    job.said()
    job.github.review("APPROVED")
    bump(job.remote, "b" * 40)
    job.offer()
    assert job.said(REFRESH="true").startswith("Refreshed ")


@needs_jq
@pytest.mark.parametrize(
    ("states", "association"),
    [(("APPROVED", "CHANGES_REQUESTED"), "OWNER"), (("APPROVED",), "NONE")],
    ids=["taken-back", "stranger"],
)
def test_only_an_approval_in_force_counts(
    job: Job, states: tuple[str, ...], association: str
) -> None:
    """Anybody may review a public repository: a stranger could stop every promotion."""
    job.offer()
    job.said()
    job.github.review(*states, association=association)
    bump(job.remote, "b" * 40)
    job.offer()
    assert job.said().startswith("Refreshed ")


@needs_jq
def test_a_promotion_with_nothing_left_is_closed(job: Job) -> None:
    """After a revert on develop its merge would bring to staging what dev has taken back."""
    job.offer()
    job.said()
    expected = "Closed #7: nothing of develop is left to promote to main.\n"
    assert job.said(NOTHING="true") == expected
    assert not job.github.pulls[0]["open"]
    assert job.said(NOTHING="true") == "Nothing of develop is left to promote to main.\n"


@needs_jq
def test_an_approved_promotion_is_not_closed(job: Job) -> None:
    """Whoever approved it decides."""
    job.offer()
    job.said()
    job.github.review("APPROVED")
    assert job.said(NOTHING="true").startswith("#7 is approved and stays as it is")
    assert job.github.pulls[0]["open"]


def test_a_commit_for_an_older_main_is_left_to_the_next_run(job: Job) -> None:
    """The push to main has started one."""
    job.offer()
    pin(job.remote)
    assert job.said().startswith("main has moved")
    assert job.github.pulls == []


@pytest.mark.parametrize("path", ["main.py", ".github/workflows/ci.yml", "dist/dev/new.yaml"])
def test_a_file_that_develop_lacks_is_refused(job: Job, path: str) -> None:
    """Code that renders could add it to what a reviewer takes for develop."""
    run_git(job.remote.clone, "checkout", "--quiet", "--detach", job.offer())
    (job.remote.clone / path).parent.mkdir(parents=True, exist_ok=True)
    (job.remote.clone / path).write_text("hostile\n", encoding="utf-8")
    run_git(job.remote.clone, "add", "--force", path)
    run_git(job.remote.clone, "commit", "--quiet", "--amend", "--no-edit")
    job.pack("HEAD")
    assert f"but {path} does" in job.refused()


def test_a_symbolic_link_is_refused(job: Job) -> None:
    """It would be read from elsewhere."""
    run_git(job.remote.clone, "checkout", "--quiet", "--detach", job.offer())
    pod = job.remote.clone / "dist" / "staging" / "redis.yaml"
    pod.unlink()
    pod.symlink_to("/etc/passwd")
    run_git(job.remote.clone, "commit", "--quiet", "--all", "--amend", "--no-edit")
    job.pack("HEAD")
    assert "but dist/staging/redis.yaml does" in job.refused()


def test_another_history_is_refused(job: Job) -> None:
    """It would bring commits that nobody has reviewed on develop."""
    offered = job.offer()
    run_git(job.remote.clone, "checkout", "--quiet", "--detach", "origin/develop")
    unseen = commit(job.remote.clone, "Never pushed")
    tree = f"{offered}^{{tree}}"
    forged = run_git(job.remote.clone, "commit-tree", "-porigin/main", f"-p{unseen}", "-mx", tree)
    job.pack(forged)
    assert "must be a commit of develop" in job.refused()


def test_an_ordinary_commit_is_refused(job: Job) -> None:
    """It is not a promotion."""
    job.offer()
    run_git(job.remote.clone, "checkout", "--quiet", "--detach", "origin/develop")
    job.pack(commit(job.remote.clone, "Never pushed"))
    assert "two parents" in job.refused()


DELIVERY = """\
#!/bin/sh
echo "$*" >> calls
case "$*" in
promote*verdict*) cp "${AGAIN:-first.bundle}" promotion.bundle; : > body.md; : > text.md ;;
promote*) cp first.bundle promotion.bundle 2> /dev/null || echo "$SAID" ;;
rehearse*) exit 1 ;;
esac
"""


def offer(job: Job, **variables: str) -> tuple[Path, list[str], str]:
    """Run offer.sh with a stand-in of delivery; return its folder, these calls and its output."""
    folder = job.remote.clone
    (folder / ".venv" / "bin").mkdir(parents=True)
    program = folder / ".venv" / "bin" / "delivery"
    program.write_text(DELIVERY, encoding="utf-8")
    program.chmod(0o755)
    arguments = ("staging", "promotion.bundle", "body.md", "text.md")
    environment = {**os.environ, **variables}
    run = subprocess.run(
        [SCRIPTS / "offer.sh", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return folder, (folder / "calls").read_text(encoding="utf-8").splitlines(), run.stdout


def test_the_very_commit_is_rehearsed_and_quoted(job: Job) -> None:
    """Also when something blocks: that must be read in the pull request."""
    offered = job.offer()
    shutil.copy(job.checkout / "promotion.bundle", job.remote.clone / "first.bundle")
    folder, calls, output = offer(job)
    assert output == ""
    common = "promote --environment=staging --bundle=promotion.bundle"
    assert calls == [
        common,
        f"rehearse {offered}^1 --environment=staging --markdown=rehearsal.md",
        f"{common} --verdict=rehearsal.md --body=body.md --output=text.md",
    ]
    assert run_git(folder, "rev-parse", "HEAD") == offered
    assert (folder / "promotion.bundle").exists()


def test_a_rehearsal_of_an_older_commit_is_not_offered(job: Job) -> None:
    """A push in between starts a run of its own."""
    job.offer()
    shutil.copy(job.checkout / "promotion.bundle", job.remote.clone / "first.bundle")
    bump(job.remote, "b" * 40)
    job.offer()
    shutil.copy(job.checkout / "promotion.bundle", job.remote.clone / "second.bundle")
    folder, *_ = offer(job, AGAIN="second.bundle")
    assert not (folder / "promotion.bundle").exists()


@pytest.mark.parametrize(
    ("said", "output"),
    [("nothing to promote from develop to main", "nothing=true\n"), ("Skipped staging", "")],
)
def test_without_a_commit_nothing_is_rehearsed(job: Job, said: str, output: str) -> None:
    """An open pull request is closed if nothing is left, and stays after a refusal."""
    _, calls, printed = offer(job, SAID=said)
    assert len(calls) == 1
    assert printed == output


def test_the_newest_promotion_counts() -> None:
    """One at a time, so that two runs cannot open two pull requests; a running one finishes."""
    concurrency = workflow("promote")["concurrency"]
    assert concurrency["cancel-in-progress"] is False
    assert concurrency["group"].endswith("|| 'promote' }}")


def test_a_status_that_proves_nothing_takes_no_place_in_the_queue() -> None:
    """Only one run can wait, and one that does nothing would replace one that promotes."""
    ignored = "github.event_name == 'status' && github.event.state != 'success' && github.run_id"
    assert ignored in workflow("promote")["concurrency"]["group"]


def test_a_proof_starts_it() -> None:
    """It comes minutes after the push that it is about, when nothing is pushed."""
    assert "status" in workflow("promote")["on"]
    condition = workflow("promote")["jobs"]["prepare"]["if"]
    assert context("") in condition
    assert "github.event.state == 'success'" in condition


def test_both_branches_start_it() -> None:
    """A pin on main changes what would land, and a merge lets the next promotion follow."""
    source, target = ENVIRONMENTS[:2]
    assert workflow("promote")["on"]["push"]["branches"] == [source.branch, target.branch]
    environment = workflow("promote")["env"]
    ends = [environment[key] for key in ("ENVIRONMENT", "SOURCE", "TARGET")]
    assert ends == [target.name, source.branch, target.branch]


def test_a_promotion_is_made_from_its_source() -> None:
    """A push would check out its own commit, although there may be newer ones."""
    checkout, *_ = using(PROMOTE, "actions/checkout")
    assert checkout["with"]["ref"] == "${{ env.SOURCE }}"


def test_code_never_runs_beside_the_key() -> None:
    """A line in develop's main.py could read the App's token, and push whatever it wants."""
    holders = [job for job in load(PROMOTE)["jobs"].values() if "secrets." in str(job)]
    assert [job.get("environment") for job in holders] == ["release"]
    checkout, *steps = holders[0]["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    [run] = [step["run"] for step in steps if "run" in step]
    assert words(run)[0] == ".github/scripts/promote.sh"
    script = (SCRIPTS / "promote.sh").read_text(encoding="utf-8")
    assert not re.search(r"\.venv|python|\bmake\b|checkout|worktree", script)
    assert not re.search("cache|setup-", str(steps))
