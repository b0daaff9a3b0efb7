"""The files of dist, read from a commit or from the working tree."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from delivery.git import GitError
from delivery.manifests.tree import TreeError, read_dist, read_folder
from remotes import commit, run_git

pytestmark = pytest.mark.usefixtures("git_environment")
FILE = PurePosixPath("dist/dev/app.yaml")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one file in dist, which is not committed yet."""
    run_git(tmp_path, "init", "--quiet", "--initial-branch=main", "repository")
    (tmp_path / "repository/dist/dev").mkdir(parents=True)
    (tmp_path / "repository" / FILE).write_bytes(b"a\r\n\xfc\0\n")
    return tmp_path / "repository"


def test_a_commit_and_the_working_tree_are_read_alike(repository: Path) -> None:
    """Their comparison must show what changed, and nothing else; names may be odd."""
    (repository / 'dist/dev/\u00fc "quoted"\n.yaml').write_bytes(b"")
    (repository / "dist/dev/unterminated.yaml").write_bytes(b"a")
    head = commit(repository, "One")
    assert read_dist(repository, head) == read_dist(repository)
    assert read_dist(repository)[FILE] == b"a\r\n\xfc\0\n"


@pytest.mark.parametrize("attribute", ["export-ignore", "export-subst", "eol=crlf", "filter=evil"])
def test_attributes_do_not_change_what_is_read(repository: Path, attribute: str) -> None:
    """One line in .gitattributes would hide a file that Argo CD applies from its reviewer."""
    (repository / FILE).write_bytes(b"$Format:%H$\n")
    (repository / ".gitattributes").write_text(f"{FILE} {attribute}\n", encoding="utf-8")
    run_git(repository, "config", "filter.evil.smudge", "echo evil")
    assert read_dist(repository, commit(repository, "One")) == {FILE: b"$Format:%H$\n"}


def link(repository: Path) -> str:
    """Replace the file by a symbolic link."""
    (repository / FILE).unlink()
    (repository / FILE).symlink_to("/etc/passwd")
    return f"{FILE}.* is a symbolic link"


def link_folder(repository: Path) -> str:
    """Replace dist by a symbolic link to a folder with the same files."""
    (repository / "dist").rename(repository / "elsewhere")
    (repository / "dist").symlink_to("elsewhere")
    return "dist.* is a symbolic link"


def dangle(repository: Path) -> str:
    """Add a symbolic link to nothing."""
    (repository / "dist/dev/gone.yaml").symlink_to("nowhere")
    return "dist/dev/gone.yaml.* is a symbolic link"


def submodule(repository: Path) -> str:
    """Add another repository, which Git records as a submodule."""
    run_git(repository, "init", "--quiet", "dist/other")
    commit(repository / "dist/other", "One")
    return "dist/other.* is a submodule"


@pytest.mark.parametrize("committed", [True, False], ids=["commit", "working-tree"])
@pytest.mark.parametrize("make", [link, link_folder, dangle, submodule])
def test_what_points_elsewhere_is_refused(
    repository: Path, make: Callable[[Path], str], *, committed: bool
) -> None:
    """A reviewer would read other files than Argo CD applies."""
    expected = make(repository)
    head = commit(repository, "One")
    with pytest.raises(TreeError, match=f"^{expected}: replace it by the files themselves"):
        read_dist(repository, head if committed else None)


@pytest.mark.parametrize("committed", [True, False], ids=["commit", "working-tree"])
def test_a_link_above_the_folder_is_refused(repository: Path, *, committed: bool) -> None:
    """`dist/argocd` is read alone."""
    link_folder(repository)
    head = commit(repository, "One")
    with pytest.raises(TreeError, match=r"^dist is a symbolic link|^There is no dist/dev in"):
        read_folder(repository, "dist/dev", head if committed else None)


@pytest.mark.parametrize("commit_name", ["HEAD", "a" * 40])
def test_a_commit_without_dist_is_reported(repository: Path, commit_name: str) -> None:
    """An empty environment would look as if everything had to be removed."""
    run_git(repository, "commit", "--quiet", "--allow-empty", "--message=Empty")
    with pytest.raises(TreeError, match=f"^There is no dist in {commit_name}"):
        read_dist(repository, commit_name)


def test_a_missing_blob_is_reported(repository: Path) -> None:
    """A damaged clone must not look like an empty file."""
    head = commit(repository, "One")
    blob = run_git(repository, "rev-parse", f"HEAD:{FILE}")
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(GitError, match=blob):
        read_dist(repository, head)
