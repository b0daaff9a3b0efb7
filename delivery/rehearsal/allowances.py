"""Accepted verdicts: given for one rehearsal, or recorded in a commit."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from delivery.errors import DeliveryError
from delivery.git import git
from delivery.manifests.fields import differences
from delivery.manifests.tree import Desired
from delivery.rehearsal.verdicts import Verdict

KEYWORD = "Rehearsal-Allow"
"""Start of the line in a commit message that records an allowance."""
_LINE = re.compile(rf"^{KEYWORD}:(.*)$", re.MULTILINE)
_ALLOWED = re.compile(r"(\S+/\S+)=([a-z-]+):([0-9a-f]{12})")
_BUILD = re.compile(r'("image": "[^"]*):[0-9a-f]{40}(@sha256:[0-9a-f]{64})?"')
"""Image of ours in JSON: its tag is the commit that was built."""
_RELEASES = ",".join(f"key={key}" for key in ("Release", "Service", "Pin", "Unpin"))
"""Trailers of the commits that change images.yaml."""


class AllowanceError(DeliveryError):
    """An allowance cannot be read; the message quotes it."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A blocking verdict on one change of an object that somebody accepts, for a reason.

    Attributes:
        name: The object, the verdict and the change, as `Finding.allowance` writes them.
        reason: Why, and by whom.
        commit: First twelve digits of the commit that records it; empty if none does.
    """

    name: str
    reason: str
    commit: str = ""

    @classmethod
    def parse(cls, text: str, reason: str, commit: str = "") -> "Allowance":
        """Read an allowance `OBJECT=VERDICT:HASH`, as the report prints it.

        Raises:
            AllowanceError: If the text is malformed, or the verdict never blocks.
        """
        verdicts = [verdict.slug for verdict in Verdict if verdict.blocks]
        found = _ALLOWED.fullmatch(text)
        if not (found and found[2] in verdicts):
            raise AllowanceError(
                f"Invalid allowance {text!r}: write OBJECT=VERDICT:HASH as the report does, where "
                f"VERDICT is one of {', '.join(verdicts)}."
            )
        return cls(name=text, reason=reason, commit=commit)


def fingerprint(was: Desired | None, wanted: Desired | None, risks: Sequence[str] = ()) -> str:
    """Return twelve digits for a change of a manifest and the risks to data that it brings.

    They are the same wherever the same fields change in the same way, whatever the API server. The
    build of our own images does not count, nor do the values of Secrets.
    """
    before, after = (
        json.loads(_BUILD.sub(r'\1"', json.dumps(each.manifest if each else {})))
        for each in (was, wanted)
    )
    fields = [(each.path, each.old, each.new) for each in differences(before, after)]
    text = json.dumps([fields, list(risks)], sort_keys=True)
    return sha256(text.encode()).hexdigest()[:12]


class Line(NamedTuple):
    """The text after `KEYWORD` in a commit message, with the commit (12 digits) and its author.

    Anybody can choose the author's name, so it says whether the commit is signed.
    """

    commit: str
    author: str
    text: str

    def read(self, environments: Collection[str]) -> tuple[str, Allowance]:
        """Return the environment and what the line allows there.

        A line must name one of the environments, as what suits one may not suit another.

        Raises:
            AllowanceError: If the line is not `ENVIRONMENT OBJECT=VERDICT:HASH REASON`.
        """
        match self.text.split(maxsplit=2):
            case [environment, allowed, reason] if environment in environments:
                by = f"{reason} ({self.author}, {self.commit})"
                return environment, Allowance.parse(allowed, by, self.commit)
        raise AllowanceError(
            f"Invalid allowance {self.text.strip()!r}: write `{KEYWORD}: ENVIRONMENT "
            f"OBJECT=VERDICT:HASH REASON` on one line, where ENVIRONMENT is one of "
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
        Line(commit.strip(), f"{author}, {_signature(repository, commit.strip())}", text)
        for commit, author, release, message in zip(fields, fields, fields, fields, strict=False)
        if not release
        for text in _LINE.findall(message)
    ]


def _signature(repository: Path, commit: str) -> str:
    """Tell whether a commit is signed; whose key that is depends on the keyring of the machine."""
    header, _, _ = git(repository, "cat-file", "commit", commit).partition("\n\n")
    return "signed, not verified here" if "\ngpgsig" in header else "unsigned"
