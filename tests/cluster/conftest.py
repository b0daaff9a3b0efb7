"""What the cluster tests share: a control plane's programs, and the reason if there are none.

With REQUIRE_CONTROL_PLANE set, a test that would be skipped for want of them fails.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from delivery.control_plane.build import (
    ApiServerAssets,
    ControlPlaneAssets,
    ControlPlaneError,
    locate,
    locate_api_server,
)

T = TypeVar("T")


@pytest.fixture(scope="session")
def api_server_assets() -> ApiServerAssets:
    """The programs of an API server alone."""
    return _found(locate_api_server)


@pytest.fixture(scope="session")
def assets() -> ControlPlaneAssets:
    """The programs of a whole control plane, Argo CD included."""
    return _found(locate)


def _found(find: Callable[[], T]) -> T:
    try:
        return find()
    except ControlPlaneError as error:
        if os.environ.get("REQUIRE_CONTROL_PLANE"):
            raise
        pytest.skip(str(error))
