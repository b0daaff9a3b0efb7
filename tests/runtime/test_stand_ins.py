"""The images made from packages: the stand-ins are as unkind as what they stand for."""

import io
import subprocess
import time
from http import HTTPStatus

from delivery.control_plane.programs import wait_until
from tests.runtime.images.build import RECIPES, Image, build
from tests.runtime.node import pods
from tests.runtime.node.node import Node
from tests.runtime.system import System, post, transaction

SECONDS = 300


def test_nothing_is_built_twice(images: dict[str, Image]) -> None:
    """A second run should wait for the tests, not for the images."""
    log = io.StringIO()
    start = time.monotonic()
    assert build(log) == images
    assert log.getvalue() == ""
    assert time.monotonic() - start < 10


def test_redpanda_refuses_what_it_does_not_know(images: dict[str, Image]) -> None:
    """A command line that it silently ignored would prove nothing."""
    rpk = ["chroot", str(images["redpanda"].root), "rpk"]
    command = [*rpk, "redpanda", "start", "--mode=dev-container"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "does not know this command line" in done.stderr


def test_payment_api_refuses_an_invalid_transaction(system: System) -> None:
    """The application refuses it, too."""
    assert system.post(transaction("free", 0.0)) == HTTPStatus.UNPROCESSABLE_ENTITY


def test_payment_api_gives_up_on_the_broker_for_ever(running_node: Node) -> None:
    """It is why it waits before it starts: the application blocks, then refuses everything."""
    command = RECIPES["payment-api"].command
    with pods.running(running_node, "hasty", *command, image="payment-api") as hasty:
        url = f"http://{hasty.address}:8000/transaction"
        wait_until(
            lambda: post(url, transaction("lost")) == HTTPStatus.SERVICE_UNAVAILABLE,
            programs=running_node.programs,
            seconds=SECONDS,
            what="it did not give up",
            pause=1,
        )
