"""Commit statuses on GitHub."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.commands import gh
from delivery.text import short

MOST = 100
"""Commits that one question to GitHub may be about."""
_QUESTION = """\
query($owner: String!, $repository: String!) {
  repository(owner: $owner, name: $repository) { %s }
}
fragment Reported on Commit {
  status { contexts { context state description createdAt creator { login } } }
}
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The newest commit status of one context.

    Attributes:
        commit: The commit, such as one that Argo CD had synced.
        state: The state, such as `success`.
        description: What was found.
        time: When, as GitHub writes it.
        author: Login of whoever set the status: anybody with write access can.
    """

    commit: str
    state: str
    description: str
    time: str
    author: str

    def __str__(self) -> str:
        """Describe it on one line."""
        return (
            f"{self.state} for {short(self.commit)} ({self.description}), "
            f"reported {self.time} by {self.author}"
        )


def ask(
    folder: Path, commits: Sequence[str], *, repository: str | None = None
) -> dict[str, dict[str, Report]]:
    """Return the commit statuses of at most `MOST` commits, by commit and context.

    Commits that GitHub does not know are left out.

    Args:
        folder: A clone, whose remote GitHub knows.
        commits: Their full SHAs.
        repository: OWNER/NAME of another repository. Default: that of the remote.

    Raises:
        CommandError: If GitHub does not answer, or not about this repository.
    """
    if not commits:
        return {}
    asked = " ".join(
        f'c{number}: object(oid: "{commit}") {{ ...Reported }}'
        for number, commit in enumerate(commits)
    )
    if repository is None:
        # gh replaces these by the repository of the remote.
        names = ["--field=owner={owner}", "--field=repository={repo}"]
    else:
        owner, _, name = repository.partition("/")
        names = [f"--raw-field=owner={owner}", f"--raw-field=repository={name}"]
    answer = gh("api", "graphql", *names, f"--raw-field=query={_QUESTION % asked}", folder=folder)
    objects = json.loads(answer)["data"]["repository"]
    return {
        commit: {
            each["context"]: Report(
                commit=commit,
                state=each["state"].lower(),
                description=each["description"] or "",
                time=each["createdAt"],
                author=(each["creator"] or {}).get("login", "a removed account"),
            )
            for each in (found.get("status") or {"contexts": []})["contexts"]
        }
        for number, commit in enumerate(commits)
        if (found := objects[f"c{number}"]) is not None
    }
