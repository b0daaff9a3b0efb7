"""Settings of the tests' own for everything that releases."""

import pytest

import remotes
from delivery.releases import changes, landing, resolve


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release the services of the tests' remotes: the live ones may change at any time."""
    for module in (changes, landing, resolve):
        monkeypatch.setattr(module, "SERVICES", remotes.SERVICES)
