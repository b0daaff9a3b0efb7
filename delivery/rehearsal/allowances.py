"""Accepted verdicts: given for one rehearsal, or recorded in a commit."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from delivery.errors import DeliveryError
from delivery.git import git
from delivery.rehearsal.verdicts import Verdict

KEYWORD = "Rehearsal-Allow"
"""Start of the line in a commit message that records an allowance."""
_LINE = re.compile(rf"^{KEYWORD}:(.*)$", re.MULTILINE)


class AllowanceError(DeliveryError):
    """An allowance cannot be read; the message quotes it."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A blocking verdict that somebody accepts.

    Attributes:
        kind: Kind of the object.
        name: Name of the object.
        verdict: The accepted verdict.
        reason: Why it is acceptable.
    """

    kind: str
    name: str
    verdict: Verdict
    reason: str

    @classmethod
    def parse(cls, text: str, reason: str) -> "Allowance":
        """Read an allowance as typed on a command line.

        Args:
            text: `KIND/NAME=VERDICT`, the verdict with dashes.
            reason: Why it is acceptable.

        Raises:
            AllowanceError: If the text is malformed, or the verdict never blocks.
        """
        named, _, typed = text.partition("=")
        kind, _, name = named.partition("/")
        verdicts = {verdict.slug: verdict for verdict in Verdict if verdict.blocks}
        if not (kind and name and typed in verdicts):
            raise AllowanceError(
                f"Invalid allowance {text!r}: write KIND/NAME=VERDICT, where VERDICT is one of "
                f"{', '.join(verdicts)}."
            )
        return cls(kind=kind, name=name, verdict=verdicts[typed], reason=reason)


class Line(NamedTuple):
    """A line of a commit message that starts with `KEYWORD`.

    Attributes:
        commit: Abbreviated hash of the commit, in twelve digits.
        author: Author of the commit.
        text: Rest of the line.
    """

    commit: str
    author: str
    text: str

    def read(self, environments: Collection[str]) -> tuple[str, Allowance]:
        """Return the environment and what the line allows there.

        Args:
            environments: All environments; a line must name one, as what suits one may not suit
                another.

        Raises:
            AllowanceError: If the line is not `ENVIRONMENT KIND/NAME=VERDICT REASON`.
        """
        match self.text.split(maxsplit=2):
            case [environment, allowed, reason] if environment in environments:
                by = f"{reason} ({self.author}, {self.commit})"
                return environment, Allowance.parse(allowed, by)
        raise AllowanceError(
            f"Invalid allowance {self.text.strip()!r}: write `{KEYWORD}: ENVIRONMENT "
            f"KIND/NAME=VERDICT REASON` on one line, where ENVIRONMENT is one of "
            f"{', '.join(environments)}."
        )


def recorded(repository: Path, base: str) -> Sequence[Line]:
    """Return the allowances that commits since a base record, the newest commit first.

    Any line of a message counts, not only the trailers: a squash moves them up.

    Args:
        repository: Root of the Git working tree.
        base: The base commit.

    Raises:
        GitError: If the commit does not exist.
    """
    form = ("--abbrev=12", "--format=%h%x00%an%x00%B%x00")
    fields = iter(git(repository, "log", *form, f"{base}..HEAD").split("\0"))
    return [
        Line(commit.strip(), author, text)
        for commit, author, message in zip(fields, fields, fields, strict=False)
        for text in _LINE.findall(message)
    ]
