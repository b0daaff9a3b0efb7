"""An environment is added in one place: environments.py.

Production is added behind staging, to a copy. Every command works along the longer chain, and every
test that guards dev or staging guards production too: it notices a break that is made there alone.
"""

import re
from collections.abc import Callable

import pytest

from remotes import run_git
from tests.extension.conftest import Copy
from tests.extension.extend import add_environment


@pytest.fixture(scope="module")
def extended(make_copy: Callable[[], Copy], tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy with production, whose remote has no branch of that name yet."""
    copy = make_copy()
    bare = tmp_path_factory.mktemp("remote") / "origin.git"
    run_git(copy.tree, "branch", "develop")
    run_git(copy.tree, "clone", "--quiet", "--bare", ".", str(bare))
    run_git(copy.tree, "remote", "add", "origin", str(bare))
    add_environment(copy.tree)
    copy.accept()
    run_git(copy.tree, "push", "--quiet", "origin", "HEAD:develop")
    run_git(copy.tree, "fetch", "--quiet", "origin")
    return copy


@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("connections", "-e", "production"),
        ("graph", "production"),
        ("diff", "origin/develop", "-e", "production"),
    ],
    ids=lambda command: str(command[0]),
)
def test_a_command_knows_it(extended: Copy, command: tuple[str, ...]) -> None:
    """It is in dist, and nothing else has to know it."""
    extended.succeed("delivery", *command)


@pytest.mark.parametrize("command", ["diff", "status"])
def test_a_branch_that_does_not_exist_is_reported_alone(extended: Copy, command: str) -> None:
    """The other environments are shown all the same."""
    shown = extended.succeed("delivery", command)
    assert re.search(r"production.*(does not exist|no branch)", shown), shown


def test_a_promotion_goes_to_the_next_environment(extended: Copy) -> None:
    """The one that has a branch; the other one is named with what to do."""
    shown = extended.succeed("delivery", "promote", "--dry-run")
    assert "Promote develop to main" in shown
    assert re.search(r"production.*(does not exist|no branch)", shown), shown


@pytest.mark.parametrize(
    ("file", "old", "new", "tests"),
    [
        pytest.param(
            "environments.py",
            'namespace="fraud-detection-prod",\n)',
            'namespace="fraud-detection-prod",\n    limits=replace(STAGING.limits, memory=1),\n)',
            "tests/platform/test_quota.py",
            id="quota",
        ),
        pytest.param(
            "system.py",
            "        network.add_policies()\n",
            '        if environment.name == "production":\n'
            "            network.connections.pop()\n"
            "        network.add_policies()\n",
            "tests/platform/test_network.py",
            id="edge",
        ),
        pytest.param(
            "platform/pods.py",
            'seccomp_profile=k8s.SeccompProfile(type="RuntimeDefault"),',
            'seccomp_profile=k8s.SeccompProfile(type="RuntimeDefault")'
            ' if component.service.node.scope.namespace != "fraud-detection-prod" else None,',
            "tests/platform/test_pod_security.py",
            id="pod-security",
        ),
    ],
)
def test_a_break_in_production_alone_is_noticed(
    extended: Copy, file: str, old: str, new: str, tests: str
) -> None:
    """The tests guard the environments that there are, not two that somebody has listed."""
    path = extended.tree / "constructs" / "fraud_detection" / file
    before = path.read_text(encoding="utf-8")
    assert before.count(old) == 1
    path.write_text(before.replace(old, new), encoding="utf-8")
    try:
        failed = extended.pytest("-n", "0", tests)
    finally:
        path.write_text(before, encoding="utf-8")
    assert failed.returncode == 1, failed.stdout
    assert "production" in failed.stdout
