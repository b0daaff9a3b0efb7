"""A landing that is ended in its render: nothing has changed, and nothing is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery.errors import INTERRUPTED
from remotes import Remote, commit, run_git

HOLD = """
import remotes
from delivery.cli import main
from delivery.releases import changes

changes.SERVICES = remotes.SERVICES
main(["hold", "redis", "--reason=slow"])
"""
# Says that it renders, and hangs.
MAIN = """
import signal
with open({life!r}, "w") as life:
    print("rendering", file=life, flush=True)
    signal.pause()
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("git_environment"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote, and a clone of it, whose render hangs."""
    remote = Remote.create(tmp_path)
    os.mkfifo(tmp_path / "life")
    (remote.clone / "cdk8s.yaml").write_text("app: python main.py\n", encoding="utf-8")
    main = MAIN.format(life=str(tmp_path / "life"))
    (remote.clone / "main.py").write_text(main, encoding="utf-8")
    commit(remote.clone, "Hang")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    return remote


@contextmanager
def landing(remote: Remote) -> Iterator["subprocess.Popen[bytes]"]:
    """Land a change until its render hangs; afterwards, wait until the render is gone."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD],
            cwd=remote.clone,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process,
        (remote.clone.parent / "life").open() as life,
    ):
        assert life.readline() == "rendering\n"
        yield process
        # The end of the file comes once the render, three processes further down, is gone.
        assert life.read() == ""


def left(remote: Remote) -> list[Path]:
    """Return the sandboxes, which hold credentials of the clone's remote."""
    return list((remote.clone / ".git" / "delivery").iterdir())


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_landing_that_is_ended_changes_nothing(remote: Remote, number: signal.Signals) -> None:
    """A closed terminal or a cancelled job is as good as Ctrl-C."""
    before = remote.commits()
    with landing(remote) as process:
        process.send_signal(number)
        assert process.wait(60) == INTERRUPTED
    assert (remote.commits(), left(remote)) == (before, [])
