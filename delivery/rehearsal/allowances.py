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
_RELEASES = ",".join(f"key={key}" for key in ("Release", "Service", "Pin", "Unpin"))
"""Trailers of the commits that change images.yaml."""


class AllowanceError(DeliveryError):
    """An allowance cannot be read; the message quotes it."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A blocking verdict on an object that somebody accepts, for a reason."""

    kind: str
    name: str
    verdict: Verdict
    reason: str

    @classmethod
    def parse(cls, text: str, reason: str) -> "Allowance":
        """Read an allowance `KIND/NAME=VERDICT`, the verdict with dashes.

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
    """The text after `KEYWORD` in a commit message, with the commit (12 digits) and its author."""

    commit: str
    author: str
    text: str

    def read(self, environments: Collection[str]) -> tuple[str, Allowance]:
        """Return the environment and what the line allows there.

        A line must name one of the environments, as what suits one may not suit another.

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

    Any line of a message counts, not only the trailers: a squash moves them up. The commits of
    `delivery bump`, `hold`, `pin` and their opposites allow nothing: they quote a reason.

    Raises:
        GitError: If the base does not exist.
    """
    form = ("--abbrev=12", f"--format=%h%x00%an%x00%(trailers:{_RELEASES},keyonly)%x00%B%x00")
    fields = iter(git(repository, "log", *form, f"{base}..HEAD").split("\0"))
    return [
        Line(commit.strip(), author, text)
        for commit, author, release, message in zip(fields, fields, fields, fields, strict=False)
        if not release
        for text in _LINE.findall(message)
    ]
