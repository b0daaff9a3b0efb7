"""Which commits of a branch its environment has proved, as Argo CD reports on GitHub."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery.errors import DeliveryError
from delivery.git import git
from delivery.manifests.applications import Environment
from delivery.releases.reports import MOST, Report, ask
from fraud_detection.commit_status import context

_PROVED = "success"


class UnprovedError(DeliveryError):
    """The environment has not proved what would be promoted; the message says what it reports."""


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
    log = ("rev-list", "--first-parent", f"--max-count={MOST}")
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
    log = ("rev-list", "--first-parent", f"--max-count={MOST}", newest)
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
    asked = commits[:MOST] if environment.reports else []
    name = context(environment.name)
    found = ask(repository, asked)
    return {commit: each[name] for commit, each in found.items() if name in each}


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
