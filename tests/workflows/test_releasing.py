"""The workflows that release: who has which token, and what runs beside it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from delivery.cli import main
from delivery.releases.choices import WORKFLOWS, ChoicesError, rewrite
from fraud_detection.environments import ENVIRONMENTS
from fraud_detection.repositories import APPLICATION
from remotes import DEV, PRODUCTION, STAGING, write_applications
from repository import REPOSITORY
from workflows import GITHUB, load, named, steps, using, words, workflow

OPERATE = GITHUB / "workflows" / "operate.yml"
IMAGES = GITHUB / "workflows" / "images.yml"
PROMOTE = GITHUB / "workflows" / "promote.yml"
DELIVER = GITHUB / "workflows" / "deliver-service.yml"
REPORT = GITHUB / "workflows" / "report.yml"
RELEASES = {"permission-contents": "write", "permission-pull-requests": "write"}
each_release = pytest.mark.parametrize(
    "path", [OPERATE, IMAGES, PROMOTE], ids=lambda path: path.name
)
each_holder = pytest.mark.parametrize(
    ("path", "name", "environment"),
    [
        (OPERATE, "land", "release"),
        (IMAGES, "land", "release"),
        (PROMOTE, "land", "release"),
        (OPERATE, "report", "report"),
        (REPORT, "land", "report"),
    ],
    ids=lambda each: getattr(each, "stem", each),
)
"""Each job that can read a secret, and the environment that has it."""


@each_holder
def test_code_never_runs_beside_a_secret(path: Path, name: str, environment: str) -> None:
    """A line in develop's main.py could read the App's token, and push whatever it wants."""
    job = load(path)["jobs"][name]
    assert job["environment"] == environment
    [checkout] = [step for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert {words(run)[0].rpartition("/")[0] for run in runs} == {".github/scripts"}
    scripts = [(REPOSITORY / words(run)[0]).read_text() for run in runs]
    assert not re.search(r"\.venv|python|\bmake\b|checkout|worktree", "".join(scripts))


@pytest.mark.parametrize("path", [OPERATE, IMAGES, PROMOTE, REPORT], ids=lambda path: path.name)
def test_no_other_job_reads_a_secret(path: Path) -> None:
    """A workflow on any branch could read one that no environment protects."""
    found = {
        name
        for name, job in load(path)["jobs"].items()
        if "environment" in job or "secrets." in json.dumps(job)
    }
    assert found <= {"land", "report"}


@each_holder
def test_no_cache_reaches_a_secret(path: Path, name: str, environment: str) -> None:
    """A run that nobody reviewed could have written it."""
    del environment
    uses = [step["uses"] for step in load(path)["jobs"][name]["steps"] if "uses" in step]
    assert [each for each in uses if re.search("cache|setup-", each)] == []


@each_release
def test_what_was_prepared_is_kept_apart(path: Path) -> None:
    """An artifact may hold any file: a `land.sh` of its own would be run with the token."""
    [download] = using(path, "actions/download-artifact")
    assert download["with"]["path"] == "${{ runner.temp }}/prepared"


@each_holder
def test_a_token_is_for_one_repository_and_few_permissions(
    path: Path, name: str, environment: str
) -> None:
    """No more than the steps need, whatever else the App may do."""
    [app] = [
        step["with"]
        for step in load(path)["jobs"][name]["steps"]
        if step.get("uses", "").startswith("actions/create-github-app-token@")
    ]
    permissions = {key: app[key] for key in app if key.startswith("permission-")}
    if environment == "release":
        assert permissions == RELEASES
        assert app["repositories"] == "${{ github.event.repository.name }}"
    else:
        assert permissions == {"permission-statuses": "write"}
        assert f"https://github.com/{app['owner']}/{app['repositories']}" == APPLICATION


@pytest.mark.parametrize("path", [OPERATE, IMAGES, PROMOTE, REPORT], ids=lambda path: path.name)
def test_what_was_rendered_without_a_secret_can_only_read(path: Path) -> None:
    """It runs the code of a branch."""
    jobs = load(path)["jobs"]
    assert (
        jobs["prepare"]["permissions"].items() <= {"contents": "read", "statuses": "read"}.items()
    )
    assert "environment" not in jobs["prepare"]
    tokens = {
        step["env"]["GH_TOKEN"] for step in jobs["prepare"]["steps"] if "GH_TOKEN" in str(step)
    }
    assert tokens == {"${{ github.token }}"}


def test_no_operation_is_lost_in_a_queue() -> None:
    """A concurrency group cancels waiting runs: all but one, or all but a hundred."""
    assert "concurrency" not in OPERATE.read_text().replace(
        "ignore[concurrency-limits]", ""
    ).replace("There is no concurrency group", "")


def test_a_lost_race_is_started_again_with_everything() -> None:
    """An input that is forgotten would release something else."""
    again = load(OPERATE)["jobs"]["again"]
    assert again["if"] == "needs.land.outputs.again"
    sent = re.findall(r"--raw-field=([\w-]+)=", again["steps"][0]["run"])
    assert sorted(sent) == sorted(load(OPERATE)["on"]["workflow_dispatch"]["inputs"])


INPUTS = load(OPERATE)["on"]["workflow_dispatch"]["inputs"]


@pytest.fixture
def working_tree(tmp_path: Path) -> Path:
    """A working tree with the workflows, and with what they name."""
    shutil.copytree(REPOSITORY / WORKFLOWS, tmp_path / WORKFLOWS)
    shutil.copy(REPOSITORY / "images.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "dist" / "argocd", tmp_path / "dist" / "argocd")
    return tmp_path


def test_every_operation_is_offered() -> None:
    """The commands that make one commit are the choices of the page."""
    landing = {
        name
        for name, command in main.commands.items()
        if {"bundle", "branch"} <= {str(each.name) for each in command.params}
    }
    assert landing <= set(INPUTS["action"]["options"])


def test_the_choices_are_what_is_declared(working_tree: Path) -> None:
    """One that is not offered can be operated from a checkout alone."""
    assert rewrite(working_tree) == [], "Workflows are out of date: run `make synth`."


def test_outdated_workflows_are_rewritten(working_tree: Path) -> None:
    """Nobody should have to know that a form and an event have lists as well."""
    texts = {path: path.read_text("utf-8") for path in (working_tree / WORKFLOWS).iterdir()}
    for path, text in texts.items():
        listed = re.sub(
            r"\[.*\](?= # (services|environments|of the environments)$)",
            "[]",
            text,
            flags=re.MULTILINE,
        )
        path.write_text(re.sub(r"(?<=fromJSON\(')\{[^}]*\}", "{}", listed), "utf-8")
    changed = [f"{WORKFLOWS}/{name}.yml" for name in ("operate", "ci", "report")]
    assert rewrite(working_tree) == changed
    assert {path: path.read_text("utf-8") for path in texts} == texts


def test_another_environment_is_pushed_checked_and_promoted_to(working_tree: Path) -> None:
    """Its pull requests speak of it alone, and ask what the one before has proved."""
    shutil.rmtree(working_tree / "dist")
    write_applications(working_tree, (DEV, STAGING, PRODUCTION))
    rewrite(working_tree)
    ci, report = (load(working_tree / WORKFLOWS / name) for name in ("ci.yml", "report.yml"))
    for each in (ci, report):
        assert each["on"]["push"]["branches"] == ["develop", "main", "production"]
    assert """'{"main":"staging","production":"production"}'""" in ci["env"]["ENVIRONMENT"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("operate", "# services"),
        ("operate", "# environments"),
        ("operate", "fromJSON"),
        ("ci", "# of the"),
        ("ci", "fromJSON"),
        ("report", "# of the"),
    ],
)
def test_a_place_that_is_missing_is_an_error(working_tree: Path, name: str, place: str) -> None:
    """It would stay as it is for ever; and half of the workflows would be rewritten."""
    for path in (working_tree / WORKFLOWS).iterdir():
        path.write_text(path.read_text("utf-8").replace("redpanda, ", ""), "utf-8")
    workflow = working_tree / WORKFLOWS / f"{name}.yml"
    workflow.write_text(workflow.read_text("utf-8").replace(place, "", 1), "utf-8")
    before = (working_tree / WORKFLOWS / "operate.yml").read_text("utf-8")
    with pytest.raises(ChoicesError, match=rf"{name}\.yml: expected one match"):
        rewrite(working_tree)
    assert (working_tree / WORKFLOWS / "operate.yml").read_text("utf-8") == before


def test_an_operation_belongs_to_the_branch_of_its_environment() -> None:
    """A pin of staging on develop would do nothing; the other operations begin in the first."""
    expression = load(OPERATE)["env"]["BRANCH"]
    [branches] = re.findall(r"'pin, unpin, rollback', .*fromJSON\('(.*)'\)", expression)
    assert json.loads(branches) == {each.name: each.branch for each in ENVIRONMENTS}
    assert expression.endswith(f" || '{ENVIRONMENTS[0].branch}' }}}}")
    assert INPUTS["environment"]["default"] == ENVIRONMENTS[0].name


def test_a_refusal_is_reported_about_the_first_environment() -> None:
    """Bumps release to it, and its status is the one that report.yml replaces once one lands."""
    [env] = [step["env"] for step in load(OPERATE)["jobs"]["report"]["steps"] if "env" in step]
    assert f"format('{{0}}/{ENVIRONMENTS[0].name}', " in env["STATUSES"]
    assert f"https://github.com/{env['APPLICATION']}" == APPLICATION


def test_what_is_dispatched_is_what_an_operation_reads() -> None:
    """The files are in two repositories: nothing else would notice a misspelt key."""
    [dispatch] = using(DELIVER, "peter-evans/repository-dispatch")
    assert load(OPERATE)["on"]["repository_dispatch"]["types"] == [dispatch["with"]["event-type"]]
    payload = dispatch["with"]["client-payload"]
    sent = re.findall(r'"([\w-]+)": \$\{\{ toJSON\(', payload)
    read = set(re.findall(r"client_payload\.([\w-]+)", OPERATE.read_text()))
    assert sorted(sent) == sorted(read)
    # toJSON quotes every value.
    assert payload.count("${{") == len(sent)


def test_a_dispatched_build_names_its_digest() -> None:
    """It is the image that was scanned; by hand the registry's may be taken, and is verified."""
    digest = named(OPERATE, "prepare")["Make the commit"]["env"]["DIGEST"]
    assert "'repository_dispatch' && (github.event.client_payload.digest || 'missing')" in digest


