"""The README: what it shows is what there is."""

import re
import shlex

import pytest

from delivery.cli import main
from delivery.network import cluster, graph
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
    if re.match(r"(make|\.venv/bin/delivery) [a-z ]", line)
]


def test_the_picture_is_what_staging_runs() -> None:
    """A picture that nobody draws anew shows what once was."""
    drawn = graph.draw("staging", cluster.load(REPOSITORY))
    text = graph.FORMATS["mermaid"](graph.compare(None, drawn))
    assert f"```mermaid\n{text}```" in PAGES["README.md"]


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("make ")])
def test_every_delivery_command_is_one(command: str) -> None:
    """A newcomer copies it; click says whether the words fit."""
    _, name, *arguments = shlex.split(command)
    main.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_every_make_command_is_one(command: str) -> None:
    """As above."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in command.split()[1:]:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    """A page that was moved leaves its links behind."""
    folder = (REPOSITORY / page).parent
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGES[page]):
        assert (folder / link).exists(), link
