"""The promotion pull request: what it says, and how it is opened."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import remotes
from delivery.manifests.dist import RenderError
from delivery.releases import changes as release
from delivery.releases import promotion
from delivery.releases.changes import Build
from delivery.releases.promotion import Promotion
from remotes import Remote, run_git

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A remote on which the branches develop and main are alike."""
    return Remote.create(tmp_path)


@contextmanager
def render(worktree: Path) -> Iterator[Path]:
    """A fresh dist, aside."""
    fresh = worktree.parent / f"{worktree.name}-fresh"
    shutil.copytree(worktree, fresh)
    remotes.render(fresh)
    yield fresh / "dist"
    shutil.rmtree(fresh)


def land(remote: Remote, change: release.Change, branch: str = "develop") -> None:
    """Land a change on a branch."""
    release.land(remote.clone, change, remote="origin", branch=branch, render=remotes.render)


def bump(remote: Remote, tag: str = NEW, branch: str = "develop") -> None:
    """Release a build of payment-api."""
    land(remote, release.bump([Build(service="payment-api", tag=tag)]), branch)


def prepare(remote: Remote, verdict: str | None = None) -> Promotion:
    """A promotion that there is."""
    found = promotion.prepare(remote.clone, remote="origin", verdict=verdict, render=render)
    assert found is not None
    return found


def test_nothing_to_promote(remote: Remote) -> None:
    """A pull request without a change would only be noise."""
    assert promotion.prepare(remote.clone, remote="origin", render=render) is None


def test_what_main_has_already_is_nothing_to_promote(remote: Remote) -> None:
    """Right after a promotion, main is one merge ahead."""
    bump(remote)
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "main")
    run_git(remote.clone, "merge", "--quiet", "--no-ff", "--no-edit", "origin/develop")
    run_git(remote.clone, "push", "--quiet", "origin", "main")
    assert promotion.prepare(remote.clone, remote="origin", render=render) is None


def test_it_goes_from_dev_to_staging(remote: Remote) -> None:
    """The branches are those of the two Applications."""
    bump(remote)
    found = prepare(remote)
    assert (found.source, found.target) == ("develop", "main")
    assert found.title == "Promote develop to main"


def test_it_names_the_releases(remote: Remote) -> None:
    """Old and new, how many bumps it took, and where the commits are."""
    bump(remote, OLD)
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "push", "--quiet", "origin", "origin/develop:main")
    bump(remote, "c" * 40)
    bump(remote)
    link = f"[compare]({promotion.APPLICATION}/compare/{OLD}...{NEW})"
    assert f"| payment-api | {OLD[:12]} → {NEW[:12]} | 2 | {link} |" in prepare(remote).body


def test_a_third_partys_image_has_no_commits_of_ours(remote: Remote) -> None:
    """Its tag is a version."""
    land(remote, release.bump([Build(service="redis", tag="1.0.0")]))
    assert "→ 1.0.0 | 1 |  |" in prepare(remote).body


def test_a_digest_alone_is_a_release(remote: Remote) -> None:
    """The same tag twice would look like nothing."""
    tag, digest = "1.0.0", f"sha256:{'d' * 64}"
    land(remote, release.bump([Build(service="redis", tag=tag)]))
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "push", "--quiet", "origin", "origin/develop:main")
    land(remote, release.bump([Build(service="redis", tag=tag, digest=digest)]))
    image = f"docker.io/library/redis:{tag}"
    assert f"| redis | {image} → {image}@&#8203;{digest} | 1 |" in prepare(remote).body


def test_it_shows_what_staging_gets(remote: Remote) -> None:
    """And nothing of dev."""
    bump(remote)
    body = prepare(remote).body
    assert "<details><summary>staging/payment-api</summary>" in body
    assert "dev/payment-api" not in body


def test_it_says_what_staging_does_not_get(remote: Remote) -> None:
    """A pin stays, and somebody once had a reason."""
    build = Build(service="payment-api", tag=OLD)
    land(remote, release.pin(build, "staging", reason="loses *all*"))
    land(remote, release.hold("redis", reason="slow"))
    body = prepare(remote).body
    assert f"- payment-api is pinned in staging to {OLD[:12]}: loses \\*all\\*" in body
    assert "- redis is held: slow" in body


def test_it_warns_of_commits_that_develop_lacks(remote: Remote) -> None:
    """Somebody changed staging behind the back of dev."""
    bump(remote)
    land(remote, release.bump([Build(service="redis", tag="1.0.0")]), "main")
    commit = remote.head("main")[:7]
    assert f"- Only main has: {commit} Bump redis to 1.0.0\n" in prepare(remote).body


