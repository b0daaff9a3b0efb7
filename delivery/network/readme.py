"""The pictures of README.md, redrawn from dist."""

import re
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.manifests.applications import environments
from delivery.network import cluster, graph
from delivery.temporary import replace_file
from delivery.text import fenced

README = "README.md"
_PICTURE = re.compile(r"(<!-- delivery graph (\S+) -->\n)```mermaid\n.*?\n```", re.DOTALL)


class ReadmeError(DeliveryError):
    """README.md asks for a picture that cannot be drawn; the message says which."""


def redraw(repository: Path) -> bool:
    """Redraw each picture that follows a marker `<!-- delivery graph ENVIRONMENT -->`.

    Args:
        repository: Root of the working tree, with an up-to-date dist.

    Returns:
        Whether README.md has changed.

    Raises:
        ReadmeError: If a marker names an unknown environment.
    """
    page = repository / README
    if not page.exists():
        return False
    before = page.read_text(encoding="utf-8")
    folders = cluster.load(repository)
    known = {each.name for each in environments(repository)}

    def draw(block: re.Match[str]) -> str:
        marker, environment = block.groups()
        if environment not in known:
            raise ReadmeError(
                f"{README}: the marker of a picture names the unknown environment {environment!r}."
            )
        picture = graph.compare(None, graph.draw(environment, folders))
        return marker + fenced(graph.mermaid(picture).rstrip(), language="mermaid")

    after = _PICTURE.sub(draw, before)
    if after != before:
        replace_file(page, after)
    return after != before
