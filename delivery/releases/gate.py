"""Which commits of a branch its environment has proved, as Argo CD reports on GitHub."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.commands import gh
from delivery.errors import DeliveryError
from delivery.git import git
from delivery.manifests.applications import Environment
from delivery.text import short
from fraud_detection.commit_status import context

_PROVED = "success"
_LOOKED_AT = 100
"""Commits that one question to GitHub may be about; older ones are not offered."""
_QUESTION = """\
query($owner: String!, $repository: String!, $context: String!) {
  repository(owner: $owner, name: $repository) { %s }
}
fragment Reported on Commit {
  status { context(name: $context) { state description createdAt creator { login } } }
}
"""


class UnprovedError(DeliveryError):
    """The environment has not proved what would be promoted; the message says what it reports."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The newest report of an environment about a commit.

    Attributes:
        commit: The commit that Argo CD had synced.
        state: The state of the commit status, such as `success`.
        description: What Argo CD found.
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


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The commit to promote, and why.

    Attributes:
        commit: The newest one that counts as proved.
        proof: The report that proves it, of itself or of an older commit that has the same
            manifests; None if the environment reports nothing.
        waiting: The number of newer commits, which are not proved.
    """

    commit: str
    proof: Report | None = None
    waiting: int = 0


def newest_proved(
    repository: Path, environment: Environment, *, newest: str, promoted: str
) -> Offer:
    """Return the newest commit of a branch that its environment has proved.

    Commits in a row that have the same manifests are proved, or not, by the newest report about
    any of them: Argo CD does not report about each.

    Args:
        repository: The repository, which GitHub knows.
        environment: The environment of the branch.
        newest: Its newest commit.
        promoted: A commit whose history has been promoted.

    Raises:
        UnprovedError: If none is proved that is not promoted yet.
        CommandError: If GitHub does not answer.
    """
    if not environment.reports:
        return Offer(commit=newest)
    log = ("rev-list", "--first-parent", f"--max-count={_LOOKED_AT}")
    candidates = git(repository, *log, newest, f"^{promoted}").splitlines()
    if not candidates:
        return Offer(commit=newest)
    # One more: the newest promoted commit may have the same manifests.
    commits = git(repository, *log, newest).splitlines()[: len(candidates) + 1]
    found = reports(repository, environment, commits)
    changed = git(repository, *log, newest, "--", str(environment.folder)).splitlines()
    for group in _alike(commits, changed):
        report = next((found[each] for each in group if each in found), None)
        if report and report.state == _PROVED and group[0] in candidates:
            return Offer(commit=group[0], proof=report, waiting=commits.index(group[0]))
    known = next((str(found[each]) for each in commits if each in found), "no report yet")
    raise UnprovedError(
        f"{environment.name} has proved no commit of {environment.branch} that is not promoted "
        f"yet: {known}."
    )


def newest_report(repository: Path, environment: Environment, newest: str) -> Report | None:
    """Return the report about the newest commit of a branch that has one.

    Raises:
        CommandError: If GitHub does not answer.
    """
    log = ("rev-list", "--first-parent", f"--max-count={_LOOKED_AT}", newest)
    commits = git(repository, *log).splitlines()
    found = reports(repository, environment, commits)
    return next((found[each] for each in commits if each in found), None)


def reports(
    repository: Path, environment: Environment, commits: Sequence[str]
) -> dict[str, Report]:
    """Return what an environment reports about commits; those without a report are left out.

    Only the first hundred are asked about, and none if the environment does not report.

    Raises:
        CommandError: If GitHub does not answer.
    """
    commits = commits[:_LOOKED_AT] if environment.reports else []
    if not commits:
        return {}
    asked = " ".join(
        f'c{number}: object(oid: "{commit}") {{ ...Reported }}'
        for number, commit in enumerate(commits)
    )
    answer = gh(
        "api",
        "graphql",
        # gh replaces these by the repository of the remote.
        "--field=owner={owner}",
        "--field=repository={repo}",
        f"--raw-field=context={context(environment.name)}",
        f"--raw-field=query={_QUESTION % asked}",
        folder=repository,
    )
    objects = json.loads(answer)["data"]["repository"]
    found = {}
    for number, commit in enumerate(commits):
        match objects[f"c{number}"]:
            case {"status": {"context": {"state": state, "createdAt": time} as status}}:
                found[commit] = Report(
                    commit=commit,
                    state=state.lower(),
                    description=status["description"] or "",
                    time=time,
                    author=(status["creator"] or {}).get("login", "a removed account"),
                )
    return found


def _alike(commits: Sequence[str], changed: Sequence[str]) -> Iterator[list[str]]:
    """Yield the commits in groups, each of which begins with a change of the manifests."""
    group: list[str] = []
    for commit in commits:
        group.append(commit)
        if commit in changed:
            yield group
            group = []
    if group:
        yield group
