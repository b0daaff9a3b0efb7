"""The workflow that the application repository calls, and its callers there."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from delivery.releases.images import images_of
from repository import REPOSITORY
from workflows import CALLERS, CONFIGURATION, GITHUB, commands, load, named, using, words

DELIVER = GITHUB / "workflows" / "deliver-service.yml"

each_caller = pytest.mark.parametrize("caller", CALLERS, ids=lambda path: path.name)


def test_commands_in_the_application_repository_are_single_ones() -> None:
    """It has neither our make nor `delivery`: each step calls one program, no script."""
    programs = [
        words(command)[0] for command in commands(GITHUB / "workflows" / "deliver-service.yml")
    ]
    assert programs == ["exit", "install", "uvx", "uv", "docker", "docker"]


def position(path: Path, **what: str) -> int:
    """Return the index of a step of the delivery, found by a part of its action or command."""
    [(key, part)] = what.items()
    [found] = [
        number
        for number, step in enumerate(load(path)["jobs"]["deliver"]["steps"])
        if part in step.get(key, "") and step.get("name") != "List its contents"
    ]
    return found


def test_an_image_is_pushed_only_after_its_scan() -> None:
    """Clusters pull from the registry: an image there counts as released."""
    job = load(DELIVER)["jobs"]["deliver"]
    order = [
        position(DELIVER, uses="docker/build-push-action"),
        position(DELIVER, uses="aquasecurity/trivy-action"),
        position(DELIVER, uses="docker/login-action"),
        position(DELIVER, run="docker push"),
        position(DELIVER, run="docker inspect"),
    ]
    assert order == sorted(order)
    assert job["needs"] == ["test"]
    assert [
        step["name"] for step in job["steps"] if "if" in step or "continue-on-error" in step
    ] == []


def test_a_vulnerable_image_fails_the_job() -> None:
    """HIGH and CRITICAL vulnerabilities fail it; the list of contents is not a scan."""
    scan, contents = using(DELIVER, "aquasecurity/trivy-action")
    assert scan["with"]["severity"] == "HIGH,CRITICAL"
    assert scan["with"]["exit-code"] == "1"
    assert "format" not in scan["with"]
    assert contents["with"]["format"] == "cyclonedx"


def test_the_image_is_built_once() -> None:
    """A second build might differ from the scanned image."""
    [build] = using(DELIVER, "docker/build-push-action")
    assert (build["with"]["load"], build["with"]["push"]) == (True, False)
    image = "${{ env.IMAGE }}"
    scans = using(DELIVER, "aquasecurity/trivy-action")
    assert [step["with"]["image-ref"] for step in scans] == [image, image]
    assert build["with"]["tags"] == image
    assert [c for c in commands(DELIVER) if c.startswith("docker push")] == ['docker push "$IMAGE"']


def test_the_tag_is_the_full_commit() -> None:
    """`latest` would be another image tomorrow, and a short SHA may be ambiguous."""
    job = load(DELIVER)["jobs"]["deliver"]
    assert job["env"]["IMAGE"] == "${{ inputs.image }}:${{ github.sha }}"
    assert "latest" not in DELIVER.read_text().replace("ubuntu-latest", "")


def test_the_pushed_image_is_attested() -> None:
    """Both attestations name the digest, and come before the bump."""
    attested = using(DELIVER, "actions/attest")
    digest = "${{ steps.pushed.outputs.digest }}"
    assert [step["with"]["subject-digest"] for step in attested] == [digest, digest]
    assert [step["with"].get("sbom-path") for step in attested] == [None, "sbom.cdx.json"]
    jobs = load(DELIVER)["jobs"]
    assert jobs["deliver"]["outputs"] == {"digest": digest}
    assert jobs["bump"]["needs"] == ["deliver"]


OURS_BY_TAG = {
    name: release.image
    for name, release in images_of(REPOSITORY).services.items()
    if re.fullmatch(r"[0-9a-f]{40}", release.image.tag)
}
"""The services that the application repository builds: their tags are its commits."""


@pytest.mark.parametrize("service", OURS_BY_TAG)
def test_every_service_that_we_build_has_a_caller(service: str) -> None:
    """Without one nobody builds its image, and nobody bumps it."""
    caller = REPOSITORY / "docs" / "application-repository" / f"{service}.yml"
    name = caller.relative_to(REPOSITORY)
    assert caller.exists(), f"{name} is missing: copy payment-api.yml and replace the service."
    given = load(caller)["jobs"]["deliver"]["with"]
    assert given["service"] == service
    assert given["image"] == OURS_BY_TAG[service].repository


@each_caller
def test_every_caller_is_that_of_a_service(caller: Path) -> None:
    """The image of a removed service would still be built."""
    assert caller.stem in OURS_BY_TAG


@each_caller
def test_a_caller_gives_what_is_asked_for(caller: Path) -> None:
    """GitHub would refuse an unknown input, but in another repository."""
    asked = load(DELIVER)["on"]["workflow_call"]
    job = load(caller)["jobs"]["deliver"]
    assert job["uses"].partition("@")[0].endswith(f"/.github/workflows/{DELIVER.name}")
    required = {name for name, each in asked["inputs"].items() if each.get("required")}
    assert required <= set(job["with"]) <= set(asked["inputs"])
    # Only so does the secret of an environment reach a called workflow.
    assert job["secrets"] == "inherit"


@each_caller
def test_a_caller_grants_what_the_jobs_need(caller: Path) -> None:
    """A called job cannot have more permissions than its caller; with fewer it does not start."""
    needed: dict[str, str] = {}
    for job in load(DELIVER)["jobs"].values():
        needed |= job["permissions"]
    assert load(caller)["jobs"]["deliver"]["permissions"] == needed


@each_caller
def test_main_alone_is_delivered(caller: Path) -> None:
    """By hand a caller can be started on any branch, with that branch's code."""
    assert load(caller)["on"]["push"]["branches"] == ["main"]
    assert load(caller)["jobs"]["deliver"]["if"] == "github.ref == 'refs/heads/main'"


