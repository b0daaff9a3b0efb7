"""The layers of the delivery package: imports run downwards only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import REPOSITORY

LAYERS = (
    {"cli"},
    {"clusters"},
    {"releases"},
    {"rehearsal"},
    {"network"},
    {"products"},
    {"control_plane"},
    {"manifests"},
    {"commands", "git", "temporary", "text"},
    {"processes"},
    {"errors"},
)
"""Packages and modules of delivery, the topmost layer first."""
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _modules(package: Path) -> dict[str, ast.Module]:
    """Return the modules of a package by their dotted names below it."""
    return {
        ".".join(path.relative_to(package).with_suffix("").parts): ast.parse(path.read_text())
        for path in package.rglob("*.py")
        if path.parent != package or path.name != "__init__.py"
    }


def _imports(tree: ast.Module) -> Iterator[str]:
    """Return the names below delivery that a module imports, also inside functions."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "delivery":
                yield rest.partition(".")[0]


def _violations(modules: dict[str, ast.Module]) -> list[str]:
    """Return the imports that do not run downwards, or within one package."""
    return [
        f"delivery.{module} imports delivery.{imported}"
        for module, tree in modules.items()
        for own in [module.partition(".")[0]]
        for imported in _imports(tree)
        if imported != own and RANKS[imported] <= RANKS[own]
    ]


MODULES = _modules(REPOSITORY / "delivery")


def test_every_package_has_a_layer() -> None:
    """A new package must say what it may rely on: add it to LAYERS."""
    assert {name.partition(".")[0] for name in MODULES} == RANKS.keys()


def test_imports_run_downwards_only() -> None:
    """A cycle makes two packages one that nobody can understand or test alone."""
    assert _violations(MODULES) == []


@pytest.mark.parametrize(
    ("importing", "statement", "is_violation"),
    [
        ("network.graph", "from delivery.manifests.tree import Key", False),
        ("network.graph", "from delivery.network import cluster", False),
        ("network.graph", "import json", False),
        ("network.graph", "from delivery import cli", True),
        ("network.graph", "import delivery.releases.changes", True),
        ("network.graph", "def f():\n    from delivery.rehearsal import run", True),
        ("git", "from delivery.text import short", True),
    ],
)
def test_a_violation_is_noticed(importing: str, statement: str, *, is_violation: bool) -> None:
    """However it is written."""
    assert bool(_violations({importing: ast.parse(statement)})) == is_violation
