"""The scripts of the workflows, each with stand-ins for the programs that it calls."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from delivery.cli import main
from github import GitHub
from programs_in_python import interpreted
from remotes import Remote, commit, run_git
from repository import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("git_environment")]
needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="needs jq, as gh has it built in")
SCRIPTS = REPOSITORY / ".github" / "scripts"


@dataclass(frozen=True)
class Programs:
    """Stand-ins that record how they are called, in a folder of their own.

    Attributes:
        folder: Where the script runs.
    """

    folder: Path

    def add(self, path: str, answer: str = "") -> None:
        """Add one that records its arguments and then runs these commands of a shell."""
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            f"{interpreted()}import json, subprocess, sys\n"
            f"with open({str(self.folder / 'calls')!r}, 'a') as calls:\n"
            "    print(json.dumps(sys.argv), file=calls)\n"
            f"command = ['sh', '-c', {answer!r}, *sys.argv]\n"
            "sys.exit(subprocess.run(command).returncode)\n"
        )
        program.chmod(0o755)

    @property
    def calls(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each call: the name of the program, and its arguments."""
        for line in (self.folder / "calls").read_text().splitlines():
            program, *arguments = json.loads(line)
            yield Path(program).name, arguments

    def run(
        self, script: str, *arguments: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of ours."""
        return subprocess.run(
            [SCRIPTS / script, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "GITHUB_SERVER_URL": "https://github.test",
                "GITHUB_REPOSITORY": "owner/name",
                **variables,
            },
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Return a folder for stand-ins."""
    return Programs(tmp_path)


OPERATION = {
    "ACTION": "bump",
    "SERVICE": "payment-api",
    "ENVIRONMENT": "staging",
    "TAG": "a" * 40,
    "DIGEST": "",
    "REASON": "",
    "SOURCE_RUN": "https://github.test/run/1",
    "ALLOW_OLDER": "",
    "HISTORY": "owner/application",
    "BRANCH": "develop",
    "BUNDLE": "release.bundle",
}
"""What operate.yml sets."""


def prepare(programs: Programs, **variables: str) -> list[str]:
    """Return the arguments with which `delivery` is called."""
    programs.add(".venv/bin/delivery")
    done = programs.run("prepare.sh", **{**OPERATION, **variables})
    assert done.returncode == 0, done.stderr
    [(_, arguments)] = programs.calls
    return arguments


COMMON = ["--branch=develop", "--bundle=release.bundle"]
BUILD = ["--history=owner/application", "--source-run=https://github.test/run/1"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ACTION": "bump"}, [*BUILD, "--", "payment-api", "a" * 40]),
        (
            {"ACTION": "bump", "DIGEST": "sha256:1", "ALLOW_OLDER": "true"},
            [*BUILD, "--digest=sha256:1", "--allow-older", "--", "payment-api", "a" * 40],
        ),
        ({"ACTION": "hold", "REASON": "it is slow"}, ["--reason=it is slow", "--", "payment-api"]),
        ({"ACTION": "unhold"}, ["--", "payment-api"]),
        (
            {"ACTION": "pin", "REASON": "slow"},
            ["--reason=slow", "--", "payment-api", "staging", "a" * 40],
        ),
        ({"ACTION": "unpin"}, ["--", "payment-api", "staging"]),
        (
            {"ACTION": "rollback", "REASON": "slow"},
            ["--reason=slow", "--", "payment-api", "staging"],
        ),
    ],
)
def test_an_operation_is_one_command(
    programs: Programs, variables: dict[str, str], expected: list[str]
) -> None:
    """The real command accepts what the workflow gives it."""
    arguments = prepare(programs, **variables)
    assert arguments == [variables["ACTION"], *COMMON, *expected]
    name, *options = arguments
    command = main.commands[name]
    _, left, _ = command.make_parser(click.Context(command)).parse_args(options)
    assert left == []


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        (
            "echo fetch >&2; echo 'Error: redis is held (slow).' >&2; exit 3",
            "redis is held (slow).",
        ),
        ("echo 'Error: a' >&2; printf 'b\\n::error::c' >&2; exit 2", "::error::c"),
    ],
)
def test_a_refusal_is_an_output(programs: Programs, answer: str, printed: str) -> None:
    """A commit of the application says it; the log has all of it, and the exit code stays."""
    programs.add(".venv/bin/delivery", answer)
    done = programs.run("prepare.sh", **OPERATION)
    assert done.stdout == f"refusal={printed}\n"
    assert done.returncode == int(answer[-1])
    assert "Error: " in done.stderr


