"""The rules of the repository as a whole, whatever it renders."""

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from fraud_detection import environments
from fraud_detection.environments import ENVIRONMENTS, Environment
from remotes import commit, run_git
from rendering import large, live_manifests
from repository import REPOSITORY, SERVICE_FILES

PACKAGE = REPOSITORY / "constructs" / "fraud_detection"
MODULES = [
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.stem != "environments" and SERVICE_FILES not in path.parents
]
OBJECTS = {name for name, value in vars(environments).items() if isinstance(value, Environment)}
FILES = [
    path.relative_to(SERVICE_FILES).as_posix()
    for path in SERVICE_FILES.rglob("*")
    if path.is_file() and path.suffix != ".pyc"
]


def text(path: str) -> str:
    """Return the text of a file in the repository."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_constructs_is_not_a_package() -> None:
    """With an `__init__.py` the folder would shadow `constructs` from PyPI, and nothing loads."""
    assert not (REPOSITORY / "constructs" / "__init__.py").exists()


def test_tests_are_not_packages() -> None:
    """A tests/constructs/__init__.py would shadow `constructs` in every test."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_constructs_is_the_package_from_pypi() -> None:
    """main.py looks into the root of the repository first, where our own folder is."""
    found = PathFinder.find_spec("constructs", [str(REPOSITORY), *sys.path])
    assert found is not None
    assert found.origin is not None
    assert "site-packages" in Path(found.origin).parts


def test_dist_hides_nothing() -> None:
    """`uv build` leaves a .gitignore there, which hides new manifests; build elsewhere."""
    assert list((REPOSITORY / "dist").rglob(".gitignore")) == []


@pytest.mark.usefixtures("git_environment")
def test_line_ends_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """`core.autocrlf` would make all of dist stale, and break the scripts in the containers."""
    files = {"dist/dev/a.yaml": b"one\ntwo\r\n", "script.sh": b"one\ntwo\n", "image.png": b"\0\r\n"}
    run_git(tmp_path, "init", "--quiet")
    run_git(tmp_path, "config", "core.autocrlf", "true")
    shutil.copy(REPOSITORY / ".gitattributes", tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    commit(tmp_path, "Files")
    for name in files:
        (tmp_path / name).unlink()
    run_git(tmp_path, "reset", "--quiet", "--hard")
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_mounted_somewhere(file: str) -> None:
    """A file that no ConfigMap holds is dead, and its tests prove nothing."""
    mounted = {
        entry
        for manifest in [*large, *live_manifests()]
        if manifest["kind"] == "ConfigMap"
        for entry in manifest["data"].items()
    }
    path = SERVICE_FILES / file
    assert (path.name, path.read_text(encoding="utf-8")) in mounted


def branches(source: str) -> Iterator[int]:
    """Find the lines that know an environment: its name, its object, or a comparison of names."""
    for node in ast.walk(ast.parse(source)):
        if (
            (isinstance(node, ast.Constant) and node.value in {e.name for e in ENVIRONMENTS})
            or (isinstance(node, ast.Name) and node.id in OBJECTS)
            or (
                isinstance(node, ast.Compare)
                and any(
                    isinstance(side, ast.Attribute) and side.attr == "name"
                    for side in (node.left, *node.comparators)
                )
            )
        ):
            yield node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_no_construct_knows_an_environment(module: str) -> None:
    """Environments differ in the settings of environments.py and nowhere else."""
    source = (PACKAGE / module).read_text(encoding="utf-8")
    assert list(branches(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        f"if namespace == '{ENVIRONMENTS[-1].name}': pass",
        f"replicas = {{'{ENVIRONMENTS[0].name}': 1}}[key]",
        f"if environment is {min(OBJECTS)}: pass",
        "if environment.name == name: pass",
        "if other != environment.name: pass",
    ],
)
def test_a_branch_on_the_environment_is_recognised(source: str) -> None:
    """Otherwise the test above would accept everything."""
    assert list(branches(source)) == [1]


def _locked_uv() -> str:
    [entry] = [
        entry for entry in text("uv.lock").split("[[package]]\n") if entry.startswith('name = "uv"')
    ]
    return entry


def test_uv_is_pinned_to_the_locked_version() -> None:
    """Two versions of uv might read uv.lock differently."""
    pinned = re.findall(r"^uv==(\S+)", text("tools/uv.txt"), flags=re.MULTILINE)
    assert pinned == re.findall(r'^version = "(.+)"', _locked_uv(), flags=re.MULTILINE)


def test_uv_is_pinned_to_the_locked_hashes() -> None:
    """The one package that is installed without uv.lock is verified like all others."""
    hashes = re.findall(r"sha256:[0-9a-f]{64}", text("tools/uv.txt"))
    assert sorted(hashes) == sorted(re.findall(r"sha256:[0-9a-f]{64}", _locked_uv()))


def test_uv_lock_names_public_hosts_only() -> None:
    """A lock file written behind a private mirror would install on no other machine."""
    hosts = re.findall(r'"(\w+://[^/"]*)', text("uv.lock"))
    assert hosts
    # Neither ports nor credentials nor bare host names or addresses.
    assert [h for h in set(hosts) if not re.fullmatch(r"https://[a-z]+(\.[a-z]+)+", h)] == []


def test_package_lock_names_no_host() -> None:
    """The integrity hashes are enough; each machine uses its own registry."""
    assert '"resolved"' not in text("package-lock.json")


def test_npmrc_has_no_credentials() -> None:
    """Everybody who reads the repository would have them, too."""
    assert re.findall(r"auth|token|password|registry=", text(".npmrc"), flags=re.IGNORECASE) == []
