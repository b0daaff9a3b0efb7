"""The command `delivery connections`: its output, its exit code, and its errors."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import remotes
from delivery.cli import main
from delivery.network import report
from delivery.network.connection import Connection
from shop import env, shop, write_dist

CORRECT = shop(env=env(ADDRESS="server:80"))["shop"]
BROKEN = shop(env=env(ADDRESS="sever:80"))["shop"]
REASON = "there is no Service sever"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working tree with two environments, both of them correct."""
    write_dist(tmp_path, {"test": CORRECT, "live": CORRECT})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def broken(repository: Path) -> None:
    """Misspell a host in the second environment."""
    write_dist(repository, {"test": CORRECT, "live": BROKEN})


def run(*arguments: str) -> Result:
    """Run a command as if it was typed."""
    return CliRunner().invoke(main, arguments)


@pytest.mark.usefixtures("repository")
def test_the_command_succeeds_when_there_is_no_finding() -> None:
    """A workflow relies on it."""
    result = run("connections")
    assert result.exit_code == 0
    for environment in ("test", "live"):
        assert f"{environment}: all 3 reachable, nothing else allowed\n" in result.output


@pytest.mark.usefixtures("repository")
def test_environments_come_in_the_order_of_promotion() -> None:
    """Not in that of the alphabet."""
    output = run("connections").output
    assert output.index("test:") < output.index("live:")


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_fails_with_the_reason_of_each_finding(form: str) -> None:
    """In every format."""
    result = run("connections", "--format", form)
    assert result.exit_code == 1
    assert REASON in result.output


@pytest.mark.usefixtures("broken")
def test_the_command_can_be_limited_to_one_environment() -> None:
    """A fault of another environment must not block this one."""
    assert run("connections", "-e", "test").exit_code == 0
    result = run("connections", "-e", "live")
    assert result.exit_code == 1
    assert "test:" not in result.output


@pytest.mark.usefixtures("broken")
def test_findings_come_first() -> None:
    """With the reason below; the reachable rest is for who wants to know."""
    lines = run("connections", "-e", "live").output.splitlines()
    assert lines[0] == "live: 3 findings, 2 reachable"
    assert lines[2].split() == ["dangling", "client", "client:", "env", "ADDRESS", "sever:80"]
    assert lines[3].strip() == REASON


def rows(number: int) -> list[Connection]:
    """Return one address as several clients have it."""
    return [
        Connection(environment="test", client=f"client-{index}", source="env A", address="a:1")
        for index in range(number)
    ]


@pytest.mark.parametrize(
    ("number", "clients"), [(2, "client-0, client-1"), (5, "5 workloads")], ids=["few", "many"]
)
def test_clients_of_the_same_address_share_a_line(number: int, clients: str) -> None:
    """Every pod resolves names: a line each would bury the rest."""
    [_, _, line] = report.text(rows(number)).splitlines()
    assert clients in line


@pytest.mark.usefixtures("repository")
def test_json_is_a_list_of_connections() -> None:
    """For a program, one object each."""
    assert {
        "environment": "test",
        "client": "client",
        "source": "client: env ADDRESS",
        "address": "server:80",
        "servers": ["server"],
        "port": 8080,
        "verdict": "reachable",
        "reason": "",
    } in json.loads(run("connections", "--format", "json", "-e", "test").output)


# --- Missing input: no proof holds over nothing


PROOFS = [["connections"], ["connections", "-e", "live"], ["graph", "live"], ["diff", "HEAD"]]


def _fails(command: list[str], sentence: str) -> None:
    result = run(*command)
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"Error: {sentence}\n", "")


@pytest.mark.parametrize("command", PROOFS)
def test_without_dist_no_proof_holds(repository: Path, command: list[str]) -> None:
    """A moved folder once proved that everything is reachable."""
    shutil.rmtree(repository / "dist")
    _fails(command, "dist/argocd has no Application: run `make synth`.")


@pytest.mark.usefixtures("git_environment")
@pytest.mark.parametrize("command", PROOFS)
@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_an_environment_without_manifests_is_an_error(
    repository: Path, command: list[str], damage: str
) -> None:
    """Argo CD would prune the whole environment; a proof must not call it correct."""
    remotes.run_git(repository, "init", "--quiet")
    remotes.commit(repository, "Correct")
    if damage == "missing":
        shutil.rmtree(repository / "dist/live")
    else:
        (repository / "dist/live/all.yaml").write_text("", encoding="utf-8")
    _fails(
        command,
        "dist/live has no manifests, although the Application system-live deploys it: "
        "run `make synth`.",
    )


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("command", [["connections", "-e"], ["graph"], ["diff", "HEAD", "-e"]])
def test_an_unknown_environment_is_an_error(command: list[str]) -> None:
    """Not a report without a finding."""
    _fails([*command, "argocd"], "Unknown environment 'argocd'; known environments: test, live.")


@pytest.mark.parametrize("command", [["connections"], ["graph", "live"]])
def test_a_file_that_is_not_yaml_is_named(repository: Path, command: list[str]) -> None:
    """In one sentence, whichever command reads it."""
    (repository / "dist/test/all.yaml").write_text("a: [")
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: dist/test/all.yaml:2: is not valid YAML: ")
    assert result.stderr.count("\n") == 1
