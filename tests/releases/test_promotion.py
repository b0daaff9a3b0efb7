"""The commit that promotes a branch: what it has, and when there is none."""

import json
from pathlib import Path

import pytest

import remotes
from delivery.manifests.applications import UnknownEnvironmentError
from delivery.manifests.dist import RenderError
from delivery.releases import changes, promotion
from delivery.releases.images import images_of
from fraud_detection.images import ImagesError
from promoting import bump, land, pin, prepare, prepare_any, promote, write
from remotes import DEV, PRODUCTION, STAGING, Remote, run_git

OLD, NEW = "a" * 40, "b" * 40


pytestmark = pytest.mark.usefixtures("git_environment")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Create a remote whose branches develop and main are equal."""
    return Remote.create(tmp_path)


def staging(remote: Remote, service: str, commit: str = "main") -> str:
    """Return the image of a service in staging, as rendered in a commit."""
    pod = json.loads(run_git(remote.clone, "show", f"{commit}:dist/staging/{service}.yaml"))
    image: str = pod["spec"]["containers"][0]["image"]
    return image.rpartition(":")[2]


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


def test_nothing_to_promote(remote: Remote) -> None:
    """A pull request without a change is noise."""
    assert prepare_any(remote) is None


@pytest.mark.parametrize("how", ["--no-ff", "--squash", "--rebase", "--ff-only"])
def test_after_a_promotion_there_is_nothing_to_promote(remote: Remote, how: str) -> None:
    """However it was merged: GitHub's button remembers the last choice of its user."""
    bump(remote, NEW)
    promote(remote, how=how)
    assert staging(remote, "payment-api", "origin/main") == NEW
    assert prepare_any(remote) is None


def test_it_has_the_files_of_the_source_and_both_parents(remote: Remote) -> None:
    """So that Git knows what both branches have in common, and no merge can conflict."""
    bump(remote, NEW)
    found = prepare(remote)
    parents = run_git(remote.clone, "log", "-1", "--format=%P", found.commit).split()
    assert parents == [remote.head("main"), remote.head()]
    assert run_git(remote.clone, "diff", "--name-only", remote.head(), found.commit) == ""
    assert (found.branch, found.title) == ("promote/staging", "Promote develop to main")


def test_pins_of_the_target_stay_beside_bumps_of_the_same_service(remote: Remote) -> None:
    """Git makes a conflict of their neighboring lines, whose resolution loses one of the two."""
    pin(remote)
    bump(remote, "7.2.18", service="redis")
    for number in (1, 2):
        promote(remote)
        images = images_of(remote.clone, "origin/main").services["redis"]
        assert (images.image.tag, images.pins["staging"].tag) == (f"7.2.{number + 17}", "7.2.17")
        assert staging(remote, "redis", "origin/main") == "7.2.17"
        bump(remote, "7.2.19", service="redis")


def test_after_an_unpin_the_released_image_is_promoted(remote: Remote) -> None:
    """A pin that came back with the next promotion could never be ended."""
    pin(remote)
    promote_later = "7.2.18"
    bump(remote, promote_later, service="redis")
    promote(remote)
    land(remote, changes.unpin("redis", "staging", reason=None), "main")
    bump(remote, NEW)
    promote(remote)
    assert staging(remote, "redis", "origin/main") == promote_later


def test_pins_of_the_target_on_the_source_do_not_count(remote: Remote) -> None:
    """Nobody who reviewed them saw an effect: no environment of that branch reads them."""
    remotes.declare(remote, "redis", hold="slow", pins={"staging": "9.9.9"})
    found = prepare(remote)
    assert staging(remote, "redis", found.commit) == "7.2.16"


def test_a_pin_of_a_service_that_is_gone_goes_with_it(remote: Remote) -> None:
    """The service has no entry that could hold it."""
    pin(remote)
    text = remote.file("images.yaml").split("\nredis:")[0]
    write(remote, "develop", "images.yaml", text)
    for folder in ("dev", "staging"):
        run_git(remote.clone, "rm", "--quiet", f"dist/{folder}/redis.yaml")
    remotes.commit(remote.clone, "Remove redis")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    found = prepare(remote)
    assert "redis" not in images_of(remote.clone, found.commit).services


