"""`delivery fork`: one command changes every place that names the upstream repositories."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from delivery.cli import main
from delivery.manifests.dist import rendered
from fraud_detection.repositories import REPOSITORY as REMOTE
from remotes import run_git
from working_tree import commit_all, copy_working_tree

ARGUMENTS = ("forkers/config", "--application=shoppers/shop", "--reviewer=@forkers/platform")
OWNER, NAME = REMOTE.removesuffix(".git").split("/")[-2:]
UPSTREAM = re.compile(rf"\b({OWNER}|repositories: {NAME})\b", re.IGNORECASE)


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the fork, in which the command is typed."""
    run_git(tmp_path, "init", "--quiet")
    copy_working_tree(tmp_path)
    commit_all(tmp_path, "Fork")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Type the command."""
    return CliRunner().invoke(main, ["fork", *arguments])


def upstream(folder: Path) -> list[str]:
    """Return the lines that name the upstream repositories or their owner."""
    return [
        f"{path}:{number}: {line}"
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
        if UPSTREAM.search(line)
    ]


@pytest.mark.usefixtures("git_environment")
def test_no_place_names_upstream_any_more(fork: Path) -> None:
    """A forgotten one would push, pull or ask for reviews in somebody else's name."""
    assert upstream(fork)
    assert run(*ARGUMENTS).exit_code == 0
    with rendered(fork) as dist:
        assert upstream(dist) == []
    # Rendered, about the past, and tests that bring names of their own.
    left = re.compile(r"(dist|docs/decisions|tests)/")
    assert [line for line in upstream(fork) if not left.match(line.removeprefix(f"{fork}/"))] == []


@pytest.mark.usefixtures("git_environment")
def test_every_place_has_the_new_name(fork: Path) -> None:
    """An empty name, or one in the wrong place, would break where nobody looks at once."""
    run(*ARGUMENTS)
    for place, line in (
        ("constructs/fraud_detection/repositories.py", "https://github.com/forkers/config.git"),
        ("constructs/fraud_detection/repositories.py", "https://github.com/shoppers/shop"),
        ("images.yaml", "repository: ghcr.io/shoppers/payment-api"),
        (".github/CODEOWNERS", "@forkers/platform"),
        (".github/workflows/operate.yml", "HISTORY: shoppers/shop"),
        (".github/workflows/report.yml", "APPLICATION: shoppers/shop"),
        (".github/workflows/report.yml", "owner: shoppers\n          repositories: shop"),
        (".github/workflows/operate.yml", "owner: shoppers\n          repositories: shop"),
        (".github/workflows/deliver-service.yml", "owner: forkers"),
        (".github/workflows/deliver-service.yml", "repositories: config"),
        (".github/workflows/deliver-service.yml", "repository: forkers/config"),
        ("docs/application-repository/payment-api.yml", "uses: forkers/config/.github/workflows/"),
        ("docs/application-repository/payment-api.yml", "image: ghcr.io/shoppers/payment-api"),
    ):
        assert re.search(rf"{re.escape(line)}\b", (fork / place).read_text(encoding="utf-8"))


@pytest.mark.usefixtures("git_environment")
def test_a_second_run_changes_nothing(fork: Path) -> None:
    """Whoever is unsure runs it again."""
    run(*ARGUMENTS)
    before = run_git(fork, "diff")
    result = run(*ARGUMENTS)
    assert result.exit_code == 0
    assert result.output.startswith("Now run `make synth snapshots test`")
    assert run_git(fork, "diff") == before


@pytest.mark.usefixtures("git_environment")
def test_the_workflows_stay_valid(fork: Path) -> None:
    """GitHub would find out on the first push."""
    run(*ARGUMENTS)
    programs = Path(sys.executable).parent
    workflows: list[str | Path] = [
        *(fork / ".github" / "workflows").glob("*.yml"),
        *(fork / "docs" / "application-repository").glob("*.yml"),
    ]
    for program, *options in (
        ("zizmor", "--quiet", "--offline", "--persona", "pedantic"),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows"),
    ):
        done = subprocess.run(
            [programs / program, *options, *workflows], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("git_environment")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("forkers", *ARGUMENTS[1:]), "'forkers' is not OWNER/NAME, a repository on GitHub."),
        (
            (*ARGUMENTS[:2], "--reviewer=forkers"),
            "'forkers' is not a reviewer: give @USER or @ORGANIZATION/TEAM.",
        ),
    ],
)
def test_a_name_that_github_cannot_have_changes_nothing(
    fork: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Half a fork would be harder to repair than none."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {message}\n"
    assert run_git(fork, "status", "--porcelain") == ""


@pytest.mark.usefixtures("git_environment")
def test_a_repository_outside_github_is_named(fork: Path) -> None:
    """The command then has nothing to look for."""
    environments = fork / "constructs" / "fraud_detection" / "repositories.py"
    text = environments.read_text(encoding="utf-8")
    environments.write_text(text.replace("https://github.com/", "https://git.test/"), "utf-8")
    result = run(*ARGUMENTS)
    assert result.exit_code == 2
    assert "REPOSITORY is not the address of a repository on GitHub" in result.stderr