def test_main_alone_is_delivered_whoever_calls() -> None:
    """Somebody may change a caller on a branch; the other jobs are skipped with the first."""
    first, *others = load(DELIVER)["jobs"].values()
    assert first["if"] == "github.ref == 'refs/heads/main'"
    assert [len(job["needs"]) for job in others] == [1, 1]
    assert [job for job in others if "if" in job] == []


def test_the_key_of_the_app_is_in_an_environment() -> None:
    """A secret of the repository can be read from each of its branches."""
    holders = [job for job in load(DELIVER)["jobs"].values() if "secrets." in str(job)]
    assert [job["environment"] for job in holders] == ["dispatch"]
    [app] = using(DELIVER, "actions/create-github-app-token")
    assert app["with"]["repositories"] == CONFIGURATION.partition("/")[2]
    assert app["with"]["permission-contents"] == "write"
    assert [key for key in app["with"] if key.startswith("permission-")] == ["permission-contents"]


def test_a_private_repository_is_refused_before_its_image_is_pushed() -> None:
    """Nobody could verify the attestation that releases it."""
    first, *_ = load(DELIVER)["jobs"]["test"]["steps"]
    assert (first["if"], first["run"]) == ("github.event.repository.private", "exit 1")


def test_an_update_of_ruff_brings_no_new_rules(tmp_path: Path) -> None:
    """Ruff 0.16 has 413 default rules: code that had passed for months failed."""
    step = named(DELIVER, "test")["Choose the rules where the repository does not"]
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", **step["env"]}
    subprocess.run(["bash", "-ec", step["run"]], env={**os.environ, **home}, check=True)
    folder = tmp_path / "service"
    folder.mkdir()
    # Several of today's default rules, but none that says that code is wrong.
    (folder / "main.py").write_text(
        "import sys, os\ntry:\n    print(sys, os)\nexcept Exception:\n    pass\n"
    )
    check = ["ruff", "check", "--no-cache", "."]

    def codes(**variables: str) -> set[str]:
        done = subprocess.run(
            [*check, "--output-format=concise"],
            cwd=folder,
            env={**os.environ, **variables},
            check=False,
            capture_output=True,
            text=True,
        )
        return set(re.findall(r": ([A-Z]+\d+) ", done.stdout))

    assert codes(**home) == {"E401"}
    (folder / "ruff.toml").write_text('lint.select = ["BLE"]\n')
    assert codes(**home) == {"BLE001"}
