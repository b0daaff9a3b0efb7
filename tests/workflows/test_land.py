"""The script that pushes with the App's token what a job without secrets has made."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.releases import changes, landing
from remotes import Remote, commit, render, run_git, trust
from repository import REPOSITORY

LAND = REPOSITORY / ".github" / "scripts" / "land.sh"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("git_environment")]


@dataclass(frozen=True)
class Release:
    """A remote, the clone in which a job without secrets commits, and the clone that lands.

    Attributes:
        remote: The remote, and the first of the clones.
        checkout: The clone in which `land.sh` runs.
        bundle: The file that goes from one job to the other.
    """

    remote: Remote
    checkout: Path
    bundle: Path

    @property
    def clone(self) -> Path:
        """The clone in which the job without secrets works."""
        return self.remote.clone

    def pack(self, *refs: str) -> None:
        """Write the bundle of what is committed."""
        given = refs or ("origin/develop..develop",)
        run_git(self.clone, "bundle", "create", "--quiet", str(self.bundle), *given)

    def land(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script, for develop by default."""
        return subprocess.run(
            [LAND, self.bundle, *(arguments or ("develop",))],
            cwd=self.checkout,
            env={**os.environ, **variables},
            check=False,
            capture_output=True,
            text=True,
        )

    def landed(self, *arguments: str) -> None:
        """Run the script, which must push."""
        done = self.land(*arguments)
        commit = run_git(self.clone, "rev-parse", "HEAD")
        assert (done.returncode, done.stdout) == (0, f"landed={commit}\n"), done.stderr

    def refused(self, *arguments: str) -> str:
        """Run the script, which must refuse and change nothing; return why."""
        before = run_git(self.remote.bare, "for-each-ref")
        done = self.land(*arguments)
        assert done.returncode == 1, done.stderr
        assert run_git(self.remote.bare, "for-each-ref") == before
        return done.stderr


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Create a release of payment-api that is committed but not packed."""
    remote = Remote.create(tmp_path)
    checkout = tmp_path / "checkout"
    run_git(tmp_path, "clone", "--quiet", str(remote.bare), str(checkout))
    change(remote.clone)
    commit(remote.clone, "Release payment-api")
    return Release(remote, checkout, tmp_path / "release.bundle")


def change(clone: Path, old: str = "1" * 40, new: str = "a" * 40) -> None:
    """Change a tag, as a bump does."""
    for path in (clone / "images.yaml", clone / "dist" / "dev" / "payment-api.yaml"):
        path.write_text(path.read_text().replace(old, new))


def amend(release: Release) -> None:
    """Add what is in the working tree to the commit, and pack it."""
    run_git(release.clone, "add", "--all")
    run_git(release.clone, "commit", "--quiet", "--amend", "--no-edit")
    release.pack()


def test_a_release_is_pushed(release: Release) -> None:
    """The commit is the one that was made, not a copy."""
    release.pack()
    release.landed()
    assert release.remote.head() == run_git(release.clone, "rev-parse", "HEAD")


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("change", "branch"),
    [
        (changes.bump([changes.Build(service="redis", tag="7.2.17")], prove=trust), "develop"),
        (changes.hold("redis", reason="the repository: it is slow"), "develop"),
        (
            changes.pin(
                changes.Build(service="redis", tag="7.2.15"), "staging", prove=trust, reason="slow"
            ),
            "main",
        ),
    ],
    ids=["bump", "hold", "pin"],
)
def test_what_delivery_makes_is_accepted(
    release: Release, change: changes.Change, branch: str
) -> None:
    """The two jobs share a file alone: its refs, its base, and what a release may change."""
    bundle = release.bundle
    landing.land(
        release.clone, change, remote="origin", branch=branch, bundle=bundle, render=render
    )
    done = release.land(branch, "proposed")
    assert done.returncode == 0, done.stderr
    assert release.remote.head("proposed") in done.stdout


def test_nothing_is_checked_out(release: Release) -> None:
    """A hook, filter or attribute of the commit would run beside the token."""
    before = run_git(release.checkout, "rev-parse", "HEAD")
    release.pack()
    release.landed()
    assert run_git(release.checkout, "rev-parse", "HEAD") == before
    assert run_git(release.checkout, "status", "--porcelain") == ""


def test_a_pull_request_has_a_branch_of_its_own(release: Release) -> None:
    """Main takes pull requests alone: it stays as it is, and a second run replaces the branch."""
    for tag in ("a", "b"):
        change(release.clone, "a" * 40, tag * 40)
        amend(release)
        release.landed("develop", "operate/1")
        assert release.remote.head("operate/1") == run_git(release.clone, "rev-parse", "HEAD")
    assert release.remote.head() == run_git(release.clone, "rev-parse", "origin/develop")


def test_two_commits_are_refused(release: Release) -> None:
    """The first of them would be pushed unseen."""
    change(release.clone, "a" * 40, "b" * 40)
    commit(release.clone, "Another")
    release.pack()
    assert "one commit" in release.refused()


def test_a_merge_is_refused(release: Release) -> None:
    """Its other parent would bring a whole history."""
    run_git(release.clone, "checkout", "--quiet", "--orphan", "other")
    commit(release.clone, "Unrelated")
    run_git(release.clone, "switch", "--quiet", "develop")
    merge = ["merge", "--quiet", "--allow-unrelated-histories", "--strategy=ours", "other"]
    run_git(release.clone, *merge)
    release.pack()
    assert "one parent" in release.refused()


def test_a_root_commit_is_refused(release: Release) -> None:
    """Without a parent it would replace everything."""
    run_git(release.clone, "checkout", "--quiet", "--orphan", "other")
    commit(release.clone, "Start again")
    run_git(release.clone, "branch", "--force", "develop", "other")
    release.pack("develop")
    assert "one parent" in release.refused()


def test_a_commit_of_another_branch_is_refused(release: Release) -> None:
    """One that develop never had would bring its parents with it."""
    run_git(release.clone, "reset", "--quiet", "--hard", "origin/develop")
    commit(release.clone, "Foreign")
    run_git(release.clone, "push", "--quiet", "origin", "HEAD:refs/heads/feature")
    run_git(release.checkout, "fetch", "--quiet")
    change(release.clone)
    commit(release.clone, "Release")
    release.pack("origin/feature..develop")
    assert "on top of develop" in release.refused()


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/operate.yml",
        "main.py",
        "images.yaml.orig",
        "dist/dev/new.yaml",
        "dist/dev/x\n:100644 100644 0 0 M\ty.yaml",
        "dist/\x1b[1A`id`.yaml",
        "dist/.gitattributes",
    ],
)
def test_a_new_file_is_refused(release: Release, path: str) -> None:
    """A release never adds one: a workflow would run, with secrets, at the next event."""
    file = release.clone / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    amend(release)
    why = release.refused()
    assert "only changes files that exist" in why
    assert "\x1b" not in why


@pytest.mark.parametrize("path", ["cdk8s.yaml", "dist/argocd/system.yaml"])
def test_a_change_outside_of_releases_is_refused(release: Release, path: str) -> None:
    """Code and what the root Application applies come through reviewed pull requests alone."""
    (release.clone / path).write_text("x")
    amend(release)
    assert f"does not change {path}" in release.refused()


def _link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


@pytest.mark.parametrize("spoil", [_link, Path.unlink, lambda file: file.chmod(0o755)])
def test_only_regular_files_are_pushed(release: Release, spoil: Callable[[Path], None]) -> None:
    """A link would be followed by whoever reads dist; a removed file would be pruned."""
    spoil(release.clone / "dist" / "dev" / "redis.yaml")
    amend(release)
    assert "dist/dev/redis.yaml" in release.refused()


def test_a_submodule_is_refused(release: Release) -> None:
    """Argo CD would fetch it."""
    entry = f"160000,{'1' * 40},dist/dev/redis.yaml"
    run_git(release.clone, "update-index", "--cacheinfo", entry)
    run_git(release.clone, "commit", "--quiet", "--amend", "--no-edit")
    release.pack()
    assert "dist/dev/redis.yaml" in release.refused()


def test_another_repository_is_refused(release: Release) -> None:
    """A tag and a digest are proved; the repository is what they are proved in."""
    images = release.clone / "images.yaml"
    images.write_text(images.read_text().replace("registry.test/", "evil.test/"))
    amend(release)
    assert "repository" in release.refused()


def test_an_empty_commit_is_refused(release: Release) -> None:
    """Each landed commit starts checks and a sync."""
    run_git(release.clone, "reset", "--quiet", "--hard", "origin/develop")
    commit(release.clone, "Nothing")
    release.pack()
    assert "changes nothing" in release.refused()


@pytest.mark.parametrize("extra", ["refs/heads/other", "refs/tags/v1", "refs/heads/-x;id"])
def test_a_second_ref_is_refused(release: Release, extra: str) -> None:
    """What nobody looks at must not be there."""
    run_git(release.clone, "update-ref", extra, "HEAD")
    release.pack("origin/develop..develop", extra)
    assert "nothing else" in release.refused()


def test_the_ref_is_the_branch(release: Release) -> None:
    """A commit that was made for another branch is a mistake of the workflow."""
    release.pack()
    assert "refs/heads/main" in release.refused("main")


def test_a_link_is_no_bundle(release: Release) -> None:
    """It could name any file of the job that has the token."""
    release.pack()
    release.bundle.rename(release.bundle.with_name("elsewhere"))
    release.bundle.symlink_to("elsewhere")
    assert "no bundle" in release.refused()


def test_what_is_not_a_bundle_is_refused(release: Release) -> None:
    """The file comes from a job that may be hostile."""
    release.bundle.write_bytes(b"# v2 git bundle\n" + b"\0" * 100)
    release.refused()


def test_a_damaged_bundle_is_refused(release: Release) -> None:
    """Git would otherwise report only what it could not read."""
    release.pack()
    release.bundle.write_bytes(release.bundle.read_bytes()[:-10])
    assert "cannot be read" in release.refused()


def move(remote: Remote) -> None:
    """Land something else first."""
    run_git(remote.clone, "switch", "--quiet", "--detach", "origin/develop")
    commit(remote.clone, "First")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:develop")


def test_a_moved_branch_asks_for_another_attempt(release: Release) -> None:
    """Merging dist is not an option, so the release is made again on the new tip."""
    release.pack()
    move(release.remote)
    before = release.remote.head()
    assert release.land(ATTEMPT="3").stdout == "again=4\n"
    assert release.remote.head() == before


def test_a_pull_request_may_lag_behind(release: Release) -> None:
    """GitHub merges it, and its checks run on the merge."""
    release.pack()
    made = run_git(release.clone, "rev-parse", "HEAD")
    move(release.remote)
    assert release.land("develop", "images").stdout == f"landed={made}\n"


@pytest.mark.parametrize("attempt", ["20", "x[$(touch evaluated)]", "-1"])
def test_attempts_have_an_end(release: Release, attempt: str) -> None:
    """Runs that start each other would never stop; the number comes from whoever starts one."""
    release.pack()
    move(release.remote)
    done = release.land(ATTEMPT=attempt)
    assert (done.returncode, done.stdout) == (1, "")
    assert not (release.checkout / "evaluated").exists()


def test_a_lost_race_asks_for_another_attempt(release: Release, tmp_path: Path) -> None:
    """Somebody pushes between the last look and the push."""
    release.pack()
    run_git(release.clone, "switch", "--quiet", "--detach", "origin/develop")
    other = commit(release.clone, "First")
    run_git(release.clone, "push", "--quiet", "origin", "HEAD:refs/heads/other")
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(
        "#!/bin/sh\n"
        f'[ "$1" != push ] || {shutil.which("git")} --git-dir={release.remote.bare} '
        f"update-ref refs/heads/develop {other}\n"
        f'exec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    done = release.land(PATH=f"{git.parent}:{os.environ['PATH']}")
    assert done.stdout == "again=2\n", done.stderr
    assert release.remote.head() == other


def test_a_refusal_by_the_remote_is_not_a_race(release: Release) -> None:
    """Trying again would be refused for ever; what the remote says is shown."""
    hook = release.remote.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho GH013: Repository rule violations found\nexit 1\n")
    hook.chmod(0o755)
    release.pack()
    assert "GH013" in release.refused()
