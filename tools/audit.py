"""Known vulnerabilities of every package that is pinned: Python's, npm's and Go's.

uv, npm and govulncheck ask a database each, and only uv can be given accepted findings. OSV has all
of them, and needs no program.
"""

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

_ROOT = Path(__file__).parent.parent
_OSV = "https://api.osv.dev"
_SECONDS = 60
_BATCH = 1000
"""Most packages that OSV accepts in one question."""
_UNANSWERED = 2


class Package(NamedTuple):
    """A pinned package; the ecosystem is OSV's name for where it comes from."""

    ecosystem: str
    name: str
    version: str


def pinned(root: Path) -> list[Package]:
    """Return every package of the lock files below a folder."""
    found = {*_python(root), *_node(root)}
    for file in root.glob("tools/*/*/go.mod"):
        found.update(_go(file.read_text(encoding="utf-8")))
    return sorted(found)


def _python(root: Path) -> Iterator[Package]:
    text = (root / "uv.lock").read_text(encoding="utf-8")
    package = r'^\[\[package\]\]\nname = "(.+)"\nversion = "(.+)"\nsource = \{ registry'
    for name, version in re.findall(package, text, flags=re.MULTILINE):
        yield Package("PyPI", name, version)


def _node(root: Path) -> Iterator[Package]:
    packages = json.loads((root / "package-lock.json").read_bytes())["packages"]
    for path, package in packages.items():
        if path:
            name = package.get("name") or path.rpartition("node_modules/")[2]
            yield Package("npm", name, package["version"])


def _go(text: str) -> Iterator[Package]:
    replaced = dict(re.findall(r"^(?:replace|\t)\s*(\S+).* => (\S+ \S+)", text, flags=re.MULTILINE))
    for name, version in re.findall(
        r"^(?:require |\t)(\S+) v(\S+)(?!.*=>)", text, flags=re.MULTILINE
    ):
        instead, _, its_version = replaced.get(name, f"{name} v{version}").partition(" v")
        yield Package("Go", instead, its_version)


def ask(packages: list[Package], url: str) -> dict[str, list[Package]]:
    """Return the known vulnerabilities, each with the packages that it concerns.

    Raises:
        OSError: If OSV does not answer.
        ValueError: If it answers something else.
    """
    found: dict[str, list[Package]] = {}
    for start in range(0, len(packages), _BATCH):
        asked = packages[start : start + _BATCH]
        queries = [
            {"package": {"name": each.name, "ecosystem": each.ecosystem}, "version": each.version}
            for each in asked
        ]
        for package, answer in zip(asked, _post(url, {"queries": queries}), strict=True):
            for each in answer.get("vulns", []):
                found.setdefault(each["id"], []).append(package)
    return found


def _post(url: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - HTTPS, except in tests
        f"{url}/v1/querybatch",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310 - as above
        answer = json.load(response)
    if not isinstance(answer, dict) or "results" not in answer:
        raise ValueError("the answer has no results")
    return list(answer["results"])


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=_ROOT, help="Other repository.")
@click.option("--url", default=_OSV, show_default=True, help="Address of the database.")
def main(root: Path, url: str) -> None:
    """Ask for the known vulnerabilities of all pinned packages.

    tools/accepted-vulnerabilities.json has the ID and the reason of each that is accepted. Exits
    with 1 if one is not, or if an accepted one concerns nothing any more; with 2 without an answer.
    """
    packages = pinned(root)
    accepted = json.loads((root / "tools" / "accepted-vulnerabilities.json").read_bytes())
    try:
        found = ask(packages, url)
    except (OSError, ValueError) as error:
        click.echo(
            f"Error: {url} did not answer ({error}), so that nothing is known: run it where that "
            "address can be reached.",
            err=True,
        )
        sys.exit(2)
    new = sorted(found.keys() - accepted)
    outdated = sorted(accepted.keys() - found)
    for each in new:
        which = ", ".join(" ".join(package) for package in found[each])
        click.echo(f"https://osv.dev/{each}: {which}")
    for each in outdated:
        click.echo(f"{each}: concerns no package any more; remove it from the accepted ones")
    click.echo(f"{len(packages)} packages, vulnerabilities that are not accepted: {len(new)}")
    sys.exit(bool(new or outdated))


if __name__ == "__main__":
    main()
