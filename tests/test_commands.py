"""Calls of other programs: what becomes of those that fail, and of those that never end."""

import pytest

from delivery.commands import CommandError, run


def test_the_reason_is_what_the_program_wrote() -> None:
    """A message of our own can quote it without the whole command line."""
    with pytest.raises(CommandError, match=r"`sh -c .*` failed: no such thing") as caught:
        run("sh", "-c", "echo no such thing >&2; exit 1", remedy="install it")
    assert caught.value.reason == "no such thing"


def test_a_program_that_exceeds_its_limit_is_killed() -> None:
    """A server that accepts a connection and says nothing would hold up a workflow for hours."""
    with pytest.raises(CommandError, match=r"did not answer within 0\.1 seconds"):
        run("sleep", "100", remedy="install it", limit=0.1)
