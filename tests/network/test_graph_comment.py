"""The graph in a pull request's comment: folded, named, and never too long for GitHub."""

import pytest
from click.testing import CliRunner

from delivery.cli import main
from delivery.network import graph
from delivery.network.graph import Picture
from repository import REPOSITORY


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is typed in the working tree."""
    monkeypatch.chdir(REPOSITORY)


def drawn(environment: str) -> str:
    """What the command prints for a comment."""
    result = CliRunner().invoke(main, ["graph", environment, "--format", "markdown"])
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_it_is_folded_with_its_name(environment: str) -> None:
    """A comment has one for each environment."""
    text = drawn(environment)
    assert text.startswith(f"<details><summary>{environment}, drawn</summary>\n\n```mermaid\n")
    assert text.rstrip().endswith("```\n\n</details>")


def test_ours_has_room_with_all_its_colours() -> None:
    """Else no reviewer would ever see it."""
    command = ["graph", "staging", "--since", "HEAD", "--format", "markdown"]
    assert "classDef changed" in CliRunner().invoke(main, command).output


def test_a_large_one_is_only_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub refuses a comment that is too long, with all else that it says."""

    def draw(_: Picture) -> str:
        return "flowchart TB\n" + "x" * 6000

    monkeypatch.setattr(graph, "mermaid", draw)
    text = drawn("staging")
    assert len(text) < 100
    assert "`delivery graph` draws them." in text
