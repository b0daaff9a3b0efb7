"""The whole fast suite, in a copy of this tree with one more service and one more environment."""

from collections.abc import Callable

from tests.extension.conftest import Copy
from tests.extension.extend import add_caller, add_environment, add_service, add_stand_in


def test_it_is_green(make_copy: Callable[[], Copy]) -> None:
    """No test lists the services or the environments: none needs an edit for a new one."""
    copy = make_copy()
    for add in (add_service, add_caller, add_stand_in, add_environment):
        add(copy.tree)
    copy.accept()
    passed = copy.pytest("-n", "3", "tests")
    assert passed.returncode == 0, passed.stdout
