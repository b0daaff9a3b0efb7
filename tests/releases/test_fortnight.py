"""Two weeks of a team under the rulesets, every promise kept after each step."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import remotes
from delivery.releases import changes, landing, promotion, status
from delivery.releases.changes import Build, Change
from delivery.releases.images import images_of
from delivery.releases.rollback import rollback
from delivery.releases.timeline import timeline
from github import GitHub, merge
from promoting import prepare_any, write
from remotes import Remote, run_git
from rulesets import opened, protect

pytestmark = pytest.mark.usefixtures("git_environment")


class Team:
    """People and robots that work with one repository.

    Attributes:
        remote: The repository.
        github: Its pull requests.
        pins: What staging must run for as long as it is pinned, by service.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.remote = Remote.create(folder)
        self.github = GitHub.of(self.remote, folder / "bin", monkeypatch)
        self.pins: dict[str, str] = {}
        self._monkeypatch = monkeypatch
        protect(self.remote)

    def robot(self, service: str, tag: str) -> None:
        """Release a build with the App's token, as a workflow does."""
        change = changes.bump([Build(service=service, tag=tag)], prove=remotes.trust)
        with self._monkeypatch.context() as token:
            token.setenv("APP", "yes")
            assert self._land(change, "develop").proposed is None

    def person(self, change: Change, branch: str = "develop") -> None:
        """Type a command, have its pull request reviewed, and merge it."""
        landed = self._land(change, branch)
        assert landed.proposed is not None
        self.merge(int(landed.proposed.rpartition("/")[2]))

    def merge(self, number: int, *options: str) -> str:
        """Merge a pull request with a button of GitHub's."""
        with opened(self.remote):
            return self.github.merge(self.remote.clone, number, *options)

    def bypass(self, action: Callable[[], object]) -> None:
        """Change a branch by a merged pull request that no command made."""
        with opened(self.remote):
            action()

    def promote(self, *, overrule: str | None = None) -> int:
        """Run the workflow; return the number of the open promotion."""
        found = prepare_any(self.remote, overrule=overrule)
        assert found is not None
        said = promotion.propose(self.remote.clone, found, remote="origin")
        return int(said.split()[1 if said.startswith(("Opened", "Updated")) else 0].split("/")[-1])

    def release(self, *options: str) -> str:
        """Promote, merge, and check every promise."""
        commit = self.merge(self.promote(), *options)
        self.check()
        return commit

    def check(self) -> None:
        """Check what must be true after every promotion."""
        run_git(self.remote.clone, "fetch", "--quiet")
        released = images_of(self.remote.clone, "origin/develop")
        for service, release in released.services.items():
            pod = json.loads(self.remote.file(f"dist/staging/{service}.yaml", "main"))
            runs = pod["spec"]["containers"][0]["image"].rpartition(":")[2]
            assert runs == self.pins.get(service, release.image.tag)
            assert self.behind(service) == 0
        assert prepare_any(self.remote) is None

    def behind(self, service: str) -> int:
        """Return by how many bumps staging is behind, as `delivery status` shows it."""
        found = status.status(self.remote.clone, remote="origin")
        return next(each.behind["staging"].bumps for each in found if each.service == service)

    def revert(self, branch: str, commit: str, *options: str) -> None:
        """Revert a commit with GitHub's button."""
        run_git(self.remote.clone, "fetch", "--quiet")
        run_git(self.remote.clone, "switch", "--quiet", "--detach", f"origin/{branch}")
        run_git(self.remote.clone, "revert", "--no-edit", *options, commit)
        push = ("push", "--quiet", "origin", f"HEAD:{branch}")
        self.bypass(lambda: run_git(self.remote.clone, *push))

    def roll_back(self, service: str, environment: str) -> None:
        """Roll a service back, and remember what must run."""
        branch = "develop" if environment == "dev" else "main"
        run_git(self.remote.clone, "fetch", "--quiet")
        change = rollback(
            timeline(self.remote.clone, f"origin/{branch}"),
            service,
            environment,
            pinned=environment != "dev",
            prove=remotes.trust,
            reason="faulty",
        )
        self.person(change, branch)

    def _land(self, change: Change, branch: str) -> landing.Landing:
        return landing.land(
            self.remote.clone,
            change,
            remote="origin",
            branch=branch,
            propose=branch != "develop",
            render=remotes.render,
        )


def test_a_fortnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step alone is tested elsewhere; what they leave behind meets only here."""
    team = Team(tmp_path, monkeypatch)
    releases_and_mistakes(team)
    a_hotfix_on_main(team)
    rollbacks_in_both_environments(team)
    reverts_on_both_branches(team)
    two_promotions_in_flight(team)


def releases_and_mistakes(team: Team) -> None:
    """Everybody releases; one promotion is rebased by mistake, and one squashed beside a pin."""
    for number, service in enumerate(("payment-api", "alert-monitor", "payment-api")):
        team.robot(service, f"{number + 3}" * 40)
    team.release("--rebase")
    pin = changes.pin(
        Build(service="redis", tag="7.2.15"), "staging", reason="slow", prove=remotes.trust
    )
    team.person(pin, "main")
    team.pins["redis"] = "7.2.15"
    team.robot("redis", "7.4.0")
    team.release("--squash")
    team.person(changes.hold("payment-api", reason="loses transactions"))
    with pytest.raises(changes.HeldError):
        team.robot("payment-api", "6" * 40)
    team.robot("alert-monitor", "7" * 40)
    team.release()


def a_hotfix_on_main(team: Team) -> None:
    """It stops the promotion until develop has it."""
    team.bypass(lambda: write(team.remote, "main", "hotfix.py", "fixed = True\n", "Hotfix"))
    team.robot("alert-monitor", "8" * 40)
    with pytest.raises(promotion.LackingError, match=r"Hotfix \(in hotfix\.py\)"):
        team.promote()
    team.bypass(lambda: merge(team.remote.clone, "main", "develop"))
    assert team.remote.images()["alert-monitor"] == "8" * 40
    team.release()


def rollbacks_in_both_environments(team: Team) -> None:
    """A faulty release is rolled back in staging, then in dev."""
    team.person(changes.unhold("payment-api", reason="fixed"))
    team.robot("payment-api", "9" * 40)
    team.release()
    team.roll_back("payment-api", "staging")
    team.pins["payment-api"] = "5" * 40
    team.roll_back("payment-api", "dev")
    team.release()
    team.person(changes.unpin("payment-api", "staging", reason=None), "main")
    del team.pins["payment-api"]
    team.check()


def reverts_on_both_branches(team: Team) -> None:
    """A reverted promotion returns when a person says so, a reverted bump with the next one."""
    team.robot("alert-monitor", "a" * 40)
    landed = team.release()
    team.revert("main", landed, "-m1")
    assert team.behind("alert-monitor") == 1
    team.robot("redis", "7.4.1")
    with pytest.raises(promotion.LackingError, match="Revert"):
        team.promote()
    team.merge(team.promote(overrule="the fault was elsewhere"))
    team.check()
    team.robot("alert-monitor", "b" * 40)
    team.revert("develop", team.remote.head())
    team.robot("redis", "7.4.2")
    team.release()


def two_promotions_in_flight(team: Team) -> None:
    """The approved one stays, and the next follows its merge."""
    team.robot("alert-monitor", "c" * 40)
    first = team.promote()
    team.github.review("APPROVED")
    offered = team.remote.head("promote/staging")
    team.robot("alert-monitor", "d" * 40)
    assert team.promote() == first
    assert team.remote.head("promote/staging") == offered
    team.merge(first)
    team.github.review()
    team.release()
