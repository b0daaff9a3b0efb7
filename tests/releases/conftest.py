"""Settings of the tests' own for everything that releases."""

import pytest


@pytest.fixture(autouse=True)
def _services(services: None) -> None:
    """Release the services of the tests' remotes."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder: nearly all of them need a Git remote."""
    item.add_marker("slow")
