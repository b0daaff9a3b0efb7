"""The Makefile: two commands set everything up, once; every command is listed.

The programs are stand-ins that record how they were called.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repository import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.MULTILINE)
INPUTS = ["tools/uv.txt", "uv.lock", "pyproject.toml", "package.json", "package-lock.json"]

PROGRAM = """\
#!/bin/sh
echo "$(basename "$0") $*" >> calls
test ! -e "fail-$(basename "$0")" || { cat "fail-$(basename "$0")" >&2; exit 1; }
case "$(basename "$0") $*" in
*"-m venv "*)
    mkdir -p .venv/bin
    for name in python uv delivery pytest ruff mypy shellcheck zizmor check-jsonschema codespell
    do cp "$0" ".venv/bin/$name"
    done
    ;;
"npm "*)
    mkdir -p node_modules/.bin
    test -e disk-is-full || cp "$0" node_modules/.bin/cdk8s
esac
"""


class Machine:
    """A machine with the files of the set-up, make and stand-ins for python3 and npm.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ["Makefile", ".ci/run", *INPUTS]:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
        programs = folder / "bin"
        programs.mkdir()
        for name in ("python3", "npm", "redis-server"):
            (programs / name).write_text(PROGRAM, encoding="utf-8")
            (programs / name).chmod(0o755)
        self._path = f"{programs}{os.pathsep}{os.defpath}"

    def run(self, *command: str) -> list[str]:
        """Run a command and return which programs it called."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        self._run(*command)
        return calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []

    def errors(self, *command: str) -> str:
        """Run a command that must fail and return its standard error."""
        done = self._run(*command)
        assert done.returncode != 0
        return done.stderr

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": self._path},
            check=False,
            capture_output=True,
            text=True,
        )

    def change(self, name: str) -> None:
        """Make a file newer than all others, as if the last set-up was an hour ago."""
        hour_ago = time.time() - 3600
        for path in [*self.folder.iterdir(), *(self.folder / "tools").iterdir()]:
            os.utime(path, (hour_ago - 2, hour_ago - 2))
        for stamp in (self.folder / ".venv").glob(".*"):
            os.utime(stamp, (hour_ago, hour_ago))
        os.utime(self.folder / name, (hour_ago + 2, hour_ago + 2))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without any set-up."""
    return Machine(tmp_path)


PACKAGES = [
    "python3 -m venv .venv",
    "python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.txt",
    "uv sync --quiet --locked --no-dev --group build --inexact",
]
RENDERER = [*PACKAGES, "npm ci --loglevel=error --ignore-scripts", "cdk8s --version"]
SET_UP = [*RENDERER, "uv sync --quiet --locked"]


def test_make_synth_sets_up_a_fresh_machine(machine: Machine) -> None:
    """It is the first command of the README; everything it installs is locked."""
    assert machine.run("make", "synth") == [*RENDERER, "delivery synth"]


def test_a_rehearsal_installs_neither_test_tools_nor_npm_packages(machine: Machine) -> None:
    """Every pull request waits for it."""
    assert machine.run("make", "api-server") == [*PACKAGES, "delivery control-plane --api-server"]


def test_a_command_of_delivery_removes_no_test_tools(machine: Machine) -> None:
    """After `make setup`, whoever renders goes on testing."""
    machine.run("make", "setup")
    machine.change("uv.lock")
    assert "--inexact" in machine.run("make", "delivery")[0]


def test_make_test_sets_up_a_fresh_machine(machine: Machine) -> None:
    """It is the second command of the README, and must not need the first."""
    calls = machine.run("make", "test")
    assert calls[: len(SET_UP)] == SET_UP
    assert calls[-1] == "pytest --part slow"


def test_what_is_quickly_found_is_found_first(machine: Machine) -> None:
    """Nobody should wait for a control plane to hear of a typo."""
    calls = machine.run("make", "test")
    assert calls.index("mypy ") < calls.index("pytest --part fast -n 2")
    (machine.folder / "fail-pytest").touch()
    assert machine.run("make", "test")[-1] == "pytest --part fast -n 2"


def test_each_bench_runs_whatever_the_others_find(machine: Machine) -> None:
    """One missed target must not hide the next, and still fails the command."""
    machine.run("make", "bench")
    (machine.folder / "fail-python").touch()
    assert "Error 1" in machine.errors("make", "bench")
    calls = machine.run("make", "bench")
    assert calls[-4:] == [f"python bench/{n}.py" for n in ("bench", "bump", "rehearse", "verdict")]


@pytest.mark.slow
def test_ci_runs_what_the_readme_says(machine: Machine) -> None:
    """A change that passes on a laptop must pass there."""
    control_plane = machine.run(".ci/run")[len(PACKAGES)]
    assert control_plane == "delivery control-plane"
    tests = [*machine.run("make", "test"), *machine.run("make", "test-extension")]
    assert machine.run(".ci/run") == [control_plane, *tests]


