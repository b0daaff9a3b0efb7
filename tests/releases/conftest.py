"""Settings of the tests' own for everything that releases."""

import pytest


@pytest.fixture(autouse=True)
def _services(services: None) -> None:
    """Release the services of the tests' remotes."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder that ask Git, which nearly all do."""
    if "git_environment" in getattr(item, "fixturenames", ()):
        item.add_marker("slow")
