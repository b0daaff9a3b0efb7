"""Fixtures of the cluster tests; without a control plane their tests are skipped.

With SKIP_NOTHING set they fail instead.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import pytest

from delivery.control_plane.api_server import ApiServer, api_server
from delivery.control_plane.assets import (
    ApiServerAssets,
    ControlPlaneAssets,
    locate,
    locate_api_server,
)
from delivery.control_plane.cache import ControlPlaneError
from delivery.control_plane.client import Client
from delivery_by_argocd import FirstSync, System, first_synced, speed_up_syncs, with_unkind_pods

T = TypeVar("T")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder."""
    item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests that share a cluster: they run one after the other, for minutes."""
    items.sort(key=lambda item: not any(item.iter_markers("xdist_group")))


@pytest.fixture(scope="session")
def api_server_assets() -> ApiServerAssets:
    """The programs of an API server alone."""
    return _found(locate_api_server)


@pytest.fixture(scope="session")
def assets() -> ControlPlaneAssets:
    """The programs of a whole control plane, Argo CD included."""
    return _found(locate)


@pytest.fixture(scope="module")
def server(api_server_assets: ApiServerAssets) -> Iterator[ApiServer]:
    """An API server for all tests of a module; each uses its own namespaces."""
    with api_server(api_server_assets) as server:
        yield server


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    """A client of the API server."""
    with closing(server.client()) as client:
        yield client


@pytest.fixture(scope="session")
def first_sync(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstSync]:
    """All environments after their first sync by Argo CD.

    Each worker has one, for the tests of all its modules.
    """
    with first_synced(assets, tmp_path_factory.mktemp("git")) as first_sync:
        yield first_sync


@pytest.fixture(scope="session")
def unkind_sync(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstSync]:
    """The same where some images do not run, and with faster syncs."""
    programs = with_unkind_pods(assets, tmp_path_factory.mktemp("stages"))
    git = tmp_path_factory.mktemp("git")
    with first_synced(programs, git, change=speed_up_syncs) as first_sync:
        yield first_sync


@pytest.fixture
def system(unkind_sync: FirstSync) -> System:
    """All environments, synced and healthy at the same commit, whatever earlier tests did."""
    unkind_sync.system.go_back()
    return unkind_sync.system


def _found(find: Callable[[], T]) -> T:
    try:
        return find()
    except ControlPlaneError as error:
        if os.environ.get("SKIP_NOTHING"):
            raise
        pytest.skip(str(error))