def test_ci_accepts_no_skipped_test() -> None:
    """CI would pass without a control plane or Redis."""
    commands = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "SKIP_NOTHING=1 make test" in commands


@pytest.mark.parametrize("target", ["synth", "test"])
def test_the_second_run_sets_up_nothing(machine: Machine, target: str) -> None:
    """People type it many times a day."""
    first = machine.run("make", target)
    assert machine.run("make", target) == [call for call in first if call not in SET_UP]


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_input_is_installed(machine: Machine, name: str) -> None:
    """Nobody should have to think of it after a `git pull`."""
    machine.run("make", "setup")
    machine.change(name)
    assert machine.run("make", "setup") != []
    assert machine.run("make", "setup") == []


@pytest.mark.parametrize("program", ["python", "uv", "npm"])
def test_a_failed_installation_is_tried_again(machine: Machine, program: str) -> None:
    """After a network failure half an environment must not count as complete."""
    (machine.folder / f"fail-{program}").touch()
    assert "ruff check" not in machine.run("make", "lint")
    (machine.folder / f"fail-{program}").unlink()
    calls = machine.run("make", "lint")
    assert any(call.startswith(f"{program} ") for call in calls)
    assert calls[-1] == "codespell "


def run_pytest(folder: Path, *options: str) -> str:
    """Run the tests of a folder with our conftest.py, and return what pytest prints."""
    folders = [REPOSITORY / "tests", REPOSITORY / "tests" / "support", REPOSITORY]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", *options, "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_each_cause_of_skipped_tests_is_one_line(tmp_path: Path) -> None:
    """A missing control plane skips seventy tests in twenty places."""
    skip = 'import pytest\ndef test_{0}(): pytest.skip("no {1}")\n'
    for name, missing in (("a", "Go"), ("b", "Go"), ("c", "Redis")):
        (tmp_path / f"test_{name}.py").write_text(skip.format(name, missing), encoding="utf-8")
    assert re.findall(r"^\d skipped: .*$", run_pytest(tmp_path), re.MULTILINE) == [
        "2 skipped: no Go",
        "1 skipped: no Redis",
    ]


@pytest.mark.parametrize(("part", "expected"), [("fast", {"a"}), ("slow", {"b"})])
def test_each_test_belongs_to_one_part(tmp_path: Path, part: str, expected: set[str]) -> None:
    """`make test` runs one after the other; what both left out would never run."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n  own\n", encoding="utf-8")
    (tmp_path / "test_parts.py").write_text(PARTS, encoding="utf-8")
    output = run_pytest(tmp_path, "-v", "-m", "not own", "--part", part)
    assert set(re.findall(r"::test_(\w) PASSED", output)) == expected


PARTS = """\
import pytest

def test_a(): pass

@pytest.mark.slow
def test_b(): pass

@pytest.mark.slow
@pytest.mark.own
def test_c(): pass
"""


NPM_ERRORS = """\
npm error code ECONNREFUSED
npm error syscall connect
npm error FetchError: request to http://registry.test/cdk8s-cli failed, reason: refused
npm error     at ClientRequest.<anonymous> (index.js:130:14)
npm error A complete log of this run can be found in: /tmp/debug-0.log
"""


def test_a_failed_npm_is_one_sentence_with_the_cause(machine: Machine) -> None:
    """The cause is the third of its twenty lines, and `--silent` would hide them all."""
    (machine.folder / "fail-npm").write_text(NPM_ERRORS, encoding="utf-8")
    sentence, made = machine.errors("make", "setup").splitlines()
    assert sentence == (
        "setup: npm ci failed: "
        "FetchError: request to http://registry.test/cdk8s-cli failed, reason: refused"
    )
    assert made.startswith("make: ***")


def test_a_full_disk_does_not_count_as_set_up(machine: Machine) -> None:
    """On a full disk npm exits with 0 without its packages."""
    (machine.folder / "disk-is-full").touch()
    assert "is the disk full?" in machine.errors("make", "setup")
    (machine.folder / "disk-is-full").unlink()
    assert machine.run("make", "setup") != []
    assert machine.run("make", "setup") == []


def _listing(*arguments: str) -> str:
    return subprocess.run(
        ["make", "-C", REPOSITORY, "--no-print-directory", *arguments],
        env={"PATH": os.defpath},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_make_alone_lists_the_commands() -> None:
    """It is the first thing to try for somebody who forgot them."""
    assert _listing() == _listing("help")


@pytest.mark.parametrize("target", TARGETS)
def test_every_command_is_listed_with_what_it_does(target: str) -> None:
    """Nobody uses a target that is not listed."""
    assert re.search(rf"^  make {target} +\w.+$", _listing("help"), flags=re.MULTILINE)


def test_every_command_is_phony() -> None:
    """A file of the same name would disable the target; the tests above cover the phony ones."""
    assert sorted(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE)) == sorted(TARGETS)
