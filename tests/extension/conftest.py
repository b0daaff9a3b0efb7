"""A copy of this tree in which a service and an environment are added; `make test-extension`.

Its tests run the whole fast suite inside the copy, so they have a command of their own.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from remotes import run_git
from repository import REPOSITORY
from working_tree import commit_all, copy_working_tree

_HERE = Path(__file__).parent
_TIMEOUT_SECONDS = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep them out of `make test`, on one worker, with time for a suite inside."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.extension)
            item.add_marker(pytest.mark.timeout(_TIMEOUT_SECONDS))


@dataclass(frozen=True)
class Copy:
    """A copy of the working tree, with Git and the installed environment.

    Attributes:
        tree: Root of the copy.
    """

    tree: Path

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment as if it was typed in the copy.

        Args:
            command: A program of `.venv/bin` and its arguments.
        """
        programs = Path(sys.executable).parent
        return subprocess.run(
            [programs / command[0], *command[1:]],
            cwd=self.tree,
            env={
                **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
                "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
                # The installed packages are those of the working tree that was copied.
                "PYTHONPATH": os.pathsep.join([str(self.tree / "constructs"), str(self.tree)]),
            },
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def succeed(self, *command: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def pytest(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run tests of the copy, without those that need a control plane or a node.

        Nor those of how programs are fetched, built and started, which no service changes.
        """
        ignored = (
            "cluster",
            "control_plane",
            "extension",
            "runtime",
            "services/files",
            "test_processes.py",
        )
        options = ("-q", "-p", "no:cacheprovider", *(f"--ignore=tests/{each}" for each in ignored))
        return self.run("pytest", *options, *arguments)

    def commit(self) -> None:
        """Commit all of it."""
        commit_all(self.tree, "Add it")

    def accept(self) -> None:
        """Render, accept the snapshots, and commit all of it."""
        self.succeed("delivery", "synth")
        self.run("pytest", "-q", "-n", "0", "--snapshot-update", "tests/test_snapshots.py")
        self.commit()


@pytest.fixture(scope="session")
def make_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Copy]:
    """Return a function that copies the working tree, in a path with a space."""

    def make() -> Copy:
        tree = tmp_path_factory.mktemp("a copy")
        copy_working_tree(tree)
        for installed in (".venv", "node_modules"):
            (tree / installed).symlink_to(REPOSITORY / installed)
        run_git(tree, "init", "--quiet", "--initial-branch=main")
        exclude = tree / ".git" / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text("/.venv\n/node_modules\n", encoding="utf-8")
        commit_all(tree, "What is in the working tree")
        return Copy(tree)

    return make
