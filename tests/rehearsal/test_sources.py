"""Sources of objects: a reviewer clicks on the line, so it must be the right one."""

import traceback
from pathlib import PurePosixPath
from typing import Any

import pytest
from cdk8s import Testing
from cdk8s_plus_27 import k8s

from delivery.manifests.tree import Desired, Key, manifests, read_dist, read_folder
from delivery.rehearsal.sources import PACKAGE, Sources
from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.system import System
from rendering import IMAGES
from repository import REPOSITORY


@pytest.fixture(scope="module")
def sources() -> Sources:
    """The source code of our constructs."""
    return Sources(read_folder(REPOSITORY, PACKAGE))


def objects(environment: str) -> list[Desired]:
    """Return the objects in the environment's folder of dist."""
    return manifests(read_dist(REPOSITORY), PurePosixPath("dist", environment))


def made(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return the lines of the constructs that really make each object, by `Kind/name`."""
    found: dict[str, set[str]] = {}

    def watch(name: str, kind: type[Any]) -> None:
        original = kind.__init__

        def init(self: object, *arguments: object, **fields: Any) -> None:  # noqa: ANN401 - the struct's own
            stack = [
                f"{PACKAGE}{frame.filename.partition(PACKAGE)[2]}:{frame.lineno}"
                for frame in traceback.extract_stack()
                if PACKAGE in frame.filename
            ]
            key = f"{name.removeprefix('Kube').removesuffix('V2')}/{fields['metadata'].name}"
            found.setdefault(key, set()).update(stack)
            original(self, *arguments, **fields)

        monkeypatch.setattr(kind, "__init__", init)

    for name, kind in vars(k8s).items():
        if name.startswith("Kube") and not name.endswith("Props"):
            watch(name, kind)
    System(Testing.app(), environment=environment, images=IMAGES)
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_each_object_of_dist_has_the_line_that_makes_it(
    sources: Sources, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack of a real render shows which lines make each object."""
    lines = made(environment, monkeypatch)
    for desired in objects(environment.name):
        source = sources.of(desired.key, desired.file)
        if desired.key.kind == "NetworkPolicy" and "namespace" not in desired.file:
            # One line makes the policies of all components, at the end.
            assert "Component(name=" in line_of(source), desired.key
        else:
            assert source in lines[str(desired.key)], desired.key


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
def test_no_two_objects_of_a_kind_have_one_line(sources: Sources, environment: Environment) -> None:
    """A line that makes several objects would explain none of them."""
    found = [(each.key.kind, sources.of(each.key, each.file)) for each in objects(environment.name)]
    assert len(found) == len(set(found))


def line_of(source: str | None) -> str:
    """Return the text of a line."""
    path, _, line = str(source).rpartition(":")
    return (REPOSITORY / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_an_object_of_no_construct_has_no_source(sources: Sources) -> None:
    """A file may be added by hand; `delivery check` reports it."""
    key = Key(kind="Service", name="some", namespace="shop", group="")
    assert sources.of(key, "dist/dev/by-hand.yaml") is None


def test_an_unknown_name_has_the_line_of_its_construct(sources: Sources) -> None:
    """The right construct is better than no line."""
    key = Key(kind="Lease", name="some", namespace="shop", group="")
    assert "class Redis(" in line_of(sources.of(key, "dist/dev/redis.yaml"))
