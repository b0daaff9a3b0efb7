"""Settings of the user's own Git, none of which may change an answer."""

from functools import cache
from pathlib import Path

import pytest

import remotes
from delivery.manifests import diff
from delivery.releases import changes, landing, promotion, status
from delivery.releases.changes import Build
from delivery.releases.sandbox import sandbox
from remotes import DEV, STAGING, Remote, commit, run_git

OLD, NEW = "a" * 40, "b" * 40
SIGNER = """\
#!/bin/sh
case "$*" in
*--verify*) echo "Good signature, says nobody" >&2; exit 1 ;;
*) cat >/dev/null; echo "[GNUPG:] SIG_CREATED " >&2; echo "-----BEGIN PGP SIGNATURE-----" ;;
esac
"""
"""A stand-in for gpg that signs everything and verifies nothing."""


# In this order: `home` replaces a variable of the other.
pytestmark = pytest.mark.usefixtures("git_environment", "home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the user's own configuration; all commits have the same date."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_DATE", "1700000000 +0000")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return tmp_path / "gitconfig"


def land(remote: Remote, tag: str, *, dry_run: bool = False) -> landing.Landing:
    """Release a build of payment-api."""
    change = changes.bump([Build(service="payment-api", tag=tag)], prove=remotes.trust)
    return landing.land(
        remote.clone,
        change,
        remote="origin",
        branch="develop",
        dry_run=dry_run,
        render=remotes.render,
    )


@cache
def template() -> tuple[Remote, list[object]]:
    """Create a remote with a bump on develop, and commits on main, one signed, that merge.

    Returns:
        The remote, for tests to copy, and the answers without any setting.
    """
    folder = remotes.lasting_folder()
    remote = Remote.create(folder)
    land(remote, OLD)
    signer = folder / "gpg"
    signer.write_text(SIGNER, encoding="utf-8")
    signer.chmod(0o755)
    run_git(remote.clone, "config", "gpg.program", str(signer))
    run_git(remote.clone, "switch", "--quiet", "--create", "work", "origin/main")
    (remote.clone / "Größe").write_text("one\ntwo\n", encoding="utf-8")
    commit(remote.clone, "Größe")
    run_git(remote.clone, "commit", "--quiet", "--allow-empty", "--gpg-sign", "--message=Signed")
    run_git(remote.clone, "tag", "--annotate", "--message=x", "own")
    run_git(remote.clone, "push", "--quiet", "origin", "HEAD:main")
    run_git(remote.clone, "switch", "--quiet", "develop")
    run_git(remote.clone, "pull", "--quiet", "origin", "develop")
    return remote, answers(remote)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Copy the remote."""
    original, _ = template()
    return original.copy(tmp_path)


@pytest.fixture
def expected() -> list[object]:
    """Return the answers that no setting may change."""
    _, answers = template()
    return answers


def answers(remote: Remote) -> list[object]:
    """Return what bump, status, diff and promote answer."""
    promoted = promotion.prepare(
        remote.clone, DEV, STAGING, remote="origin", overrule="x", render=remotes.render
    )
    return [
        promoted and promoted.text,
        status.status(remote.clone, remote="origin", now=0),
        diff.changes(remote.clone, "origin/main", STAGING),
        land(remote, NEW, dry_run=True),
    ]


def assert_ignored(remote: Remote, expected: list[object]) -> None:
    """Assert that the answers are the expected ones, and that the commit is pushed alone."""
    assert answers(remote) == expected
    landed = land(remote, NEW)
    assert landed == expected[-1]
    assert remote.head() == landed.commit
    assert run_git(remote.bare, "tag") == ""


def configure(path: Path, setting: str) -> None:
    """Add a setting to a configuration file, which may not exist yet."""
    key, _, value = setting.partition("=")
    run_git(path.parent, "config", "--file", str(path), key, value)


@pytest.mark.parametrize(
    "setting",
    [
        "branch.master.mergeOptions=--squash",
        "commit.gpgSign=true",
        "core.abbrev=40",
        "core.attributesFile=gitattributes",
        "core.autocrlf=true",
        "core.commentChar=R",
        "diff.orderFile=nowhere",
        "i18n.commitEncoding=latin1",
        "i18n.logOutputEncoding=latin1",
        "init.defaultBranch=..",
        "log.showRoot=false",
        "log.showSignature=true",
        "merge.verifySignatures=true",
        "push.gpgSign=true",
        "push.pushOption=x",
        "push.recurseSubmodules=only",
        "trailer.separators=#",
    ],
)
def test_a_setting_of_the_user_changes_nothing(
    remote: Remote, expected: list[object], home: Path, tmp_path: Path, setting: str
) -> None:
    """A reviewer and a workflow must read the same, and a person's bump be the robot's."""
    (tmp_path / "gitattributes").write_text("* text eol=crlf\n", encoding="utf-8")
    configure(home, setting.replace("gitattributes", str(tmp_path / "gitattributes")))
    assert_ignored(remote, expected)


def test_usual_settings_of_people_change_nothing(
    remote: Remote, expected: list[object], home: Path
) -> None:
    """None of them would alone, today; a newer Git or command may obey more of them."""
    for setting in (
        "alias.log=!false",
        "color.ui=always",
        "core.eol=crlf",
        "core.fsmonitor=false",
        "core.pager=false",
        "core.safecrlf=true",
        "core.sparseCheckout=true",
        "diff.external=false",
        "diff.noprefix=true",
        "diff.relative=true",
        "fetch.prune=true",
        "fetch.pruneTags=true",
        "log.date=relative",
        "log.follow=true",
        "merge.conflictStyle=diff3",
        "merge.ff=only",
        "merge.log=true",
        "pager.log=false",
        "push.default=nothing",
        "push.followTags=true",
        "safe.bareRepository=explicit",
        "submodule.recurse=true",
    ):
        configure(home, setting)
    assert_ignored(remote, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_CONFIG", "/dev/null"),
        ("GIT_DEFAULT_HASH", "sha256"),
        ("GIT_ICASE_PATHSPECS", "1"),
        ("GIT_LITERAL_PATHSPECS", "maybe"),
        ("GIT_NAMESPACE", "other"),
        ("GIT_QUARANTINE_PATH", "x"),
    ],
)
def test_a_variable_of_the_user_changes_nothing(
    remote: Remote,
    expected: list[object],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    """Also inside a hook, and for somebody who looks at what Git does."""
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        found = answers(remote)
        landed = land(remote, NEW)
    assert found == expected
    assert landed == expected[-1]
    assert remote.head() == landed.commit


def test_a_folder_named_like_the_remote_is_not_the_remote(remote: Remote) -> None:
    """Git prefers the name, and so do people who type it."""
    run_git(remote.clone, "init", "--quiet", "--bare", "origin")
    assert land(remote, NEW).commit == remote.head()


def test_settings_of_one_worktree_are_used(remote: Remote) -> None:
    """They may hold the credentials."""
    run_git(remote.clone, "config", "extensions.worktreeConfig", "true")
    run_git(remote.clone, "config", "--worktree", "http.extraHeader", "Authorization: x")
    with sandbox(remote.clone) as private:
        assert private.git("config", "--get-all", "http.extraHeader") == "Authorization: x"


def test_a_setting_without_a_value_is_true(remote: Remote) -> None:
    """As Git reads it: as an empty value it would switch the verification of servers off."""
    with (remote.clone / ".git" / "config").open("a", encoding="utf-8") as file:
        file.write("[http]\n\tsslVerify\n[core]\n\tsparseCheckout\n")
    with sandbox(remote.clone) as private:
        assert private.git("config", "--type=bool", "http.sslVerify") == "true"


def test_a_hook_may_not_change_the_commit(remote: Remote) -> None:
    """It may refuse it, but what lands is what was rendered, with the reason that was given."""
    hook = remote.clone / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho x > dist/dev/x.yaml\ngit add dist\n", encoding="utf-8")
    hook.chmod(0o755)
    before = remote.head()
    with pytest.raises(changes.ReleaseError, match="Git hook of this clone changed the commit"):
        land(remote, NEW)
    assert remote.head() == before


def test_a_hook_may_not_change_the_message(remote: Remote) -> None:
    """Programs read its trailers."""
    hook = remote.clone / ".git" / "hooks" / "prepare-commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "Release: redis 1" >> "$1"\n', encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(changes.ReleaseError, match="Git hook of this clone changed the commit"):
        land(remote, NEW)
