"""What the runtime tests share: the images, a node, and dist/dev on it.

They take minutes, root and Linux, and have a command of their own: `make test-runtime`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.control_plane.build import locate
from tests.runtime.images.build import Image
from tests.runtime.images.build import build as build_images
from tests.runtime.node.build import build as build_node
from tests.runtime.node.node import Node, node
from tests.runtime.system import System, delivered

_HERE = Path(__file__).parent
_TIMEOUT = 3600
"""In seconds: 30 starts of a JobManager take 20 minutes, and twice that on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """None of them is part of `make test`."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.runtime)
            item.add_marker(pytest.mark.timeout(_TIMEOUT))


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    """Every image of dist/dev; the first time takes minutes."""
    return build_images(sys.stderr)


@pytest.fixture(scope="session")
def running_node(
    images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """A node that has the images."""
    archives = [image.archive for image in images.values()]
    state = tmp_path_factory.mktemp("node")
    with node(locate(), build_node(sys.stderr), state, images=archives) as running:
        yield running


@pytest.fixture(scope="session")
def whole_system(running_node: Node) -> Iterator[System]:
    """dist/dev, delivered to the node as it is committed."""
    with delivered(running_node) as system:
        yield system


@pytest.fixture
def system(whole_system: System) -> System:
    """dist/dev, all of it ready, whatever the test before did to it."""
    whole_system.wait_until_ready()
    return whole_system
