"""Who updates what is pinned."""

import json
import re
from typing import Any

import pytest

from repository import REPOSITORY
from workflows import GITHUB, WORKFLOWS, load

DEPENDABOT = load(GITHUB / "dependabot.yml")["updates"]
RENOVATE = json.loads((GITHUB / "renovate.json").read_bytes())


def test_everything_that_is_pinned_is_kept_up_to_date() -> None:
    """A pin that nobody updates becomes a vulnerability."""
    assert sorted(update["package-ecosystem"] for update in DEPENDABOT) == [
        "github-actions",
        "gomod",
        "npm",
        "uv",
    ]
    [modules] = [update for update in DEPENDABOT if update["package-ecosystem"] == "gomod"]
    assert modules["directories"] == ["/tools/control-plane/*", "/tools/node/*"]
    assert list((REPOSITORY / "tools" / "control-plane").glob("*/go.mod"))


@pytest.mark.parametrize("update", DEPENDABOT, ids=lambda update: update["package-ecosystem"])
def test_an_update_waits_a_week(update: dict[str, Any]) -> None:
    """By then a hijacked release has been noticed; main takes promotions only."""
    assert update["cooldown"]["default-days"] >= 7
    assert update["target-branch"] == "develop"


def test_what_dependabot_does_not_see_waits_as_long() -> None:
    """The same rule for the same reason; and no second pull request for what Dependabot updates."""
    assert RENOVATE["minimumReleaseAge"] == "7 days"
    assert RENOVATE["baseBranchPatterns"] == ["develop"]
    assert RENOVATE["enabledManagers"] == ["custom.regex"]


VERSIONS = re.compile(
    r"(?:^ +version|GOTOOLCHAIN): \S+$|\b(?:uvx|npx|pipx run) \S+@\S+", re.MULTILINE
)


def found(manager: dict[str, Any], text: str) -> list[str]:
    """Return what a manager of Renovate matches; Python writes named groups with a P."""
    [pattern] = manager["matchStrings"]
    return [match[0] for match in re.finditer(pattern.replace("(?<", "(?P<"), text)]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_version_has_an_updater(workflow: Any) -> None:  # noqa: ANN401 - as pytest gives it
    """One rule each: none would be forgotten, and two would contradict each other."""
    text = workflow.read_text()
    name = str(workflow.relative_to(REPOSITORY))
    matches = [
        match
        for manager in RENOVATE["customManagers"]
        if re.search(manager["managerFilePatterns"][0].strip("/"), name)
        for match in found(manager, text)
    ]
    assert len(matches) == len(VERSIONS.findall(text))


@pytest.mark.parametrize(
    "manager", RENOVATE["customManagers"], ids=lambda each: each["description"]
)
def test_every_rule_has_something_to_update(manager: dict[str, Any]) -> None:
    """A pattern that no longer matches fails silently."""
    assert [path for path in WORKFLOWS if found(manager, path.read_text())] != []
