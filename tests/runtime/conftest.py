"""Fixtures of the runtime tests: the images, a node, and dist/dev on it.

They take minutes, root and Linux, and have a command of their own: `make test-runtime`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.control_plane.assets import locate
from tests.runtime.images.build import Image
from tests.runtime.images.build import build as build_images
from tests.runtime.node.build import build as build_node
from tests.runtime.node.node import Node, node
from tests.runtime.observer import NOTICED, ROW, Survived, table
from tests.runtime.sync import rendered
from tests.runtime.system import System, delivered, transaction

_HERE = Path(__file__).parent
_TIMEOUT = 7200
"""In seconds: one watches for an hour, and each start of Flink takes minutes on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep them out of `make test`."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.runtime)
            item.add_marker(pytest.mark.timeout(_TIMEOUT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was noticed, then what users noticed of each event as a table."""
    rows = []
    for report in terminalreporter.getreports("passed"):
        for name, noticed in report.user_properties:
            if name == NOTICED:
                terminalreporter.write_line(f"{report.location[2]}: {noticed}")
            elif name == ROW:
                rows.append(noticed)
    for line in table(rows) if rows else []:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    """Build every image of dist/dev; the first build takes minutes."""
    return build_images(sys.stderr)


@pytest.fixture(scope="session")
def running_node(
    images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """Start a node with the images."""
    archives = [image.archive for image in images.values()]
    state = tmp_path_factory.mktemp("node")
    with node(locate(), build_node(sys.stderr), state, images=archives) as running:
        yield running


@pytest.fixture(scope="session")
def whole_system(running_node: Node) -> Iterator[System]:
    """Deliver the committed dist/dev to the node."""
    with delivered(running_node, rendered()) as system:
        yield system


@pytest.fixture
def system(whole_system: System) -> System:
    """Wait until all of dist/dev is ready, whatever the previous test did to it."""
    whole_system.wait_until_ready()
    return whole_system


@pytest.fixture
def survived(system: System, record_property: Callable[[str, object], None]) -> Survived:
    """Provide a context for an event that the system survives.

    Afterwards everything is ready again and nothing accepted is lost: what a user posts first is
    found counted.
    """

    @contextmanager
    def observed(event: str) -> Iterator[None]:
        user = f"user-{time.monotonic_ns()}"
        for amount in (1.0, 2.0):
            system.accept(transaction(user, amount))
        posted = system.wait_for_history(user, posted=2)
        with system.observed(lambda noticed: record_property(ROW, [event, *noticed])):
            yield
            system.wait_until_ready()
            system.wait_for_history(user, posted=posted)

    return observed
