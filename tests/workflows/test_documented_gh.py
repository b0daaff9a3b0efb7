"""The commands of docs/github.md that ask GitHub, run as they are, with the real gh."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from github_api import GitHubApi
from real_gh import real_gh
from repository import REPOSITORY
from workflows import GITHUB, workflow

PAGE = (REPOSITORY / "docs" / "github.md").read_text(encoding="utf-8")
BLOCKS = [
    block
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    if "gh " in block
]


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHubApi]:
    """Type each command in its order, and return what GitHub has then."""
    with real_gh(tmp_path) as (github, variables):
        for block in BLOCKS:
            number = str(
                next((n for n, each in github.rulesets.items() if each["name"] == "main"), 0)
            )
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.replace("NUMBER", number)],
                cwd=REPOSITORY,
                env=variables,
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, block + done.stderr
        yield github


def test_the_rulesets_are_applied(github: GitHubApi) -> None:
    """With the App that may push to develop, and one of them changed later."""
    files = {path.stem: json.loads(path.read_text()) for path in (GITHUB / "rulesets").iterdir()}
    assert {each["name"] for each in github.rulesets.values()} == {
        each["name"] for each in files.values()
    }
    [develop] = [
        each for each in github.rulesets.values() if each["name"] == files["develop"]["name"]
    ]
    assert develop["bypass_actors"][0]["actor_id"] == 123456


def test_operations_start_with_inputs_that_the_workflow_has(github: GitHubApi) -> None:
    """GitHub refuses an unknown input, a missing one, and what is no choice."""
    inputs = workflow("operate")["on"]["workflow_dispatch"]["inputs"]
    assert [given["action"] for given in github.dispatched] == ["hold", "rollback"]
    for given in github.dispatched:
        assert given.keys() <= inputs.keys()
        assert {name for name, each in inputs.items() if each.get("required")} <= given.keys()
        for name, value in given.items():
            assert value in inputs[name].get("options", [value])
