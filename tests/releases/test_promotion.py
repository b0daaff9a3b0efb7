"""The promotion pull request: its text, and how it is opened."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import remotes
from delivery.commands import CommandError
from delivery.manifests.applications import Environment, UnknownEnvironmentError
from delivery.manifests.dist import RenderError
from delivery.releases import changes, promotion
from delivery.releases.changes import Build
from delivery.releases.promotion import Promotion
from fraud_detection.repositories import APPLICATION
from hostile import MARKUP, structure
from remotes import DEV, PRODUCTION, STAGING, Remote, run_git

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


@contextmanager
def render(worktree: Path) -> Iterator[Path]:
    """Yield a fresh dist beside the worktree."""
    fresh = worktree.parent / f"{worktree.name}-fresh"
    shutil.copytree(worktree, fresh)
    remotes.render(fresh)
    yield fresh / "dist"
    shutil.rmtree(fresh)


def land(remote: Remote, change: changes.Change, branch: str = "develop") -> None:
    """Land a change on a branch."""
    changes.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)


def bump(remote: Remote, tag: str = NEW, branch: str = "develop") -> None:
    """Release a build of payment-api."""
    land(remote, changes.bump([Build(service="payment-api", tag=tag)], prove=remotes.trust), branch)


def prepare_any(
    remote: Remote,
    *pair: Environment,
    verdict: str | None = None,
    render: Callable[[Path], AbstractContextManager[Path]] = render,
) -> Promotion | None:
    """Prepare the promotion from dev to staging, or of another pair."""
    source, target = pair or (DEV, STAGING)
    return promotion.prepare(
        remote.clone, source, target, remote="origin", verdict=verdict, render=render
    )


def prepare(remote: Remote, *pair: Environment, verdict: str | None = None) -> Promotion:
    """Prepare a promotion that has something to promote."""
    found = prepare_any(remote, *pair, verdict=verdict)
    assert found is not None
    return found


def test_every_environment_but_the_first_is_a_target() -> None:
    """A release passes the whole chain, one step at a time."""
    chain = [DEV, STAGING, PRODUCTION]
    assert promotion.pairs(chain) == [(DEV, STAGING), (STAGING, PRODUCTION)]
    assert promotion.pairs(chain, target="production") == [(STAGING, PRODUCTION)]


def test_one_environment_has_no_pair() -> None:
    """There is nowhere to promote to."""
    assert promotion.pairs([DEV]) == []


def test_nothing_is_promoted_to_the_first_environment() -> None:
    """The command must not look as if it had done something."""
    with pytest.raises(promotion.PromotionError, match="to dev, the first environment"):
        promotion.pairs([DEV, STAGING], target="dev")


def test_an_unknown_target_is_refused() -> None:
    """A typo must not look like nothing to promote."""
    with pytest.raises(UnknownEnvironmentError, match="Unknown environment 'prod'"):
        promotion.pairs([DEV, STAGING], target="prod")


@pytest.mark.parametrize("missing", ["develop", "main"])
def test_a_missing_branch_is_reported_with_the_remedy(remote: Remote, missing: str) -> None:
    """Without its branch, Argo CD cannot apply a new environment either."""
    run_git(remote.bare, "update-ref", "-d", f"refs/heads/{missing}")
    with pytest.raises(
        promotion.MissingBranchError,
        match=f"^staging: origin has no branch {missing}: create it with"
        f" `git push origin COMMIT:refs/heads/{missing}`",
    ):
        prepare_any(remote)


def test_staging_is_promoted_to_production(tmp_path: Path) -> None:
    """Production gets what staging has, and nothing that only dev has."""
    remote = Remote.create(tmp_path, DEV, STAGING, PRODUCTION)
    bump(remote, OLD, "main")
    bump(remote, NEW)
    found = prepare(remote, STAGING, PRODUCTION)
    assert (found.source, found.target) == ("main", "production")
    assert "## Changes in system-production\n" in found.body
    assert "<details><summary>production/payment-api</summary>" in found.body
    assert f"→ {OLD[:12]} | 1 |" in found.body
    assert NEW[:12] not in found.body
    assert "staging/" not in found.body


def test_nothing_to_promote(remote: Remote) -> None:
    """A pull request without a change is noise."""
    assert prepare_any(remote) is None


def test_after_a_promotion_there_is_nothing_to_promote(remote: Remote) -> None:
    """Main is one merge commit ahead."""
    bump(remote)
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "main")
    run_git(remote.clone, "merge", "--quiet", "--no-ff", "--no-edit", "origin/develop")
    run_git(remote.clone, "push", "--quiet", "origin", "main")
    assert prepare_any(remote) is None


def test_it_goes_from_dev_to_staging(remote: Remote) -> None:
    """The branches are those of the environments."""
    bump(remote)
    found = prepare(remote)
    assert (found.source, found.target) == ("develop", "main")
    assert found.title == "Promote develop to main"


def test_it_lists_the_releases(remote: Remote) -> None:
    """With the old and the new tag, the number of bumps and a link to the commits."""
    bump(remote, OLD)
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "push", "--quiet", "origin", "origin/develop:main")
    bump(remote, "c" * 40)
    bump(remote)
    link = f"[compare]({APPLICATION}/compare/{OLD}...{NEW})"
    assert f"| payment-api | {OLD[:12]} → {NEW[:12]} | 2 | {link} |" in prepare(remote).body


def test_a_third_party_image_has_no_link_to_commits(remote: Remote) -> None:
    """Its tag is a version."""
    land(remote, changes.bump([Build(service="redis", tag="1.0.0")], prove=remotes.trust))
    assert "→ 1.0.0 | 1 |  |" in prepare(remote).body


def test_a_new_digest_is_a_release(remote: Remote) -> None:
    """The same tag twice would look like no change."""
    tag, digest = "1.0.0", f"sha256:{'d' * 64}"
    land(remote, changes.bump([Build(service="redis", tag=tag)], prove=remotes.trust))
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "push", "--quiet", "origin", "origin/develop:main")
    land(
        remote, changes.bump([Build(service="redis", tag=tag, digest=digest)], prove=remotes.trust)
    )
    image = f"docker.io/library/redis:{tag}"
    assert f"| redis | {image} → {image}@&#8203;{digest} | 1 |" in prepare(remote).body


def test_it_shows_the_changes_of_staging(remote: Remote) -> None:
    """And none of dev."""
    bump(remote)
    body = prepare(remote).body
    assert "<details><summary>staging/payment-api</summary>" in body
    assert "dev/payment-api" not in body


def test_it_lists_holds_and_pins(remote: Remote) -> None:
    """They stay after the promotion, and the reviewer should know why."""
    build = Build(service="payment-api", tag=OLD)
    land(remote, changes.pin(build, "staging", reason="loses *all*", prove=remotes.trust))
    land(remote, changes.hold("redis", reason="slow"))
    body = prepare(remote).body
    assert f"- payment-api is pinned in staging to {OLD[:12]}: loses \\*all\\*" in body
    assert "- redis is held: slow" in body


def test_it_warns_of_commits_that_develop_lacks(remote: Remote) -> None:
    """Somebody changed staging without dev."""
    bump(remote)
    land(remote, changes.bump([Build(service="redis", tag="1.0.0")], prove=remotes.trust), "main")
    commit = remote.head("main")[:7]
    assert f"- Only on main: {commit} Bump redis to 1.0.0\n" in prepare(remote).body


def test_a_long_list_of_commits_is_truncated(remote: Remote) -> None:
    """Nobody reads a warning that fills a page."""
    bump(remote)
    for number in range(7):
        remotes.commit(remote.clone, f"Hotfix {number}")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    body = prepare(remote).body
    assert "Hotfix 2; and 2 more\n" in body
    assert "Hotfix 1" not in body


def pin_on_main(remote: Remote) -> None:
    """Land a hotfix as README describes it."""
    build = Build(service="redis", tag="1.0.0")
    land(remote, changes.pin(build, "staging", reason="leaks", prove=remotes.trust), "main")


def test_a_pin_on_main_stays(remote: Remote) -> None:
    """The promotion is a merge: staging still runs the pinned build."""
    pin_on_main(remote)
    bump(remote)
    body = prepare(remote).body
    assert "| payment-api | " in body
    assert "| redis |" not in body
    assert "staging/redis" not in body
    assert "- redis is pinned in staging to 1.0.0: leaks" in body
    assert "Only on main: " in body


def test_a_conflict_is_reported(remote: Remote) -> None:
    """The changes of staging depend on how a person resolves it."""
    pin_on_main(remote)
    land(remote, changes.bump([Build(service="redis", tag="2.0.0")], prove=remotes.trust))
    body = prepare(remote).body
    assert "main and develop are in conflict: images.yaml. The rest of this text ignores" in body
    assert "| redis | 1.0.0 → 2.0.0 | 1 |  |" in body


def test_a_conflict_only_in_dist_is_rendered(remote: Remote) -> None:
    """Nobody resolves it by hand, so there is no warning."""
    pod = remote.clone / "dist" / "staging" / "redis.yaml"
    edited = pod.read_text(encoding="utf-8").replace('"main",', '"main", "tty": true,')
    pod.write_text(edited, encoding="utf-8")
    remotes.commit(remote.clone, "Edit dist by hand")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    land(remote, changes.bump([Build(service="redis", tag="2.0.0")], prove=remotes.trust))
    body = prepare(remote).body
    assert "in conflict" not in body
    assert "spec.containers[main].tty: true → unset" in body
    assert "→ 2.0.0 | 1 |  |" in body


def test_git_needs_no_identity(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workflow has none."""
    pin_on_main(remote)
    bump(remote)
    for name in remotes.ENVIRONMENT:
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")):
            monkeypatch.delenv(name)
    # Otherwise Git derives an identity from the name of the machine.
    run_git(remote.clone, "config", "user.useConfigOnly", "true")
    assert "| payment-api | " in prepare(remote).body


