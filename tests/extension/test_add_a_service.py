"""A service is added in four places: images.yaml, its module, environments.py, system.py.

What it must say about itself beyond that, the first failing test asks for in one sentence.
"""

import shutil
from collections.abc import Callable

import pytest

from tests.extension.conftest import Copy
from tests.extension.extend import add_service

CALLER = "docs/application-repository/audit-log.yml"
STAND_IN = "tests/runtime/images/audit_log"


@pytest.fixture(scope="module")
def extended(make_copy: Callable[[], Copy]) -> Copy:
    """A copy with audit-log, rendered and committed."""
    copy = make_copy()
    add_service(copy.tree)
    copy.accept()
    return copy


@pytest.mark.parametrize("path", [CALLER, STAND_IN])
def test_what_is_missing_is_named_with_its_file(extended: Copy, path: str) -> None:
    """A newcomer learns what else to write from the test that fails, not from a search."""
    failed = extended.pytest("-k", "caller or stand_in", "tests")
    assert failed.returncode == 1, failed.stdout
    assert path in failed.stdout


def test_the_whole_fast_suite_is_green(extended: Copy) -> None:
    """No test lists the services: none needs an edit for a new one."""
    tree = extended.tree
    shutil.copy2(tree / CALLER.replace("audit-log", "alert-monitor"), tree / CALLER)
    caller = (tree / CALLER).read_text(encoding="utf-8")
    (tree / CALLER).write_text(
        caller.replace("alert-monitor", "audit-log").replace("alert_monitor", "audit_log"),
        encoding="utf-8",
    )
    shutil.copytree(tree / STAND_IN.replace("audit_log", "alert_monitor"), tree / STAND_IN)
    extended.commit()
    extended.succeed("ruff", "check")
    extended.succeed("mypy")
    extended.succeed("delivery", "check")
    extended.succeed("delivery", "connections")
    passed = extended.pytest("-n", "3", "tests")
    assert passed.returncode == 0, passed.stdout
