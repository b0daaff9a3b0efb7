"""Blocking verdicts that somebody accepts: typed for one rehearsal, or recorded in a commit."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from delivery.git import git
from delivery.rehearsal.verdicts import Verdict

KEYWORD = "Rehearsal-Allow"
"""Begins the line of a commit's message that records an allowance."""
_LINE = re.compile(rf"^{KEYWORD}:(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A verdict that somebody accepts.

    Attributes:
        kind: Of the object.
        name: Of the object.
        verdict: The verdict.
        reason: Why.
    """

    kind: str
    name: str
    verdict: Verdict
    reason: str

    @classmethod
    def parse(cls, text: str, reason: str) -> "Allowance":
        """Read it as it is typed on a command line.

        Args:
            text: `KIND/NAME=VERDICT`, the verdict with dashes.
            reason: Why.

        Raises:
            ValueError: If the text is something else, or the verdict never blocks.
        """
        named, _, typed = text.partition("=")
        kind, _, name = named.partition("/")
        verdicts = {verdict.slug: verdict for verdict in Verdict if verdict.blocks}
        if not (kind and name and typed in verdicts):
            raise ValueError(f"{text!r} is not KIND/NAME=VERDICT with one of {', '.join(verdicts)}")
        return cls(kind=kind, name=name, verdict=verdicts[typed], reason=reason)


class Line(NamedTuple):
    """A line of a commit's message that begins with `KEYWORD`.

    Attributes:
        commit: Which commit, in twelve digits.
        author: Who wrote it.
        text: What follows the keyword.
    """

    commit: str
    author: str
    text: str

    def read(self, environments: Collection[str]) -> tuple[str, Allowance]:
        """The environment that it is for, and what it allows there.

        Args:
            environments: All that there are: what is well for one may not be for another.

        Raises:
            ValueError: If it is not `ENVIRONMENT KIND/NAME=VERDICT REASON`.
        """
        match self.text.split(maxsplit=2):
            case [environment, allowed, reason] if environment in environments:
                by = f"{reason} ({self.author}, {self.commit})"
                return environment, Allowance.parse(allowed, by)
        raise ValueError(
            f"{KEYWORD} needs an environment ({', '.join(environments)}), KIND/NAME=VERDICT and a "
            f"reason, on one line; this has {self.text.strip() or 'nothing'!r}"
        )


def recorded(repository: Path, base: str) -> Sequence[Line]:
    """The lines in which commits since a base record allowances, the newest commit first.

    Any line of a message counts, not only those of its last paragraph: a squash moves them.

    Args:
        repository: Root of the Git working tree.
        base: The commit.

    Raises:
        GitError: If there is no such commit.
    """
    form = ("--abbrev=12", "--format=%h%x00%an%x00%B%x00")
    told = iter(git(repository, "log", *form, f"{base}..HEAD").split("\0"))
    return [
        Line(commit.strip(), author, text)
        for commit, author, message in zip(told, told, told, strict=False)
        for text in _LINE.findall(message)
    ]
