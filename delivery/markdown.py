"""Markdown for GitHub: text stays text, fences end, and a comment is not too long."""

import re
from collections.abc import Sequence

LIMIT = 60_000
"""Characters: GitHub takes 65,536 in a comment or a description, which may say more than this."""
_GAP = "\n\n"


def escaped(text: str) -> str:
    """A text of which Markdown makes nothing but text, on one line."""
    plain = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>|~#@])", r"\\\1", plain)


def fenced(text: str) -> str:
    """A text as it is, in a fence that nothing in it can end."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}text\n{text}\n{fence}"


def details(summary: str, body: str) -> str:
    """A body that is folded away.

    Args:
        summary: What is seen, as plain text.
        body: Markdown.
    """
    plain = summary.replace("&", "&amp;").replace("<", "&lt;")
    return f"<details><summary>{plain}</summary>\n\n{body}\n\n</details>"


def fitted(parts: Sequence[str], *, limit: int = LIMIT) -> str:
    """As many whole parts as there is room for, in their order, and how many there is none for.

    Args:
        parts: Markdown, each complete in itself.
        limit: The most characters of the result.
    """
    fitting: list[str] = []
    for number, part in enumerate(parts):
        rest = f"{len(parts) - number} more parts have no room here; the whole text is kept."
        used = sum(len(each) + len(_GAP) for each in fitting)
        last = number == len(parts) - 1
        if used + len(part) + (0 if last else len(rest) + len(_GAP)) + 1 > limit:
            return _GAP.join([*fitting, rest]) + "\n"
        fitting.append(part)
    return _GAP.join(fitting) + "\n"