def test_the_same_branches_give_the_same_commit(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated run must not withdraw an approval, or run all checks again."""
    pin(remote)
    bump(remote, NEW)
    first = prepare(remote)
    run_git(tmp_path, "clone", "--quiet", str(remote.bare), "other")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody else")
        monkeypatch.setenv(f"GIT_{name}_DATE", "1000000000 +0200")
    again = prepare(Remote(remote.bare, tmp_path / "other"), verdict="Nothing blocks.")
    assert again.commit == first.commit


def test_the_callers_checkout_does_not_matter(remote: Remote) -> None:
    """Only the remote's branches count; the checkout is neither read nor changed."""
    bump(remote, NEW)
    (remote.clone / "images.yaml").write_text("half an edit", encoding="utf-8")
    before = run_git(remote.clone, "status", "--porcelain"), run_git(remote.clone, "branch", "-a")
    assert staging(remote, "payment-api", prepare(remote).commit) == NEW
    assert before == (
        run_git(remote.clone, "status", "--porcelain"),
        run_git(remote.clone, "branch", "-a"),
    )


def test_a_bundle_holds_the_one_commit(remote: Remote, tmp_path: Path) -> None:
    """A job with a token pushes it, without running the code that rendered it."""
    bump(remote, NEW)
    found = prepare(remote)
    said = promotion.write(remote.clone, found, path=tmp_path / "promotion.bundle")
    assert said == f"Wrote {found.commit} for promote/staging to {tmp_path / 'promotion.bundle'}"
    ref = "refs/heads/promote/staging"
    run_git(remote.bare, "fetch", "--quiet", str(tmp_path / "promotion.bundle"), f"{ref}:{ref}")
    assert remote.head("promote/staging") == found.commit


def test_a_commit_only_on_the_target_is_refused(remote: Remote) -> None:
    """The promotion would undo a hotfix, and nobody would notice; other commits are not named."""
    write(remote, "develop", "hotfix.py", "fixed = False\n")
    promote(remote)
    commit = write(remote, "main", "hotfix.py", "fixed = True\n", "Fix the leak")
    bump(remote, NEW)
    with pytest.raises(
        promotion.LackingError,
        match=rf"^develop lacks changes of main: {commit[:7]} Fix the leak \(in hotfix\.py\)",
    ) as refused:
        prepare_any(remote)
    assert refused.value.exit_code == 1


@pytest.mark.parametrize("change", ["hold", "bump"])
def test_a_change_of_images_only_on_the_target_is_refused(remote: Remote, change: str) -> None:
    """Only pins belong to a branch; the next promotion would undo anything else."""
    if change == "hold":
        land(remote, changes.hold("redis", reason="slow"), "main")
    else:
        bump(remote, "7.2.17", "main", service="redis")
    bump(remote, NEW)
    with pytest.raises(promotion.LackingError, match=r"redis.*\(in images\.yaml\)"):
        prepare_any(remote)


def test_a_hold_that_both_branches_have_is_no_obstacle(remote: Remote) -> None:
    """Even beside a bump, with whose line Git would merge it into a conflict."""
    bump(remote, "7.2.17", service="redis")
    for branch in ("main", "develop"):
        land(remote, changes.hold("redis", reason="slow"), branch)
    assert staging(remote, "redis", prepare(remote).commit) == "7.2.17"


@pytest.mark.parametrize("how", ["cherry-pick", "merge"])
def test_a_hotfix_that_the_source_has_is_promoted(remote: Remote, how: str) -> None:
    """In whatever way it arrived there."""
    commit = write(remote, "main", "hotfix.py", "fixed = True\n")
    bump(remote, NEW)
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    run_git(remote.clone, how, commit, *(["--no-edit"] if how == "merge" else []))
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    assert "hotfix.py" in run_git(remote.clone, "ls-tree", "--name-only", prepare(remote).commit)


def test_a_change_of_rendered_files_alone_is_rendered_again(remote: Remote) -> None:
    """Nobody resolves that by hand."""
    pod = json.loads(remote.file("dist/staging/redis.yaml", "main"))
    pod["spec"]["containers"][0]["tty"] = True
    write(remote, "main", "dist/staging/redis.yaml", json.dumps(pod))
    bump(remote, "7.2.18", service="redis")
    assert "tty" not in run_git(
        remote.clone, "show", f"{prepare(remote).commit}:dist/staging/redis.yaml"
    )


def test_a_person_may_overrule_the_target(remote: Remote) -> None:
    """The reason stands in the commit, and the promotion after it needs none."""
    write(remote, "main", "hotfix.py", "fixed = True\n")
    bump(remote, NEW)
    landed = promote(remote, overrule="solved in another way")
    message = run_git(remote.clone, "log", "-1", "--format=%b", f"{landed}^2")
    assert message.splitlines()[1] == "Overrules: solved in another way"
    assert "hotfix.py" not in run_git(remote.clone, "ls-tree", "--name-only", landed)
    bump(remote, OLD)
    assert promote(remote)


def test_without_anything_to_overrule_the_commit_says_nothing(remote: Remote) -> None:
    """A reason for nothing would mislead whoever reads it."""
    bump(remote, NEW)
    found = prepare(remote, overrule="to be sure")
    assert "Overrules" not in run_git(remote.clone, "log", "-1", "--format=%b", found.commit)


def test_a_reason_to_overrule_is_no_trailer(remote: Remote) -> None:
    """A rehearsal reads what is allowed from the messages of commits."""
    with pytest.raises(ImagesError, match="could be read as a trailer"):
        prepare_any(remote, overrule="Rehearsal-Allow: staging StatefulSet/redis=data-at-risk x")


@pytest.mark.parametrize("how", ["--no-ff", "--squash"])
def test_a_reverted_promotion_is_not_promoted_by_itself(remote: Remote, how: str) -> None:
    """Somebody took it back for a reason: the release arrives again once a person says so."""
    bump(remote, NEW)
    landed = promote(remote, how=how)
    revert(remote, "main", landed)
    bump(remote, "7.2.18", service="redis")
    with pytest.raises(promotion.LackingError, match='Revert "'):
        prepare_any(remote)
    promote(remote, overrule="fixed by redis 2")
    assert staging(remote, "payment-api", "origin/main") == NEW


def test_a_revert_on_both_branches_is_promoted(remote: Remote) -> None:
    """Then both agree, and the next release is promoted as ever."""
    old = remote.images()["payment-api"]
    bump(remote, OLD)
    bumped, landed = remote.head(), promote(remote)
    revert(remote, "main", landed)
    revert(remote, "develop", bumped)
    bump(remote, "7.2.18", service="redis")
    promote(remote)
    assert staging(remote, "payment-api", "origin/main") == old
    assert staging(remote, "redis", "origin/main") == "7.2.18"


def revert(remote: Remote, branch: str, commit: str) -> None:
    """Revert a commit on a branch, a merge to its first parent."""
    run_git(remote.clone, "fetch", "--quiet")
    run_git(remote.clone, "switch", "--quiet", "--detach", f"origin/{branch}")
    merge = " " in run_git(remote.clone, "log", "-1", "--format=%P", commit)
    run_git(remote.clone, "revert", "--no-edit", *(["-m1"] if merge else []), commit)
    run_git(remote.clone, "push", "--quiet", "origin", f"HEAD:{branch}")


def test_squashed_and_rebased_promotions_do_not_stop_the_next(remote: Remote) -> None:
    """Their files arrived; a history without them would make a conflict for ever."""
    pin(remote)
    for number, how in enumerate(["--squash", "--no-ff", "--squash", "--squash"]):
        bump(remote, f"{number}" * 40)
        write(remote, "develop", "code.py", f"number = {number}\n")
        promote(remote, how=how)
    bump(remote, NEW)
    promote(remote)
    assert staging(remote, "payment-api", "origin/main") == NEW
    assert staging(remote, "redis", "origin/main") == "7.2.17"


def test_staging_is_promoted_to_production(tmp_path: Path) -> None:
    """Production gets what staging has, keeps its own pins, and gets none of staging's."""
    remote = Remote.create(tmp_path, DEV, STAGING, PRODUCTION)
    bump(remote, OLD)
    bump(remote, "7.2.18", service="redis")
    promote(remote)
    bump(remote, NEW)
    pin(remote)
    pin(remote, "7.2.19", environment="production", branch="production")
    promote(remote, STAGING, PRODUCTION)
    pods = [
        json.loads(remote.file(f"dist/production/{service}.yaml", "production"))
        for service in ("payment-api", "redis")
    ]
    images = [pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods]
    assert images == [OLD, "7.2.19"]


def test_pins_that_do_not_render_are_reported(remote: Remote) -> None:
    """Each branch renders, so nobody would expect it."""
    pin(remote)
    bump(remote, NEW)

    def refuse(worktree: Path) -> None:
        if "pins:" in (worktree / "images.yaml").read_text(encoding="utf-8"):
            raise RenderError("images.yaml:19: wrong.")
        remotes.render(worktree)

    with pytest.raises(promotion.PromotionError, match=r"with the pins of main: images"):
        prepare_any(remote, render=refuse)


def test_a_stale_dist_is_not_promoted(remote: Remote) -> None:
    """Dev has never run what its sources render."""
    (remote.clone / "dist" / "staging" / "redis.yaml").unlink()
    remotes.commit(remote.clone, "Lose a file")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")
    with pytest.raises(promotion.StaleError, match=r"^develop is not ready: dist/staging/redis"):
        prepare(remote)


def test_a_merge_of_a_promotion_is_the_promotion(remote: Remote) -> None:
    """What landed is what was reviewed and rehearsed."""
    bump(remote, NEW)
    assert promotion.altered(remote.clone, promote(remote)) == []


def test_a_merge_that_differs_from_the_promotion_is_noticed(remote: Remote) -> None:
    """Main had moved, or somebody added something to the merge."""
    bump(remote, NEW)
    found = prepare(remote)
    pin(remote)
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/main")
    run_git(remote.clone, "merge", "--quiet", "--no-ff", "--no-edit", found.commit)
    assert promotion.altered(remote.clone) == ["dist/staging/redis.yaml", "images.yaml"]


@pytest.mark.parametrize("branch", ["develop", "main"])
def test_other_commits_are_no_promotions(remote: Remote, branch: str) -> None:
    """Nobody has promised anything about them."""
    commit = write(remote, branch, "code.py", "x = 1\n")
    assert promotion.altered(remote.clone, commit) == []


def test_a_merge_back_into_the_source_is_no_promotion(remote: Remote) -> None:
    """Develop has newer commits that main never got with it."""
    bump(remote, OLD)
    landed = promote(remote, how="--ff-only")
    bump(remote, NEW)
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    run_git(remote.clone, "merge", "--quiet", "--no-ff", "--no-edit", landed)
    assert promotion.altered(remote.clone) == []
