"""Settings of the tests' own for everything that releases."""

import pytest

import remotes
from delivery.releases import changes


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release the services of the tests' remotes: the live ones may change at any time."""
    monkeypatch.setattr(changes, "SERVICES", remotes.SERVICES)
