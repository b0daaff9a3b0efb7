"""A service is added in four places: images.yaml, its module, environments.py, system.py.

What it must say about itself beyond that, the first failing test asks for in one sentence.
"""

from collections.abc import Callable

import pytest

from tests.extension.conftest import Copy
from tests.extension.extend import (
    CALLER,
    STAND_INS,
    add_caller,
    add_service,
    add_stand_in,
)


@pytest.fixture(scope="module")
def in_four_places(make_copy: Callable[[], Copy]) -> Copy:
    """A copy with audit-log in the four places, rendered and committed."""
    copy = make_copy()
    add_service(copy.tree)
    copy.accept()
    return copy


@pytest.fixture(scope="module")
def complete(make_copy: Callable[[], Copy]) -> Copy:
    """A copy with all that audit-log says about itself."""
    copy = make_copy()
    add_service(copy.tree)
    add_caller(copy.tree)
    add_stand_in(copy.tree)
    copy.accept()
    return copy


@pytest.mark.parametrize("path", [CALLER, STAND_INS])
def test_what_is_missing_is_named_with_its_file(in_four_places: Copy, path: str) -> None:
    """A newcomer learns what else to write from the test that fails, not from a search."""
    failed = in_four_places.pytest("-n", "0", "-k", "caller or stand_in", "tests")
    assert failed.returncode == 1, failed.stdout
    assert f"{path} is missing" in failed.stdout or f"{path}: " in failed.stdout


@pytest.mark.parametrize("command", [("ruff", "check"), ("mypy",), ("delivery", "connections")])
def test_a_check_accepts_it(complete: Copy, command: tuple[str, ...]) -> None:
    """The type checker knows its image, and the policies its connections."""
    complete.succeed(*command)
