"""The command line: what each command says, and the exit code that a workflow can rely on."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from delivery.cli import main
from delivery.manifests import dist
from delivery.manifests.dist import Finding, Flaw, RenderError
from delivery.releases import promotion
from repository import REPOSITORY


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(main, "delivery"))
README = {
    code: re.findall(r"`([a-z]+)`(?=[,:])", meaning)
    for code, meaning in re.findall(
        r"^\| ([0-9]+) \| (.*) \|$", (REPOSITORY / "README.md").read_text("utf-8"), re.MULTILINE
    )
}
"""The commands that have an exit code, by code; none: all of them."""


def run(*arguments: str, terminal_width: int | None = None) -> Result:
    """Run a command as if it was typed."""
    return CliRunner().invoke(main, arguments, terminal_width=terminal_width)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working tree in which the command is typed."""
    (tmp_path / "cdk8s.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_summary(name: str) -> None:
    """The list of commands shows nothing else of it."""
    assert COMMANDS[name].get_short_help_str()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    """The quickest way to learn a command is to see it typed."""
    lines = run(*name.split()[1:], "--help").output.splitlines()
    example = lines[lines.index("  Example:") + 1]
    assert example.startswith(f"    {name}")


def exit_codes(*arguments: str) -> list[str]:
    """Return the exit codes in the help of a command."""
    return re.findall(r"^    ([0-9]+)  ", run(*arguments, "--help").output, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_the_exit_codes_of_the_command(name: str) -> None:
    """A workflow decides by them; README's table of all of them must agree."""
    [command] = name.split()[1:]
    source = inspect.getsource(inspect.unwrap(main.commands[command].callback or main))
    proof = ["1"] if "sys.exit(1)" in source else []
    assert exit_codes(command) == proof + [code for code in README if command in README[code]]


def test_help_has_the_exit_codes_that_all_commands_share() -> None:
    """The help of a command does not repeat them."""
    assert exit_codes() == [code for code in README if not README[code]]


def test_summaries_fit_a_terminal() -> None:
    """A cut sentence in the list of commands explains nothing."""
    listed = run("--help", terminal_width=80).output.partition("Commands:")[2]
    assert len(listed.splitlines()) > len(COMMANDS)
    assert "..." not in listed


def test_the_version_is_shown() -> None:
    """The first question of whoever reports a bug."""
    assert re.fullmatch(r"\S+ \d+\.\d+\.\d+\n", run("--version").output)


def test_a_bug_is_neither_polite_nor_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own exit status is 1, which would mean "blocked"."""

    def fail(_: Path) -> list[str]:
        raise ValueError("injected")

    monkeypatch.setattr(dist, "synthesize", fail)
    result = run("synth")
    assert result.exit_code == 70
    assert "ValueError: injected" in result.stderr


def test_an_interrupt_has_the_exit_code_of_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that runs it can tell Ctrl-C from a finding."""

    def interrupt(_: Path) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(dist, "synthesize", interrupt)
    assert run("synth").exit_code == 130


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause, without a traceback."""

    def fail(_: Path) -> list[str]:
        raise OSError(28, "No space left on device", "dist/dev")

    monkeypatch.setattr(dist, "synthesize", fail)
    result = run("synth")
    assert (result.exit_code, result.stderr) == (2, "Error: No space left on device: dist/dev\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a device that is always full")
def test_a_full_standard_output_is_one_sentence() -> None:
    """A truncated report would be taken for the whole one."""
    done = subprocess.run(
        ["sh", "-c", '"$0" graph > /dev/full', Path(sys.executable).with_name("delivery")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "Error: No space left on device\n")


def test_synth_says_how_much_it_rendered(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line is enough; Git shows the rest."""
    rendered = {repository: ["dist/dev/a.yaml", "dist/dev/b.yaml"]}
    monkeypatch.setattr(dist, "synthesize", rendered.__getitem__)
    result = run("synth")
    assert (result.exit_code, result.output) == (0, "dist: 2 files rendered\n")


def test_synth_fails_with_the_sentence_of_the_render(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a trace nor a second message hides it."""

    def fail(_: Path) -> list[str]:
        raise RenderError("images.yaml:3: wrong.")

    monkeypatch.setattr(dist, "synthesize", fail)
    result = run("synth")
    assert (result.exit_code, result.stderr) == (2, "Error: images.yaml:3: wrong.\n")
    assert result.stdout == ""


def test_a_command_works_in_any_folder_of_the_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Git does."""
    monkeypatch.setattr(dist, "synthesize", {repository: ["dist/dev/a.yaml"]}.__getitem__)
    folder = repository / "constructs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run("synth").exit_code == 0


def test_a_command_outside_of_the_repository_says_so(
    repository: Path,
) -> None:
    """The cdk8s command line would print its help."""
    (repository / "cdk8s.yaml").unlink()
    result = run("synth")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: There is no cdk8s.yaml here or above: change to the repository.\n"
    )


def test_a_command_in_a_folder_that_was_removed_says_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell stays where a switch of branches took the folder away."""
    folder = repository / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert run("synth").stderr.startswith("Error: There is no cdk8s.yaml here or above")


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch) -> None:
    """A render that works."""

    @contextmanager
    def rendered(repository: Path) -> Iterator[Path]:
        yield repository / "fresh"

    monkeypatch.setattr(dist, "rendered", rendered)
    monkeypatch.setattr(promotion, "altered", lambda _: [])


@pytest.mark.usefixtures("render")
def test_check_fails_for_another_tree_than_was_reviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It renders, but nobody has read or rehearsed it."""
    monkeypatch.setattr(dist, "prove", lambda *_: [])
    monkeypatch.setattr(promotion, "altered", lambda _: ["images.yaml"])
    result = run("check")
    assert result.exit_code == 1
    assert "This is not the promotion that was reviewed: images.yaml.\n" in result.stderr


@pytest.mark.usefixtures("render")
def test_check_succeeds_when_nothing_is_found(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compares the render with the working tree in which it was typed."""
    proofs: dict[tuple[Path, Path], list[Finding]] = {(repository, repository / "fresh"): []}
    monkeypatch.setattr(dist, "prove", lambda *arguments: proofs[arguments])
    (repository / "images.yaml").write_text("a: {repository: r, tag: t, digest: d}", "utf-8")
    result = run("check")
    assert (result.exit_code, result.output) == (0, "dist is proved\n")


@pytest.mark.usefixtures("render")
def test_check_names_images_without_a_digest(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their tags can be moved; the proof of dist is another question."""
    monkeypatch.setattr(dist, "prove", lambda *_: [])
    (repository / "images.yaml").write_text("a: {repository: r, tag: t}", "utf-8")
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr == "No digest yet: a; run `delivery refresh`.\n"


@pytest.mark.usefixtures("render")
def test_check_names_every_finding_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader sees all that is wrong at once, then what to do."""
    findings = [
        Finding(path="dist/dev/a.yaml", flaw=Flaw.STALE),
        Finding(path="dist/dev/b.yaml", flaw=Flaw.MISSING),
    ]
    monkeypatch.setattr(dist, "prove", lambda *_: findings)
    result = run("check")
    assert result.exit_code == 1
    assert result.stdout == (
        "dist/dev/a.yaml is not what the sources render\ndist/dev/b.yaml is missing\n"
    )
    assert result.stderr == ("dist does not match its sources: run `make synth` and commit it.\n")


def test_check_fails_with_the_sentence_of_the_render(monkeypatch: pytest.MonkeyPatch) -> None:
    """A render that fails proves nothing."""

    def fail(_: Path) -> None:
        raise RenderError("images.yaml:3: wrong.")

    monkeypatch.setattr(dist, "rendered", fail)
    result = run("check")
    assert (result.exit_code, result.stderr) == (2, "Error: images.yaml:3: wrong.\n")