def test_a_dispatch_can_only_bump() -> None:
    """The key of the dispatch App is in another repository: it must not hold, pin or roll back."""
    action = named(OPERATE, "prepare")["Make the commit"]["env"]["ACTION"]
    assert action == "${{ inputs.action || 'bump' }}"
    assert "client_payload.action" not in OPERATE.read_text()


@pytest.mark.parametrize("path", [OPERATE, IMAGES], ids=lambda path: path.name)
def test_who_pushes_knows_the_remote(path: Path) -> None:
    """The checkout keeps no token, so Git needs a credential helper."""
    [env] = [step["env"] for step in steps(path) if "land.sh" in step.get("run", "")]
    assert env["GIT_CONFIG_COUNT"] == 1
    assert env["GIT_CONFIG_KEY_0"] == "credential.https://github.com.helper"
    assert env["GIT_CONFIG_VALUE_0"] == "!gh auth git-credential"
    assert env["GH_TOKEN"] == "${{ steps.app.outputs.token }}"  # noqa: S105 - an expression


def test_vulnerable_images_are_named() -> None:
    """A job output, for whoever acts on it; people read the summary and the pull request."""
    outputs = workflow("images")["jobs"]["prepare"]["outputs"]
    assert outputs["vulnerable"] == "${{ steps.refresh.outputs.vulnerable }}"
    assert "schedule" in workflow("images")["on"]


def test_packages_are_audited_every_week() -> None:
    """A vulnerability is found long after the package was pinned."""
    audit = workflow("images")["jobs"]["audit"]
    assert "make audit" in [step.get("run") for step in audit["steps"]]
    assert "needs" not in audit
