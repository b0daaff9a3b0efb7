"""Kubernetes, Argo CD and the Prometheus Operator understand every manifest in full."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it ships no types
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from fraud_detection.environments import ENVIRONMENTS
from rendering import Manifest, argocd, large, live_manifests, small
from repository import REPOSITORY
from schemas import schema_of

VERSIONS = [f"1.{minor}" for minor in range(27, 38)]
"""From the version that the typed constructs describe to the newest that the library knows."""


@pytest.fixture(autouse=True)
def _definitions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the definitions of a version once; the library parses more than 1 MB per object."""
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
    assert [error for each in live_manifests() for error in _kubernetes_errors(each, version)] == []


def test_the_newest_known_version_is_among_them() -> None:
    """A version that the library learns must be added above."""
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
    """Mistakes count deep in a pod template as well as at the top."""
    deployment = deepcopy(small.get("Deployment", "payment-api"))
    mistake(deployment)
    [error] = _kubernetes_errors(deployment, version)
    assert re.search(message, error)


@cache
def _definitions() -> list[Manifest]:
    return [
        definition
        for file in ("argoproj.yaml", "monitoring.yaml")
        for definition in YAML(typ="safe").load_all(REPOSITORY / "crds" / file)
    ]


def _custom_errors(manifest: Manifest) -> list[str]:
    [schema] = [
        schema_of(definition)
        for definition in _definitions()
        if definition["spec"]["names"]["kind"] == manifest["kind"]
    ]
    validator = Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def test_argo_cd_understands_every_manifest() -> None:
    """A field that Argo CD ignores is a rule that nobody enforces."""
    errors = {
        name: _custom_errors(manifest)
        for name, manifest in argocd().items()
        if manifest["kind"] != "Namespace"
    }
    assert {name: found for name, found in errors.items() if found} == {}


def test_the_prometheus_operator_understands_every_manifest() -> None:
    """Its webhook refuses a rule with an unknown field, and with it the whole sync."""
    manifests = [*large.kind("PodMonitor"), *large.kind("PrometheusRule")]
    assert manifests
    assert [error for each in manifests for error in _custom_errors(each)] == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec/syncPolicies", {}, r"^\$\.spec: .*'syncPolicies' was unexpected"),
        ("spec/syncPolicy/automated/selfHeel", True, "'selfHeel' was unexpected"),
        ("spec/ignoreDifferences/0/jsonPointer", [], "'jsonPointer' was unexpected"),
        ("spec/syncPolicy/automated/prune", "true", "'true' is not of type 'boolean'"),
        ("spec/project", None, "'project' is a required property"),
        ("specification", {}, "'specification' was unexpected"),
    ],
)
def test_a_mistake_in_an_application_is_caught(path: str, value: object, message: str) -> None:
    """Mistakes count in lists, too."""
    application = deepcopy(argocd()[f"Application/{ENVIRONMENTS[0].application}"])
    node: Any = application
    *parents, last = path.split("/")
    for step in parents:
        node = node[int(step) if step.isdigit() else step]
    if value is None:
        del node[last]
    else:
        node[last] = value
    [error] = _custom_errors(application)
    assert re.search(message, error)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_definitions_are_valid_themselves(version: str) -> None:
    """A misspelt keyword in a schema validates nothing."""
    assert [error for each in _definitions() for error in _kubernetes_errors(each, version)] == []
