"""Every command of the documents that changes or asks a remote, run against one with rulesets."""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest
from click import ClickException
from click.testing import CliRunner

import remotes
from delivery.cli import main
from delivery.releases import digests, landing, promotion
from delivery.releases.images import images_of
from fraud_detection.platform.image import Image
from fraud_detection.repositories import APPLICATION
from github import GitHub
from promoting import bump, promote
from remotes import Remote, run_git
from repository import REPOSITORY
from rulesets import opened, protect

PAGES = ("README.md", "docs/github.md", "CONTRIBUTING.md")
ELSEWHERE = {
    "check": "tests/test_render_environment.py",
    "connections": "tests/network",
    "control-plane": "tests/control_plane",
    "demo": "tests/clusters",
    "fork": "tests/releases/test_fork.py",
    "graph": "tests/network",
    "kind": "tests/clusters",
    "refresh": "tests/releases/test_digests.py",
    "rehearse": "tests/cluster",
    "resolve": "tests/releases/test_resolve.py",
    "synth": "tests/test_main.py",
}
"""Commands that ask no remote for releases, and where they are run."""


def documented(page: str) -> list[str]:
    """Return the commands of a page, those in a sentence included, without placeholders."""
    text = (REPOSITORY / page).read_text(encoding="utf-8").replace("\\\n", " ")
    name = r"(?:delivery|git) [a-z]"
    typed = re.findall(rf"^ *({name}[^#\n]*)|`({name}[^`\n]*)`", text, re.MULTILINE)
    found = [(block or inline).strip() for block, inline in typed]
    return [each for each in dict.fromkeys(found) if not re.search(r"\b[A-Z]{3,}\b", each)]


COMMANDS = [
    command for page in PAGES for command in documented(page) if command.split()[1] not in ELSEWHERE
]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("delivery ")])
def test_a_documented_command_is_complete(command: str) -> None:
    """Readers paste it. Prose that only names a command must not look like one."""
    name, *arguments = shlex.split(command)[1:]
    try:
        main.commands[name].make_context(name, arguments)
    except ClickException as error:
        pytest.fail(f"{command}: {error.format_message()}")


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Create a protected remote with two promoted releases, whose clone is the current folder."""
    remote = Remote.create(tmp_path)
    for tag in ("a" * 40, "b" * 40):
        bump(remote, tag)
        promote(remote)
    run_git(remote.clone, "switch", "--quiet", "--create", "main", "origin/main")
    protect(remote)
    monkeypatch.chdir(remote.clone)
    # What renders and what proves are tested elsewhere, and need a network.
    monkeypatch.setattr(landing, "land", partial(landing.land, render=remotes.render))
    prepare = partial(promotion.prepare, render=remotes.render)
    monkeypatch.setattr(promotion, "prepare", prepare)

    def proved(image: Image, **_: object) -> Image:
        return image

    monkeypatch.setattr(digests, "proved", proved)
    return remote


@pytest.mark.usefixtures("git_environment")
def test_every_documented_command_does_what_it_says(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, by a person who may push nothing; each pull request is reviewed and merged.

    A change that landed nowhere would look the same if only the exit code counted.
    """
    github = GitHub.of(remote, tmp_path / "gh", monkeypatch)
    github.publish(repository=APPLICATION.removeprefix("https://github.com/"))
    said = {}
    for command in COMMANDS:
        said[command] = run(remote, command)
        for number in re.findall(r"^Opened \S+/pull/(\d+)\b", said[command], re.MULTILINE):
            if "promote" not in command:
                with opened(remote):
                    github.merge(remote.clone, int(number))
    changed = {command: text for command, text in said.items() if lands(command)}
    assert len(changed) >= 6
    assert [
        each for each, text in changed.items() if "Opened https://github.test/" not in text
    ] == []
    [history] = [text for command, text in said.items() if "history payment-api" in command]
    [bumped] = [command.split()[3] for command in COMMANDS if command.startswith("delivery bump")]
    assert bumped[:12] in history
    assert images_of(remote.bare, "develop").services["payment-api"].image.tag == bumped
    staging = images_of(remote.bare, "main").services
    assert (staging["payment-api"].pins["staging"].tag, staging["redis"].pins) == ("a" * 40, {})


def run(remote: Remote, command: str) -> str:
    """Type a command, which must succeed, and return what it prints."""
    program, *arguments = shlex.split(command)
    if program == "git":
        return run_git(remote.clone, *arguments)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, f"{command}\n{done.output}"
    return done.stdout


def lands(command: str) -> bool:
    """Return whether a command makes a commit for a branch."""
    program, name, *_ = command.split()
    parameters = main.commands[name].params if program == "delivery" else []
    return {"bundle", "branch"} <= {str(each.name) for each in parameters}


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_a_command(command: str) -> None:
    """A renamed one would no longer be left out, nor run."""
    assert command in main.commands
    assert (REPOSITORY / ELSEWHERE[command]).exists()
