"""Settings of the tests' own for everything that releases."""

import pytest


@pytest.fixture(autouse=True)
def _services(services: None) -> None:
    """Release the services of the tests' remotes."""
