"""What must hold for the repository as a whole, whatever it renders."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from fraud_detection.environments import ENVIRONMENTS
from rendering import both
from repository import REPOSITORY, SERVICE_FILES

PACKAGE = REPOSITORY / "constructs" / "fraud_detection"
MODULES = [
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.stem != "environments" and SERVICE_FILES not in path.parents
]
FILES = [
    path.relative_to(SERVICE_FILES).as_posix()
    for path in SERVICE_FILES.rglob("*")
    if path.is_file() and path.suffix != ".pyc"
]


def text(path: str) -> str:
    """A file of the repository."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_constructs_is_no_package() -> None:
    """With an `__init__.py` the folder would shadow the `constructs` of PyPI, and nothing loads."""
    assert not (REPOSITORY / "constructs" / "__init__.py").exists()


def test_tests_are_no_packages() -> None:
    """A tests/constructs/__init__.py would shadow `constructs` in every test."""
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_constructs_is_that_of_pypi() -> None:
    """As main.py finds it, which looks into the root of the repository first."""
    found = PathFinder.find_spec("constructs", [str(REPOSITORY), *sys.path])
    assert found is not None
    assert found.origin is not None
    assert "site-packages" in Path(found.origin).parts


def test_dist_hides_nothing() -> None:
    """`uv build` leaves a .gitignore there that hides new manifests; build elsewhere."""
    assert list((REPOSITORY / "dist").rglob(".gitignore")) == []


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_mounted_somewhere(file: str) -> None:
    """A file that no ConfigMap holds is dead, and its tests prove nothing."""
    mounted = {
        entry
        for manifest in both()
        if manifest["kind"] == "ConfigMap"
        for entry in manifest["data"].items()
    }
    path = SERVICE_FILES / file
    assert (path.name, path.read_text(encoding="utf-8")) in mounted


def branches(source: str) -> Iterator[int]:
    """The lines that know an environment: by its name, as an object, or by comparing names."""
    for node in ast.walk(ast.parse(source)):
        if (
            (isinstance(node, ast.Constant) and node.value in {e.name for e in ENVIRONMENTS})
            or (isinstance(node, ast.Name) and node.id in {"DEV", "STAGING"})
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
    """What differs between environments is a setting in environments.py, and nowhere else."""
    source = (PACKAGE / module).read_text(encoding="utf-8")
    assert list(branches(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "if namespace == 'staging': pass",
        "replicas = {'dev': 1}[key]",
        "if environment is STAGING: pass",
        "if environment.name == name: pass",
        "if other != environment.name: pass",
    ],
)
def test_a_branch_on_the_environment_is_recognised(source: str) -> None:
    """The test above would else be content with everything."""
    assert list(branches(source)) == [1]


def _locked_uv() -> str:
    [entry] = [
        entry for entry in text("uv.lock").split("[[package]]\n") if entry.startswith('name = "uv"')
    ]
    return entry


def test_uv_is_pinned_to_the_locked_version() -> None:
    """Two versions of uv might read uv.lock in two ways."""
    pinned = re.findall(r"^uv==(\S+)", text("tools/uv.txt"), flags=re.MULTILINE)
    assert pinned == re.findall(r'^version = "(.+)"', _locked_uv(), flags=re.MULTILINE)


def test_uv_is_pinned_to_the_locked_hashes() -> None:
    """The one package that is installed without uv.lock is checked as if it was."""
    hashes = re.findall(r"sha256:[0-9a-f]{64}", text("tools/uv.txt"))
    assert sorted(hashes) == sorted(re.findall(r"sha256:[0-9a-f]{64}", _locked_uv()))


def test_uv_lock_names_public_places_only() -> None:
    """Locked behind somebody's own mirror, it would install on no other machine."""
    places = re.findall(r'"(\w+://[^/"]*)', text("uv.lock"))
    assert places
    # No port, no credentials, no bare number or name of a machine.
    assert [p for p in set(places) if not re.fullmatch(r"https://[a-z]+(\.[a-z]+)+", p)] == []


def test_package_lock_names_no_place() -> None:
    """The integrity hashes are enough; the registry is the reader's own."""
    assert '"resolved"' not in text("package-lock.json")


def test_npmrc_has_no_credentials() -> None:
    """Whoever reads the repository would have them, too."""
    assert re.findall(r"auth|token|password|registry=", text(".npmrc"), flags=re.IGNORECASE) == []