def test_what_delivery_prints_is_no_output(programs: Programs) -> None:
    """GitHub fails a step with an output that has no name."""
    programs.add(".venv/bin/delivery", "echo Wrote a commit")
    done = programs.run("prepare.sh", **OPERATION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Wrote a commit\n")


@pytest.mark.parametrize(
    "hostile", ["--help", "$(touch x)", "`touch x`", "a b", "a\n--dry-run", "*"]
)
@pytest.mark.parametrize("action", ["bump", "hold", "pin", "unpin", "rollback"])
def test_a_value_is_one_word_and_no_option(programs: Programs, action: str, hostile: str) -> None:
    """A service named `--help` would be a successful bump."""
    hostile_ones = dict.fromkeys(("SERVICE", "TAG", "ENVIRONMENT", "REASON", "DIGEST"), hostile)
    arguments = prepare(programs, ACTION=action, **hostile_ones)
    separator = arguments.index("--")
    assert set(arguments[separator + 1 :]) == {hostile}
    assert all(each.startswith("--") for each in arguments[1:separator])
    assert not (programs.folder / "x").exists()


@pytest.mark.parametrize("action", ["promote", "", "bump; touch x", "--help"])
def test_an_unknown_action_is_refused(programs: Programs, action: str) -> None:
    """Only what makes one commit may be handed over."""
    done = programs.run("prepare.sh", **{**OPERATION, "ACTION": action})
    assert done.returncode == 2
    assert "unknown action" in done.stderr


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Create a remote with a branch `images`, and a stand-in for gh that knows it."""
    remote = Remote.create(tmp_path)
    run_git(remote.bare, "branch", "images", "develop")
    return GitHub.of(remote, tmp_path / "bin", monkeypatch)


def propose(github: GitHub, title: str) -> str:
    """Run the script for the branch `images`; return what it says."""
    text = github.folder / "text.md"
    text.write_text(f"About {title}", encoding="utf-8")
    done = subprocess.run(
        [SCRIPTS / "propose.sh", "develop", "images", title, text],
        env={**os.environ, "GITHUB_REPOSITORY": "owner/name"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_jq
def test_a_pull_request_is_opened_once(github: GitHub) -> None:
    """A second one from the same branch is refused by GitHub; the open one gets the new text."""
    assert propose(github, "First") == "Opened https://github.test/pull/7\n"
    assert propose(github, "Second") == "Refreshed https://github.test/pull/7\n"
    [pull] = github.pulls
    assert (pull["base"], pull["head"]) == ("develop", "images")
    assert (pull["title"], pull["body"]) == ("Second", "About Second")


@needs_jq
def test_a_fork_s_branch_of_the_same_name_is_another(github: GitHub) -> None:
    """Anybody could have our text put over theirs, and ours never opened."""
    theirs = {"number": 3, "open": True, "head": "evil:images", "base": "develop"}
    (github.folder / "pulls.json").write_text(json.dumps([theirs]), encoding="utf-8")
    assert propose(github, "Ours").startswith("Opened ")
    assert github.pulls[0] == theirs


def test_no_file_of_the_job_is_published(programs: Programs) -> None:
    """The text comes from a job that may be hostile, and the token is in the environment."""
    programs.add("bin/gh")
    (programs.folder / "text.md").symlink_to("/proc/self/environ")
    assert programs.run("propose.sh", "develop", "images", "A title", "text.md").returncode == 1
    assert not (programs.folder / "calls").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Remote:
    """Create a checkout of develop as the workflow images has it."""
    return Remote.create(tmp_path)


def refresh(remote: Remote, *, delivery: str, trivy: str) -> subprocess.CompletedProcess[str]:
    """Run the script with what `delivery refresh` and `trivy` do."""
    programs = Programs(remote.clone)
    programs.add(".venv/bin/delivery", delivery)
    programs.add("bin/trivy", trivy)
    for path in remote.clone.glob("dist/*/*.yaml"):
        path.write_text(path.read_text().replace('"image": "', "image: ").replace('"}', ""))
    commit(remote.clone, "As cdk8s writes it")
    return programs.run("refresh.sh", "refresh.bundle", "refresh.md")


NEW_TAG = "sed -i s/7.2.16/7.2.17/ images.yaml dist/*/redis.yaml"
REDIS_IS_VULNERABLE = 'case "$*" in *redis*) exit 3;; esac'


def test_a_refresh_is_one_commit(checkout: Remote) -> None:
    """land.sh takes exactly that, for develop."""
    done = refresh(checkout, delivery=NEW_TAG, trivy="")
    assert done.returncode == 0, done.stderr
    heads = run_git(checkout.clone, "bundle", "list-heads", "refresh.bundle").split()
    assert heads == [run_git(checkout.clone, "rev-parse", "HEAD"), "refs/heads/develop"]
    assert run_git(checkout.clone, "diff", "--name-only", "HEAD^").split() == [
        "dist/dev/redis.yaml",
        "dist/staging/redis.yaml",
        "images.yaml",
    ]


def test_nothing_new_is_no_pull_request(checkout: Remote) -> None:
    """Only what was found is reported."""
    done = refresh(checkout, delivery="", trivy="")
    assert done.returncode == 0, done.stderr
    assert not (checkout.clone / "refresh.bundle").exists()


def test_every_image_is_scanned_and_named(checkout: Remote) -> None:
    """Also those that were not refreshed; the new ones, not the old."""
    done = refresh(checkout, delivery=NEW_TAG, trivy=REDIS_IS_VULNERABLE)
    assert done.stdout == "vulnerable=docker.io/library/redis:7.2.17\n"
    report = (checkout.clone / "refresh.md").read_text()
    assert "| `docker.io/library/redis:7.2.17` | **found** |" in report
    assert f"| `registry.test/payment-api:{'1' * 40}` | none |" in report


def test_a_scan_that_fails_finds_nothing_and_says_so(checkout: Remote) -> None:
    """An unknown answer must not look like a clean one; the others are reported all the same."""
    done = refresh(checkout, delivery=NEW_TAG, trivy="exit 1")
    assert (done.returncode, done.stdout) == (1, "vulnerable=\n")
    assert (checkout.clone / "refresh.md").read_text().count("| not scanned |") == 3
    assert (checkout.clone / "refresh.bundle").exists()


def test_a_service_that_cannot_be_refreshed_delays_no_other(checkout: Remote) -> None:
    """The run is red, but its pull request has the others."""
    done = refresh(checkout, delivery=f"{NEW_TAG}; exit 2", trivy="")
    assert done.returncode == 1
    assert (checkout.clone / "refresh.bundle").exists()


def compare(clone: Path, **variables: str) -> str:
    """Return the commit that a run compares with."""
    head = run_git(clone, "rev-parse", "HEAD")
    done = Programs(clone).run("compare.sh", "compared.md", **{"HEAD_SHA": head, **variables})
    assert done.returncode == 0, done.stderr
    base = done.stdout.removeprefix("base=").strip()
    address = f"https://github.test/owner/name/compare/{base}...{variables.get('HEAD_SHA', head)}"
    assert address in (clone / "compared.md").read_text()
    return base


def test_a_push_of_two_commits_is_compared_with_what_was_there(checkout: Remote) -> None:
    """HEAD^ would be the first of them, whose changes nobody would see."""
    before = checkout.head()
    commit(checkout.clone, "One")
    commit(checkout.clone, "Two")
    assert compare(checkout.clone, BEFORE=before) == before


def test_a_forced_push_is_compared_with_what_was_there(checkout: Remote) -> None:
    """No branch has that commit any more, but a cluster ran it."""
    run_git(checkout.bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    tree = run_git(checkout.bare, "rev-parse", "develop^{tree}")
    lost = run_git(checkout.bare, "commit-tree", tree, "-m", "Lost")
    commit(checkout.clone, "Instead")
    assert compare(checkout.clone, BEFORE=lost) == lost


@pytest.mark.parametrize("before", ["0" * 40, "e" * 40])
def test_without_a_before_the_commit_before_counts(checkout: Remote, before: str) -> None:
    """A new branch has none, and after a forced push GitHub may have forgotten it."""
    parent = run_git(checkout.clone, "rev-parse", "HEAD")
    commit(checkout.clone, "New")
    assert compare(checkout.clone, BEFORE=before) == parent


def test_the_first_commit_is_compared_with_itself(checkout: Remote) -> None:
    """There is nothing before it."""
    only = run_git(checkout.clone, "rev-parse", "HEAD")
    assert compare(checkout.clone, BEFORE="0" * 40) == only


def test_a_pull_request_is_compared_with_its_base(checkout: Remote) -> None:
    """Its checkout is a merge whose first parent is the base; its own head is what people know."""
    base = checkout.head()
    run_git(checkout.clone, "switch", "--quiet", "--create", "feature", "HEAD")
    head = commit(checkout.clone, "Feature")
    run_git(checkout.clone, "switch", "--quiet", "develop")
    run_git(checkout.clone, "merge", "--quiet", "--no-ff", "--no-edit", "feature")
    assert compare(checkout.clone, HEAD_SHA=head) == base
