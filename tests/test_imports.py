"""imports/ is exactly the output of `cdk8s import` for crds/."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repository import REPOSITORY

pytestmark = pytest.mark.slow


def _contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file; of archives unpacked, as each zlib packs differently."""
    return {
        path.relative_to(folder).as_posix(): gzip.decompress(path.read_bytes())
        if path.suffix == ".tgz"
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_imports_are_generated_from_the_crds(tmp_path: Path) -> None:
    """A type edited by hand, or a CRD changed without its types, would render another field."""
    programs = Path(sys.executable).parent
    output = tmp_path / "imports"
    # Where the path of the repository has a space in it, `cdk8s import` fails without this link.
    modules = tmp_path / "node_modules"
    modules.symlink_to(REPOSITORY / "node_modules")
    subprocess.run(
        [
            *(programs / "node", "--preserve-symlinks", "--preserve-symlinks-main"),
            *(modules / "cdk8s-cli" / "bin" / "cdk8s", "import"),
            *("--check-upgrade", "false", "--output", output),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
    )
    assert _contents(REPOSITORY / "imports") == _contents(output)