def test_a_service_that_main_does_not_know_is_promoted(remote: Remote) -> None:
    """Every new service is unknown to main at first."""
    remotes.add_service(remote, "ledger", NEW)
    body = prepare(remote).body
    assert f"| ledger | none → r.test/ledger:{NEW} | 0 |  |" in body
    assert "added Pod/ledger" in body


def test_text_of_a_commit_notifies_nobody(remote: Remote) -> None:
    """Anybody whose pull request was merged may have written it."""
    remotes.commit(remote.clone, "Fix @everyone's <b>")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    bump(remote)
    body = prepare(remote).body
    assert "Fix @&#8203;everyone's \\<b\\>" in body


def test_no_text_of_a_commit_is_markup(remote: Remote) -> None:
    """A link, a cell or a heading of somebody else would speak with our voice."""
    bump(remote)
    remotes.commit(remote.clone, "text")
    land(remote, changes.hold("redis", reason="text"))
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    expected = structure(prepare(remote).body)
    hostile = "x " + " ".join(text for text in MARKUP if text.isprintable())
    run_git(remote.clone, "commit", "--quiet", "--amend", "--allow-empty", f"-m{hostile}")
    run_git(remote.clone, "push", "--quiet", "--force", "origin", "HEAD:main")
    land(remote, changes.hold("redis", reason=hostile))
    assert structure(prepare(remote).body) == expected


