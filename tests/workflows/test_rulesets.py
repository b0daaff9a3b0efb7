"""The rulesets and owners of the branches."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from delivery.releases.images import images_of
from repository import REPOSITORY
from workflows import GITHUB, WORKFLOWS, load

_HERE = Path(__file__).relative_to(REPOSITORY)
RULESETS = {path.stem: json.loads(path.read_bytes()) for path in (GITHUB / "rulesets").iterdir()}


def rules(ruleset: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of a ruleset's rules, by type."""
    return {rule["type"]: rule.get("parameters", {}) for rule in RULESETS[ruleset]["rules"]}


def required_checks(ruleset: str) -> list[str]:
    """Return the checks that must succeed before a merge."""
    return [
        check["context"]
        for check in rules(ruleset)["required_status_checks"]["required_status_checks"]
    ]


def test_no_history_is_rewritten() -> None:
    """Argo CD and every clone have seen it, so not even the App may."""
    history = RULESETS["history"]
    assert history["bypass_actors"] == []
    assert set(rules("history")) == {"deletion", "non_fast_forward"}
    assert set(history["conditions"]["ref_name"]["include"]) == {
        "refs/heads/develop",
        "refs/heads/main",
    }


def test_main_takes_reviewed_pull_requests_alone() -> None:
    """Staging runs it, so nobody may bypass the review."""
    assert RULESETS["main"]["bypass_actors"] == []
    pull_request = rules("main")["pull_request"]
    assert pull_request["required_approving_review_count"] == 1
    assert pull_request["require_code_owner_review"]
    # Only the approved commit is merged.
    assert pull_request["dismiss_stale_reviews_on_push"]


def test_a_promotion_is_a_merge() -> None:
    """A squash would hide what was promoted, and main must get the very tree that was reviewed.

    Its first parent is main, so that it is up to date until main moves.
    """
    assert rules("main")["pull_request"]["allowed_merge_methods"] == ["merge"]
    assert rules("main")["required_status_checks"]["strict_required_status_checks_policy"]


@pytest.mark.parametrize("name", sorted(RULESETS))
def test_a_ruleset_is_what_github_takes(name: str) -> None:
    """GitHub refuses other keys, and a disabled ruleset protects nothing."""
    ruleset = RULESETS[name]
    assert set(ruleset) == {
        "name",
        "target",
        "enforcement",
        "bypass_actors",
        "conditions",
        "rules",
    }
    assert (ruleset["name"], ruleset["target"]) == (name, "branch")
    assert ruleset["enforcement"] == "active"
    if name != "history":
        assert ruleset["conditions"]["ref_name"]["include"] == [f"refs/heads/{name}"]


@pytest.mark.parametrize("name", ["main", "develop"])
def test_a_required_check_comes_from_github_actions(name: str) -> None:
    """Otherwise anybody who may write a commit status could report a passed `ci`."""
    checks = rules(name)["required_status_checks"]["required_status_checks"]
    assert [check["integration_id"] for check in checks] == [15368]


def owners(path: str, *, but: str = "") -> list[str]:
    """Return the owners of a file: the last matching pattern decides, even if it names nobody.

    Args:
        path: The file.
        but: A pattern to leave out.
    """
    found: list[str] = []
    for line in (GITHUB / "CODEOWNERS").read_text().splitlines():
        pattern, *names = line.partition("#")[0].split() or [""]
        if pattern == but:
            continue
        if pattern == "*" or (pattern and fnmatch(f"/{path}", f"{pattern.rstrip('/')}*")):
            found = names
    return found


def test_the_rulesets_require_one_check() -> None:
    """The aggregate job of ci, which runs for every pull request."""
    assert required_checks("main") == required_checks("develop") == ["ci"]
    assert ["pull_request" in load(path)["on"] for path in WORKFLOWS if path.stem == "ci"] == [True]


def test_develop_takes_reviewed_pull_requests_and_releases() -> None:
    """Only the App may push to it. Without a required approval GitHub asks no owner either."""
    [actor] = RULESETS["develop"]["bypass_actors"]
    assert (actor["actor_type"], actor["bypass_mode"]) == ("Integration", "always")
    pull_request = rules("develop")["pull_request"]
    assert pull_request["required_approving_review_count"] == 1
    assert pull_request["require_code_owner_review"]
    assert pull_request["dismiss_stale_reviews_on_push"]


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/CODEOWNERS",
        "constructs/fraud_detection/system.py",
        "delivery/cli.py",
        "tools/uv.txt",
        "uv.lock",
        "package-lock.json",
        "Makefile",
        "main.py",
        "dist/argocd/root.yaml",
        "tests/workflows/test_rulesets.py",
    ],
)
def test_what_decides_what_runs_has_an_owner(path: str) -> None:
    """Whoever changes the code or its guards changes every release after it."""
    assert owners(path) != []


@pytest.mark.parametrize("path", ["images.yaml", "dist/staging/redis.yaml"])
def test_a_release_needs_a_person(path: str) -> None:
    """An App may approve and merge what nobody owns: the release App would be enough for main."""
    assert owners(path) != []
    assert owners(path, but="*") != []


THIRD_PARTIES = {
    "docker.io/library/redis",
    "docker.io/oliver006/redis_exporter",
    "docker.io/redpandadata/redpanda",
}
"""Third parties whose images may run; ours are in the callers of deliver-service.yml."""


def test_a_repository_has_an_owner() -> None:
    """Who may approve releases alone cannot change this list, nor a caller."""
    callers = (REPOSITORY / "docs" / "application-repository").glob("*.yml")
    ours = {load(path)["jobs"]["deliver"]["with"]["image"] for path in callers}
    used = {release.image.repository for release in images_of(REPOSITORY).services.values()}
    unknown = used - ours - THIRD_PARTIES
    assert not unknown, (
        f"{_HERE}: add {', '.join(unknown)} to THIRD_PARTIES, or a caller for what we build."
    )
    assert owners("docs/application-repository/payment-api.yml") != []
