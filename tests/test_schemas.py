"""Every manifest is what Kubernetes and Argo CD understand: no unknown field, no wrong type."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from tempfile import gettempdir
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
from cdk8s import App, Testing
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from fraud_detection.argocd import ArgoCd
from fraud_detection.environments import ENVIRONMENTS
from rendering import Manifest, both, dev
from repository import REPOSITORY
from schemas import schema_of

VERSIONS = [f"1.{minor}" for minor in range(27, 38)]
"""From the version that the typed constructs describe to the newest that the library knows."""


@pytest.fixture(autouse=True)
def _definitions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library parses a version's definitions, more than 1 MB, anew for each object."""
    read = kubernetes_validate.utils.schema_contents
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", cache(read))


def _kubernetes_errors(manifest: Manifest, version: str) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{_name(manifest)}: {error.json_path}: {error.message}"]
    return []


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_understands_every_manifest(version: str) -> None:
    """Under server-side apply one unknown field fails the whole sync."""
    assert [error for each in both() for error in _kubernetes_errors(each, version)] == []


def test_the_newest_known_version_is_among_them() -> None:
    """When the library learns a version, it is added above and checked from then on."""
    assert kubernetes_validate.latest_version().startswith(f"{VERSIONS[-1]}.")


def _misspell(deployment: Manifest) -> None:
    deployment["spec"]["replica"] = 1


def _mistype(deployment: Manifest) -> None:
    deployment["spec"]["template"]["spec"]["enableServiceLinks"] = "false"


def _leave_out(deployment: Manifest) -> None:
    del deployment["spec"]["template"]["spec"]["containers"][0]["name"]


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (_misspell, r"\$\.spec: .*'replica' was unexpected"),
        (_mistype, r"enableServiceLinks: 'false' is not of type 'boolean'"),
        (_leave_out, r"containers\[0\]: 'name' is a required property"),
    ],
)
def test_a_mistake_in_a_manifest_is_caught(
    mistake: Callable[[Manifest], None], message: str, version: str
) -> None:
    """Deep in a pod template as well as at the top."""
    deployment = deepcopy(dev().get("Deployment", "payment-api"))
    mistake(deployment)
    [error] = _kubernetes_errors(deployment, version)
    assert re.search(message, error)


@cache
def _argocd() -> dict[str, Manifest]:
    app = App(outdir=f"{gettempdir()}/never-written")
    ArgoCd(app, environments=ENVIRONMENTS)
    return {_name(manifest): manifest for chart in app.charts for manifest in Testing.synth(chart)}


@cache
def _definitions() -> list[Manifest]:
    return list(YAML(typ="safe").load_all(REPOSITORY / "crds" / "argoproj.yaml"))


def _argocd_errors(manifest: Manifest) -> list[str]:
    [schema] = [
        schema_of(definition)
        for definition in _definitions()
        if definition["spec"]["names"]["kind"] == manifest["kind"]
    ]
    validator = Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@pytest.mark.parametrize(
    "name",
    [
        "AppProject/fraud-detection",
        "Application/fraud-detection-system",
        "Application/fraud-detection-system-staging",
    ],
)
def test_argo_cd_understands_every_manifest(name: str) -> None:
    """They are applied by hand, once: what is ignored then is missing for ever."""
    assert _argocd_errors(_argocd()[name]) == []


def test_no_argo_cd_manifest_is_left_out() -> None:
    """One that is not in the list above would go unchecked."""
    assert len(_argocd()) == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec/syncPolicies", {}, r"^\$\.spec: .*'syncPolicies' was unexpected"),
        ("spec/syncPolicy/automated/selfHeel", True, "'selfHeel' was unexpected"),
        ("spec/ignoreDifferences/0/jsonPointer", [], "'jsonPointer' was unexpected"),
        ("spec/syncPolicy/automated/prune", "true", "'true' is not of type 'boolean'"),
        ("spec/syncPolicy/managedNamespaceMetadata/labels/a", 1, "1 is not of type 'string'"),
        ("spec/project", None, "'project' is a required property"),
        ("specification", {}, "'specification' was unexpected"),
    ],
)
def test_a_mistake_in_an_application_is_caught(path: str, value: object, message: str) -> None:
    """Also in a list, and in a field whose keys are free."""
    application = deepcopy(_argocd()["Application/fraud-detection-system"])
    node: Any = application
    *parents, last = path.split("/")
    for step in parents:
        node = node[int(step) if step.isdigit() else step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    [error] = _argocd_errors(application)
    assert re.search(message, error)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_definitions_of_argo_cd_s_types_are_valid_themselves(version: str) -> None:
    """A misspelt keyword in a schema asks for nothing."""
    assert [error for each in _definitions() for error in _kubernetes_errors(each, version)] == []