def test_it_warns_of_changed_applications(remote: Remote) -> None:
    """Argo CD does not apply its own Applications."""
    file = remote.clone / "dist" / "argocd" / "system.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    remotes.commit(remote.clone, "Change the Applications")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert "`dist/argocd` changes: the root Application applies it" in prepare(remote).body


def test_it_warns_of_data(remote: Remote) -> None:
    """Without its StatefulSet nothing uses the data, and its pods are gone."""
    file = remote.clone / "dist" / "staging" / "store.yaml"
    store = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": STAGING.namespace},
        "spec": {"template": {"metadata": {}, "spec": {"containers": []}}},
    }
    file.write_text(json.dumps(store), encoding="utf-8")
    remotes.commit(remote.clone, "Store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop", "HEAD:main")
    file.unlink()
    remotes.commit(remote.clone, "No store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "removed StatefulSet/store: it holds data" in body
    # The diagram marks it as removed.
    assert re.search(r"class n_removed_since_the_base,.*\bn_store\b.* removed\n", body)


def test_it_draws_the_changes_of_staging(remote: Remote) -> None:
    """GitHub draws the fence; dev is not in it."""
    bump(remote)
    body = prepare(remote).body
    assert "<details><summary>Diagram of staging</summary>\n\n```mermaid\nflowchart TB\n" in body
    assert "Diagram of dev" not in body


def test_without_a_change_in_the_cluster_nothing_is_drawn(remote: Remote) -> None:
    """A change of code only can be promoted, too."""
    remotes.commit(remote.clone, "Only words")
    (remote.clone / "README.md").write_text("words", encoding="utf-8")
    remotes.commit(remote.clone, "Words")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "Nothing changes in the cluster." in body
    assert "mermaid" not in body


def test_it_quotes_the_rehearsal(remote: Remote) -> None:
    """The reviewer needs the verdict for the decision."""
    bump(remote)
    assert "## Rehearsal\n\nNothing blocks.\n" in prepare(remote, verdict="Nothing blocks.\n").body
    assert "## Rehearsal\n\nNo rehearsal was run.\n" in prepare(remote).body


def test_the_details_of_the_rehearsal_come_last(remote: Remote) -> None:
    """However long they are, they must not displace its table and the difference."""
    bump(remote)
    folds = "<details>\n" + "x" * 70_000 + "\n</details>"
    found = prepare(remote, verdict=f"| blocked |\n\n{folds}")
    assert "## Rehearsal\n\n| blocked |\n\n## Changes" in found.body
    assert "<details><summary>staging/payment-api</summary>" in found.body
    assert found.text.endswith(f"## Rehearsal in detail\n\n{folds}\n")


def test_a_merge_that_does_not_render_is_reported(remote: Remote) -> None:
    """Each branch renders, so nobody would expect it."""
    pin_on_main(remote)
    bump(remote)

    @contextmanager
    def refuse(worktree: Path) -> Iterator[Path]:
        if "pins:" in (worktree / "images.yaml").read_text(encoding="utf-8").split("\npayment")[1]:
            raise RenderError("images.yaml:19: wrong.")
        with render(worktree) as fresh:
            yield fresh

    with pytest.raises(promotion.PromotionError, match=r"once it is merged into main: images"):
        prepare_any(remote, render=refuse)


def test_a_long_one_is_shortened_and_kept(remote: Remote) -> None:
    """GitHub accepts 65,536 characters; the artifact has the rest."""
    bump(remote)
    found = prepare(remote, verdict="x" * 70_000)
    assert len(found.body) < 65_536
    assert len(found.text) > 70_000
    assert "1 section omitted for length. The workflow run" in found.body
    # The others are not omitted with it.
    assert "<details><summary>staging/payment-api</summary>" in found.body


def test_a_stale_dist_is_not_promoted(remote: Remote) -> None:
    """The next render would change what the reviewer has read."""
    (remote.clone / "dist" / "staging" / "redis.yaml").unlink()
    remotes.commit(remote.clone, "Lose a file")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    with pytest.raises(promotion.StaleError, match=r"dist/staging/redis\.yaml is missing"):
        prepare(remote)


def test_the_callers_checkout_does_not_matter(remote: Remote) -> None:
    """Only the remote's branches count; the checkout is neither read nor changed."""
    bump(remote)
    (remote.clone / "images.yaml").write_text("half an edit", encoding="utf-8")
    assert f"→ {NEW[:12]} |" in prepare(remote).body
    assert (remote.clone / "images.yaml").read_text(encoding="utf-8") == "half an edit"


PROPOSAL = Promotion(
    source="develop", target="main", title="Title", body="the $(body)", text="the text"
)
LIST = (
    "pr list --head develop --base main --state open --limit 1000"
    " --json number,isCrossRepository"
    " --jq map(select(.isCrossRepository | not))[0].number // empty"
)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for gh on the PATH, and return the file of its calls.

    The file `answer` has what it lists, the file `refusal` its error.
    """
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        "#!/bin/sh\n"
        f"cd {tmp_path}\n"
        'echo "$*" >> calls\n'
        "test ! -e refusal || { cat refusal >&2; exit 1; }\n"
        'case "$2" in list) cat answer ;; *) cat > body; echo https://github.test/pull/7 ;; esac\n',
        encoding="utf-8",
    )
    gh.chmod(0o755)
    (tmp_path / "answer").touch()
    monkeypatch.setenv("PATH", f"{gh.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


def test_it_is_opened(tmp_path: Path, calls: Path) -> None:
    """The body goes through standard input, where no shell reads it."""
    assert promotion.propose(tmp_path, PROPOSAL) == "https://github.test/pull/7"
    assert calls.read_text(encoding="utf-8").splitlines() == [
        LIST,
        "pr create --head develop --base main --title Title --body-file -",
    ]
    assert (tmp_path / "body").read_text(encoding="utf-8") == "the $(body)"


def test_a_pull_request_of_a_fork_does_not_count(tmp_path: Path, calls: Path) -> None:
    """Anybody may open one from a branch develop of their own."""
    promotion.propose(tmp_path, PROPOSAL)
    [listed, _] = calls.read_text(encoding="utf-8").splitlines()
    assert "select(.isCrossRepository | not)" in listed


def test_an_open_one_is_updated(tmp_path: Path, calls: Path) -> None:
    """GitHub refuses a second one for the same branches."""
    (tmp_path / "answer").write_text("7\n", encoding="utf-8")
    promotion.propose(tmp_path, PROPOSAL)
    assert calls.read_text(encoding="utf-8").splitlines() == [
        LIST,
        "pr edit 7 --title Title --body-file -",
    ]


@pytest.mark.usefixtures("calls")
def test_an_error_of_gh_is_quoted(tmp_path: Path) -> None:
    """Only gh knows the cause: no login, no network, no permission."""
    (tmp_path / "refusal").write_text("To get started, run:\n  gh auth login\n", encoding="utf-8")
    with pytest.raises(CommandError, match=r"(?s)`gh pr list .*` failed: To .* gh auth login"):
        promotion.propose(tmp_path, PROPOSAL)


def test_a_missing_gh_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="no gh on the PATH: install the GitHub CLI"):
        promotion.propose(tmp_path, PROPOSAL)
