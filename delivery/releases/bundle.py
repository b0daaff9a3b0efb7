"""A commit in a file, for a job that may push and must not run the code that made it."""

from pathlib import Path

from delivery.releases.sandbox import Sandbox
from delivery.temporary import temporary_folder


def write_bundle(private: Sandbox, commit: str, path: Path, *, branch: str) -> None:
    """Write one commit as a Git bundle; whoever reads it must have its parents.

    Args:
        private: The repository that has the commit.
        commit: The commit.
        path: The file, which is replaced as a whole.
        branch: Name of the commit in the bundle, below `refs/heads/`.

    Raises:
        GitError: If Git refuses.
        OSError: If the file cannot be written.
    """
    ref = f"refs/heads/{branch}"
    private.git("update-ref", ref, commit)
    path = path.absolute()
    with temporary_folder(".bundle-", parent=path.parent) as folder:
        new = folder / path.name
        private.git("bundle", "create", "--quiet", str(new), ref, "--not", f"{commit}^@")
        new.replace(path)