def test_of_many_commits_some_are_named(remote: Remote) -> None:
    """A warning of a page is not read."""
    bump(remote)
    for number in range(7):
        remotes.commit(remote.clone, f"Hotfix {number}")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    body = prepare(remote).body
    assert "Hotfix 2; and 2 more\n" in body
    assert "Hotfix 1" not in body


def pin_on_main(remote: Remote) -> None:
    """A hotfix, as README has it."""
    build = Build(service="redis", tag="1.0.0")
    land(remote, release.pin(build, "staging", reason="leaks"), "main")


def test_what_main_keeps_is_not_announced_to_go(remote: Remote) -> None:
    """The promotion is a merge: a pin of main stays, and staging runs it further on."""
    pin_on_main(remote)
    bump(remote)
    body = prepare(remote).body
    assert "| payment-api | " in body
    assert "| redis |" not in body
    assert "staging/redis" not in body
    assert "- redis is pinned in staging to 1.0.0: leaks" in body
    assert "Only main has: " in body


def test_a_merge_that_needs_a_person_is_said(remote: Remote) -> None:
    """What staging gets is not known before, and must not look as if it was."""
    pin_on_main(remote)
    land(remote, release.bump([Build(service="redis", tag="2.0.0")]))
    body = prepare(remote).body
    assert "main and develop are in conflict: images.yaml. All that is said here is what" in body
    assert "| redis | 1.0.0 → 2.0.0 | 1 |  |" in body


def test_a_conflict_in_dist_alone_is_rendered(remote: Remote) -> None:
    """Nobody resolves it by hand either, so it is no warning."""
    pod = remote.clone / "dist" / "staging" / "redis.yaml"
    edited = pod.read_text(encoding="utf-8").replace('"main",', '"main", "tty": true,')
    pod.write_text(edited, encoding="utf-8")
    remotes.commit(remote.clone, "Edit dist by hand")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    land(remote, release.bump([Build(service="redis", tag="2.0.0")]))
    body = prepare(remote).body
    assert "in conflict" not in body
    assert "spec.containers[main].tty: true → unset" in body
    assert "→ 2.0.0 | 1 |  |" in body


def test_nobody_needs_to_be_known_to_git(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner of a workflow is nobody."""
    pin_on_main(remote)
    bump(remote)
    for name in remotes.ENVIRONMENT:
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")):
            monkeypatch.delenv(name)
    # Else Git makes somebody up, where the machine has a name.
    run_git(remote.clone, "config", "user.useConfigOnly", "true")
    assert "| payment-api | " in prepare(remote).body


def test_a_service_that_main_does_not_know_is_promoted(remote: Remote) -> None:
    """Otherwise none could ever be added."""
    remotes.add_service(remote, "ledger", NEW)
    body = prepare(remote).body
    assert f"| ledger | none → r.test/ledger:{NEW} | 0 |  |" in body
    assert "added Pod/ledger" in body


def test_text_of_a_commit_notifies_nobody(remote: Remote) -> None:
    """Anybody whose pull request was merged wrote such a text."""
    remotes.commit(remote.clone, "Mend @everyone's <b>")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    bump(remote)
    body = prepare(remote).body
    assert "Mend @&#8203;everyone's \\<b\\>" in body


def test_it_warns_of_what_is_applied_by_hand(remote: Remote) -> None:
    """Argo CD does not apply its own Applications."""
    file = remote.clone / "dist" / "argocd" / "fraud-detection.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    remotes.commit(remote.clone, "Change the Applications")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert "`dist/argocd` differs: somebody must apply it by hand" in prepare(remote).body


def test_it_warns_of_data(remote: Remote) -> None:
    """A StatefulSet that is gone takes its pods along, and its claims are nobody's."""
    file = remote.clone / "dist" / "staging" / "store.yaml"
    store = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "store", "namespace": "fraud-detection-staging"},
        "spec": {"template": {"metadata": {}, "spec": {"containers": []}}},
    }
    file.write_text(json.dumps(store), encoding="utf-8")
    remotes.commit(remote.clone, "Store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop", "HEAD:main")
    file.unlink()
    remotes.commit(remote.clone, "No store")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "removed StatefulSet/store: it keeps data" in body
    # And the picture has it as removed.
    assert re.search(r"class n_removed_since_the_base,.*\bn_store\b.* removed\n", body)


def test_it_draws_what_staging_gets(remote: Remote) -> None:
    """GitHub makes a picture of the fence; nothing of dev is in it."""
    bump(remote)
    body = prepare(remote).body
    assert "<details><summary>staging, drawn</summary>\n\n```mermaid\nflowchart TB\n" in body
    assert "dev, drawn" not in body


