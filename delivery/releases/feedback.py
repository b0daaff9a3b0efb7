"""What the application's own commits say: where each one runs, or why it does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, methodcaller
from pathlib import Path

from delivery.git import is_ancestor
from delivery.manifests.applications import Environment, environments
from delivery.releases.chain import fetch
from delivery.releases.gate import newest_report
from delivery.releases.images import images_of
from delivery.releases.provenance import is_ours
from delivery.releases.reports import MOST, Report, ask
from delivery.releases.timeline import State, changes, timeline
from delivery.text import on_one_line, short
from fraud_detection.images import Release

_LONGEST = 140
"""Characters that GitHub takes as a description."""


@dataclass(frozen=True, kw_only=True)
class CommitStatus:
    """A commit status to set in the application repository.

    Attributes:
        commit: Full SHA, which is the tag of the image.
        context: The service and the environment, such as `payment-api/dev`.
        state: One of GitHub's states, such as `success`.
        description: One line.
        target_url: The commit that gave the environment what it runs now.
    """

    commit: str
    context: str
    state: str
    description: str
    target_url: str


def missing(repository: Path, *, remote: str, application: str, address: str) -> list[CommitStatus]:
    """Return the statuses that differ from those that the application's commits have.

    The build that is released last has one for each environment. An older one gets another where it
    still runs, was taken back, or waits for what will not happen any more.

    Args:
        repository: The repository.
        remote: Name of the remote.
        application: OWNER/NAME of the application repository on GitHub.
        address: Address of this repository on GitHub.

    Raises:
        ChainError: If the clone is shallow.
        GitError: If the remote cannot be reached.
        ImagesError: If the images.yaml of a branch is wrong.
        TreeError: If `dist/argocd` is missing or damaged.
        CommandError: If GitHub does not answer, or does not show the application repository.
    """
    known = environments(repository)
    heads = fetch(repository, remote, known)
    places = [
        _Place.of(repository, each, heads[each.branch]) for each in known if each.branch in heads
    ]
    services = _builds(places[0]) if places else {}
    looked_at = MOST // max(1, len(services))
    commits = {build for builds in services.values() for build in builds[:looked_at]}
    known_there = ask(repository, sorted(commits), repository=application)
    return [
        CommitStatus(
            commit=build,
            context=context,
            state=found.state,
            description=found.description,
            target_url=f"{address}/commit/{found.since}",
        )
        for service, builds in services.items()
        for build in builds[:looked_at]
        if build in known_there
        for found in _verdicts(places, service, build, builds)
        for context in [f"{service}/{found.environment}"]
        if found.differs(known_there[build].get(context))
    ]


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What is to be known about a build in one environment.

    `since` is the commit that gave the environment what it runs. If the build `is_past`, what was
    known about it before stays, unless it still waited.
    """

    environment: str
    state: str
    text: str
    since: str
    is_past: bool = False

    @property
    def description(self) -> str:
        """The text as GitHub takes it."""
        line = on_one_line(self.text).strip()
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

    def differs(self, report: Report | None) -> bool:
        """Return whether it is news, compared with what a commit says already."""
        if self.is_past:
            return report is not None and report.state == "pending"
        return report is None or (report.state, report.description) != (
            self.state,
            self.description,
        )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The branch of an environment, with the newest report about it."""

    repository: Path
    environment: Environment
    head: str
    releases: Mapping[str, Release]
    states: Sequence[State]
    report: Report | None

    @classmethod
    def of(cls, repository: Path, environment: Environment, head: str) -> "_Place":
        return cls(
            repository=repository,
            environment=environment,
            head=head,
            releases=images_of(repository, head).services,
            states=timeline(repository, head),
            report=newest_report(repository, environment, head),
        )

    def runs(self, service: str) -> list[tuple[str, str]]:
        """Return since which commit it has run which build, the newest first."""
        image_of = methodcaller("for_environment", self.environment.name)
        return [
            (state.commit, image.tag)
            for state, image in changes(self.states, service, image_of)
            if image
        ]

    def reported(self, since: str) -> tuple[str, str]:
        """Return state and text of what runs since a commit."""
        name = self.environment.name
        if not self.environment.reports:
            return "success", f"Released to {name}"
        # Of several commits in one poll Argo CD reports about the newest alone.
        if self.report is None or not is_ancestor(self.repository, since, self.report.commit):
            return "pending", f"Released to {name}; Argo CD has not reported yet"
        return self.report.state, f"{name}: {self.report.description}"


def _builds(first: _Place) -> dict[str, list[str]]:
    """Return the builds of each service of ours, the one that was released first last."""
    return {
        service: list(dict.fromkeys(reversed(tags)))[::-1]
        for service, release in first.releases.items()
        if is_ours(release.image)
        for released in [changes(first.states, service, attrgetter("image"))]
        for tags in [[image.tag for _, image in released if image]]
    }


def _verdicts(
    places: Sequence[_Place], service: str, build: str, builds: Sequence[str]
) -> Iterator[_Verdict]:
    taken_back = None
    for place in places:
        name, release = place.environment.name, place.releases.get(service)
        runs = place.runs(service)
        since, running = runs[0] if runs else (place.head, "none")
        pin = release.pins.get(name) if release else None
        is_past = running in builds[: builds.index(build)]
        if running == build:
            state, text = place.reported(since)
        elif is_past:
            state, text = "success", f"{name} runs a newer build: {short(running)}"
        elif taken_back or build in [each for _, each in runs]:
            reason = pin.reason if pin else release.hold if release else None
            why = f": {reason}" if reason else ""
            taken_back = taken_back or f"{name} went back to {short(running)}{why}"
            state, text = "failure", taken_back
        elif build != places[0].releases[service].image.tag:
            continue
        elif pin:
            state, text = "pending", f"{name} is pinned to {short(running)}: {pin.reason}"
        else:
            state, text = "pending", f"Not promoted to {name} yet"
        yield _Verdict(environment=name, state=state, text=text, since=since, is_past=is_past)
