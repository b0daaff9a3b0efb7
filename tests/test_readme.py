"""The documents: what they show exists, and every command in them can be typed."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from delivery.cli import main
from delivery.network.readme import ReadmeError, redraw
from repository import REPOSITORY

PAGES = {
    page.relative_to(REPOSITORY).as_posix(): page.read_text(encoding="utf-8")
    for page in (
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *sorted((REPOSITORY / "docs").rglob("*.md")),
    )
}
COMMANDS = [
    line.partition("#")[0].strip()
    for text in PAGES.values()
    for line in text.splitlines()
    if re.match(r"(make|delivery) [a-z ]", line)
]


@pytest.fixture
def working_tree(tmp_path: Path) -> Path:
    """A working tree with the README and dist."""
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    shutil.copytree(REPOSITORY / "dist", tmp_path / "dist")
    return tmp_path


def test_the_picture_is_what_dist_runs(working_tree: Path) -> None:
    """A reader believes it; where this fails, `make synth` redraws it."""
    assert "<!-- delivery graph " in PAGES["README.md"]
    assert not redraw(working_tree)


def test_an_outdated_picture_is_redrawn(working_tree: Path) -> None:
    """Nobody should have to paste it."""
    page = working_tree / "README.md"
    page.write_text(page.read_text("utf-8").replace("    n_redis(", "    n_old("), "utf-8")
    assert redraw(working_tree)
    assert page.read_text("utf-8") == PAGES["README.md"]


def test_a_picture_of_an_unknown_environment_is_an_error(working_tree: Path) -> None:
    """A renamed environment would otherwise leave an empty picture."""
    page = working_tree / "README.md"
    page.write_text(PAGES["README.md"].replace("graph staging -->", "graph stagin -->"), "utf-8")
    with pytest.raises(ReadmeError, match="unknown environment 'stagin'"):
        redraw(working_tree)


def test_a_working_tree_without_a_readme_has_no_picture(tmp_path: Path) -> None:
    """`make synth` renders dist in any case."""
    assert not redraw(tmp_path)


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("make ")])
def test_every_delivery_command_is_one(command: str) -> None:
    """A newcomer copies it; click refuses what does not exist."""
    _, name, *arguments = shlex.split(command)
    main.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_every_make_command_is_one(command: str) -> None:
    """A newcomer copies it; make refuses what does not exist."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in command.split()[1:]:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    """A moved page leaves its links behind."""
    folder = (REPOSITORY / page).parent
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGES[page]):
        assert (folder / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_heading_leads_to_one(page: str) -> None:
    """A renamed heading leaves its links behind, and GitHub shows the top of the page."""
    folder = (REPOSITORY / page).parent
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", PAGES[page]):
        target = (folder / link).resolve() if link else REPOSITORY / page
        headings = re.findall(
            r"^#+ (.*)$", PAGES[target.relative_to(REPOSITORY).as_posix()], re.MULTILINE
        )
        slugs = [re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings]
        assert anchor in slugs, f"{link}#{anchor}"
