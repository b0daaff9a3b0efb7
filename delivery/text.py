"""Text for people: Markdown that GitHub renders as intended, and short names of commits."""

import re
from collections.abc import Sequence

LIMIT = 60_000
"""Characters: GitHub accepts 65,536 in a comment or a description, which may have other parts."""
_GAP = "\n\n"
_COMMIT = re.compile(r"([0-9a-f]{12})[0-9a-f]{28,}")


def short(tag: str) -> str:
    """Return a tag with each commit and digest cut to its first 12 digits."""
    return _COMMIT.sub(r"\1", tag)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 days`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def escaped(text: str) -> str:
    """Return a text on one line, without anything that Markdown would interpret."""
    plain = re.sub(r"[\\`*_\[\]<>&|~]", r"\\\g<0>", " ".join(text.split()))
    # GitHub looks for mentions and references after it has removed the backslashes; a zero-width
    # space prevents both.
    return re.sub("[@#]", r"\g<0>&#8203;", plain)


def fenced(text: str, *, language: str = "text") -> str:
    """Return a text in a code fence that nothing in it can end; GitHub draws `mermaid`."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"


def details(summary: str, body: str) -> str:
    """Return a section of Markdown that is collapsed below its summary, a line of plain text."""
    plain = summary.replace("&", "&amp;").replace("<", "&lt;")
    return f"<details><summary>{plain}</summary>\n\n{body}\n\n</details>"


def fitted(sections: Sequence[str], *, limit: int = LIMIT, elsewhere: str = "") -> str:
    """Return the sections that fit, whole and in order, and the number of those omitted.

    Each section is Markdown, complete in itself; `limit` is in characters. `elsewhere` says, as
    Markdown, where to find what is omitted.
    """
    whole = _GAP.join(sections) + "\n"
    if len(whole) <= limit:
        return whole
    room = limit - len(_omitted(len(sections), elsewhere)) - 1
    fitting = []
    for section in sections:
        if len(section) + len(_GAP) <= room:
            fitting.append(section)
            room -= len(section) + len(_GAP)
    return _GAP.join([*fitting, _omitted(len(sections) - len(fitting), elsewhere)]) + "\n"


def _omitted(number: int, elsewhere: str) -> str:
    return f"{counted(number, 'section')} omitted for length. {elsewhere}".rstrip()