def test_nothing_is_drawn_where_nothing_changes(remote: Remote) -> None:
    """A change of code alone can be promoted, too."""
    remotes.commit(remote.clone, "Only words")
    (remote.clone / "README.md").write_text("words", encoding="utf-8")
    remotes.commit(remote.clone, "Words")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    body = prepare(remote).body
    assert "Nothing changes in the cluster." in body
    assert "mermaid" not in body


def test_it_quotes_the_rehearsal(remote: Remote) -> None:
    """The reviewer reads the verdict where the decision is made."""
    bump(remote)
    assert "## Rehearsal\n\nNothing blocks.\n" in prepare(remote, "Nothing blocks.\n").body
    assert "## Rehearsal\n\nNone was made.\n" in prepare(remote).body


def test_the_folds_of_the_rehearsal_come_last(remote: Remote) -> None:
    """However long they are, its table and the difference are read before them."""
    bump(remote)
    folds = "<details>\n" + "x" * 70_000 + "\n</details>"
    found = prepare(remote, f"| blocked |\n\n{folds}")
    assert "## Rehearsal\n\n| blocked |\n\n## What" in found.body
    assert "<details><summary>staging/payment-api</summary>" in found.body
    assert found.text.endswith(f"## The rehearsal in detail\n\n{folds}\n")


def test_a_merge_that_does_not_render_is_said(remote: Remote) -> None:
    """Each branch does, so nobody would look there."""
    pin_on_main(remote)
    bump(remote)

    @contextmanager
    def refuse(worktree: Path) -> Iterator[Path]:
        if "pins:" in (worktree / "images.yaml").read_text(encoding="utf-8").split("\npayment")[1]:
            raise RenderError("images.yaml:19: wrong.")
        with render(worktree) as fresh:
            yield fresh

    with pytest.raises(promotion.PromotionError, match=r"once it is merged into main: images"):
        promotion.prepare(remote.clone, remote="origin", render=refuse)


def test_a_long_one_is_shortened_and_kept(remote: Remote) -> None:
    """GitHub takes 65,536 characters; the artifact has the rest."""
    bump(remote)
    found = prepare(remote, "x" * 70_000)
    assert len(found.body) < 65_536
    assert len(found.text) > 70_000
    assert "Parts that have no room here: 1. The run" in found.body
    # What does fit is not dropped with it.
    assert "<details><summary>staging/payment-api</summary>" in found.body


def test_a_stale_dist_is_not_promoted(remote: Remote) -> None:
    """What the reviewer reads would not be what the next render makes of it."""
    (remote.clone / "dist" / "staging" / "redis.yaml").unlink()
    remotes.commit(remote.clone, "Lose a file")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    with pytest.raises(promotion.StaleError, match=r"dist/staging/redis\.yaml is missing"):
        prepare(remote)


def test_the_callers_checkout_does_not_matter(remote: Remote) -> None:
    """It is about the remote's branches; what lies around here is neither read nor touched."""
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
    """What a stand-in for gh was asked; `answer` is what it lists, `refusal` what it says."""
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
    """The body goes through standard input, so that no shell reads it."""
    assert promotion.propose(tmp_path, PROPOSAL) == "https://github.test/pull/7"
    assert calls.read_text(encoding="utf-8").splitlines() == [
        LIST,
        "pr create --head develop --base main --title Title --body-file -",
    ]
    assert (tmp_path / "body").read_text(encoding="utf-8") == "the $(body)"


def test_a_fork_cannot_pose_as_it(tmp_path: Path, calls: Path) -> None:
    """Anybody may open a pull request from a branch develop of their own."""
    promotion.propose(tmp_path, PROPOSAL)
    [listed, _] = calls.read_text(encoding="utf-8").splitlines()
    assert "select(.isCrossRepository | not)" in listed


def test_an_open_one_is_refreshed(tmp_path: Path, calls: Path) -> None:
    """A second one for the same branches is refused by GitHub."""
    (tmp_path / "answer").write_text("7\n", encoding="utf-8")
    promotion.propose(tmp_path, PROPOSAL)
    assert calls.read_text(encoding="utf-8").splitlines() == [
        LIST,
        "pr edit 7 --title Title --body-file -",
    ]


@pytest.mark.usefixtures("calls")
def test_a_refusal_is_quoted(tmp_path: Path) -> None:
    """Not logged in, no network, no permission: gh says it best."""
    (tmp_path / "refusal").write_text("To get started, run:\n  gh auth login\n", encoding="utf-8")
    with pytest.raises(promotion.PromotionError, match=r"gh pr list failed: To .* gh auth login"):
        promotion.propose(tmp_path, PROPOSAL)


def test_a_missing_gh_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a way without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(promotion.PromotionError, match="install it, or use --dry-run"):
        promotion.propose(tmp_path, PROPOSAL)
