"""Markdown for GitHub: text stays text, fences end, and a comment is not too long."""

import re
from collections.abc import Sequence

LIMIT = 60_000
"""Characters: GitHub takes 65,536 in a comment or a description, which may say more than this."""
_GAP = "\n\n"
_HASH = re.compile(r"([0-9a-f]{12})[0-9a-f]{28,}")


def escaped(text: str) -> str:
    """A text of which Markdown makes nothing but text, on one line."""
    plain = re.sub(r"[\\`*_\[\]<>&|~]", r"\\\g<0>", " ".join(text.split()))
    # GitHub finds mentions and references when the backslashes are gone: a space of no width
    # keeps them apart from what they would mean.
    return re.sub("[@#]", r"\g<0>&#8203;", plain)


def fenced(text: str, *, language: str = "text") -> str:
    """A text as it is, in a fence that nothing in it can end.

    Args:
        text: The text.
        language: What GitHub takes it for; of `mermaid` it makes a picture.
    """
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def details(summary: str, body: str) -> str:
    """A body that is folded away.

    Args:
        summary: What is seen, as plain text.
        body: Markdown.
    """
    plain = summary.replace("&", "&amp;").replace("<", "&lt;")
    return f"<details><summary>{plain}</summary>\n\n{body}\n\n</details>"


def short(tag: str) -> str:
    """Return a tag with commits and digests cut to their first 12 digits."""
    return _HASH.sub(r"\1", tag)


def fitted(parts: Sequence[str], *, limit: int = LIMIT, elsewhere: str = "") -> str:
    """All parts that there is room for, whole and in their order, and how many there is none for.

    Args:
        parts: Markdown, each complete in itself.
        limit: The most characters of the result.
        elsewhere: Where the others are, as Markdown. Default: it is not said.
    """
    whole = _GAP.join(parts) + "\n"
    if len(whole) <= limit:
        return whole
    room = limit - len(_rest(len(parts), elsewhere)) - 1
    fitting = []
    for part in parts:
        if len(part) + len(_GAP) <= room:
            fitting.append(part)
            room -= len(part) + len(_GAP)
    return _GAP.join([*fitting, _rest(len(parts) - len(fitting), elsewhere)]) + "\n"


def _rest(number: int, elsewhere: str) -> str:
    return " ".join(filter(None, [f"Parts that have no room here: {number}.", elsewhere]))
