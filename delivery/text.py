"""Text for people: Markdown that GitHub renders as intended, and short names of commits."""

import json
import re
from collections.abc import Sequence
from html import escape

LIMIT = 60_000
"""Characters: GitHub accepts 65,536 in a comment or a description, which may have other parts."""
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that a terminal obeys or cannot show, without the joiners that people need."""
_BLOCK = re.compile(r"^([0-9]+(?=[.)]( |$))|(?=[-+=]))")
"""Start of a line that would be an item of a list, a rule, or what makes a heading of the last."""
_REFERENCES = re.compile(r"[@#]|:(?=//|[\w+\\-]+:)|www(?=\.)|GH-(?=[0-9])", re.IGNORECASE)
"""Where GitHub finds mentions, issues, addresses and emoji; in Markdown with its backslashes."""
_FOREIGN_TAG = re.compile(r"<(?!/?(br|code|details|span|summary)>)")
"""Start of HTML that our reports do not have, such as a comment or the end of a quotation."""
_GAP = "\n\n"
_COMMIT = re.compile(r"([0-9a-f]{12})[0-9a-f]{28,}")


def short(tag: str) -> str:
    """Return a tag with each commit and digest cut to its first 12 digits."""
    return _COMMIT.sub(r"\1", tag)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 days`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """Return a text with its control and bidirectional characters escaped.

    Line breaks and tabs stay.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def on_one_line(text: str) -> str:
    """Return a visible text on one line: a line break is escaped, too."""
    return visible(text).replace("\n", r"\n")


def dumped(value: object) -> str:
    """Return a value as JSON that a person can read: only what is not visible is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)


def escaped(text: str) -> str:
    """Return a text on one line, without anything that GitHub's Markdown would interpret."""
    plain = re.sub(r"[\\`*_\[\]<>&|~]", r"\\\g<0>", visible(" ".join(text.split())))
    return _unreferenced(_BLOCK.sub(r"\1\\", plain))


def code(text: str) -> str:
    """Return a text as code within a line, also in the cell of a table.

    Markdown's own notation has none for a backtick and a pipe in a cell.
    """
    return f"<code>{escaped(text)}</code>"


def _unreferenced(text: str) -> str:
    # GitHub looks for these after it has removed backslashes: a zero-width space prevents it, and
    # for formulas the element that its documentation names.
    return _REFERENCES.sub(r"\g<0>&#8203;", text).replace("$", "<span>$</span>")


def fenced(text: str, *, language: str = "text") -> str:
    """Return a text in a code fence that nothing in it can end; GitHub draws `mermaid`."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def details(summary: str, body: str) -> str:
    """Return a section of Markdown that is collapsed below its summary, a line of plain text."""
    plain = _unreferenced(escape(on_one_line(summary), quote=False))
    return f"<details><summary>{plain}</summary>\n\n{body}\n\n</details>"


def quoted(markdown: str) -> str:
    """Return Markdown of another program as a quotation, which nothing in it can end."""
    contained = _FOREIGN_TAG.sub("<\u200b", visible(markdown.strip()))
    return "\n".join(f"> {line}".rstrip() for line in contained.splitlines())


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
