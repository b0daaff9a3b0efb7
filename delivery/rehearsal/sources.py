"""Sources of objects in the constructs: file and line, found by parsing the source text.

cdk8s records no Python lines, so they are found as a person would find them: `system.py` shows
which construct fills a chart, and the construct's module contains the call that makes the kind,
with the name among its arguments. Such a call is `k8s.Kube<Kind>`, or a function of ours that makes
one. The line is where the object is made, not where a setting comes from.
"""

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from delivery.manifests.tree import Files, Key

PACKAGE = "constructs/fraud_detection"
_MAKER = re.compile(r"Kube([A-Z][A-Za-z]*?)(V\d\w*)?$")
_SYSTEM = "system"


@dataclass(frozen=True)
class _Module:
    """One module of the package: its path from the root of the repository, and its syntax."""

    path: str
    body: ast.Module

    @cached_property
    def calls(self) -> list[ast.Call]:
        """All calls, by line."""
        found = [node for node in ast.walk(self.body) if isinstance(node, ast.Call)]
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))

    @cached_property
    def imports(self) -> dict[str, str]:
        """The modules from which names are imported, by name."""
        return {
            name.name: node.module.rpartition(".")[2]
            for node in ast.walk(self.body)
            if isinstance(node, ast.ImportFrom) and node.module
            for name in node.names
        }

    def values(self, target: ast.expr) -> list[ast.expr]:
        """Return everything that is assigned to a name or a field in the module."""
        return self._assigned.get(ast.unparse(target), [])

    @cached_property
    def _assigned(self) -> dict[str, list[ast.expr]]:
        found: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.body):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    found.setdefault(ast.unparse(target), []).append(node.value)
        return found


class Sources:
    """The source code of a repository's constructs: the files of its `PACKAGE`."""

    def __init__(self, files: Files) -> None:
        self._modules = {
            path.stem: _Module(str(path), ast.parse(content))
            for path, content in sorted(files.items())
            if path.suffix == ".py" and "files" not in path.parts
        }

    def of(self, key: Key, file: str) -> str | None:
        """Return the file and line that make an object, such as `constructs/…/redis.py:57`.

        It is the first line of the construct if no better one is found, and None if no construct
        makes the object's file in `dist/`.
        """
        construct = self._constructs.get(PurePosixPath(file).stem)
        if construct is None:
            return None
        module = self._modules[self._modules[_SYSTEM].imports[construct]]
        line = self._line(module, key) or _line_of_class(module, construct)
        return f"{module.path}:{line}"

    @cached_property
    def _constructs(self) -> dict[str, str]:
        """The class that fills each chart, by the chart's id: the name of its file."""
        system = self._modules.get(_SYSTEM)
        return {
            chart.args[0].value: call.func.id
            for call in (system.calls if system else [])
            if isinstance(call.func, ast.Name)
            for chart in call.args[:1]
            if isinstance(chart, ast.Call)
            and _name(chart.func) == "chart"
            and isinstance(chart.args[0], ast.Constant)
            and isinstance(chart.args[0].value, str)
        }

    @cached_property
    def _makers(self) -> dict[str, set[str]]:
        """The kinds that our functions and classes make, by name."""
        found: dict[str, set[str]] = {}
        for module in self._modules.values():
            for node in module.body.body:
                if isinstance(node, ast.FunctionDef):
                    calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
                    found[node.name] = {kind for call in calls if (kind := _kind(call.func))}
                if isinstance(node, ast.ClassDef):
                    found[node.name] = {kind for base in node.bases if (kind := _kind(base))}
        return found

    def _line(self, module: _Module, key: Key) -> int | None:
        makers = [
            call
            for call in module.calls
            if _kind(call.func) == key.kind or key.kind in self._makers.get(_name(call.func), ())
        ]
        named = [call for call in makers if self._names(module, call, key.name)]
        # A NetworkPolicy is made elsewhere, for each component that is made here.
        components = [
            call
            for call in module.calls
            if _name(call.func) == "Component" and self._names(module, call, key.name)
        ]
        found = [*named, *makers, *components]
        return found[0].lineno if found else None

    def _names(self, module: _Module, call: ast.Call, name: str) -> bool:
        """Whether an argument of a call, or of a call `metadata` in it, is the name."""
        arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
        for each in arguments[:]:
            if isinstance(each, ast.Call) and _name(each.func) == "metadata":
                arguments += each.args
        return any(self._can_be(module, argument, name) for argument in arguments)

    def _can_be(self, module: _Module, expression: ast.expr, name: str) -> bool:
        """Whether an expression can evaluate to the name, as far as the module alone shows."""
        if isinstance(expression, ast.Constant):
            return bool(expression.value == name)
        if isinstance(expression, ast.JoinedStr):
            parts = (
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+"
                for part in expression.values
            )
            return re.fullmatch("".join(parts), name) is not None
        if isinstance(expression, ast.Name):
            return any(self._can_be(module, each, name) for each in module.values(expression))
        if isinstance(expression, ast.Attribute):
            # A field of an object that was made here with that field as an argument.
            return any(
                keyword.arg == expression.attr and self._can_be(module, keyword.value, name)
                for made in module.values(expression.value)
                if isinstance(made, ast.Call)
                for keyword in made.keywords
            )
        return False


def _line_of_class(module: _Module, name: str) -> int:
    return next(
        node.lineno
        for node in module.body.body
        if isinstance(node, ast.ClassDef) and node.name == name
    )


def _name(expression: ast.expr | None) -> str:
    """Return the last part of a dotted name."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def _kind(maker: ast.expr) -> str | None:
    match = _MAKER.match(_name(maker))
    return match.group(1) if match else None
