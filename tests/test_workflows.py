"""The workflows and rulesets: pinned, least privilege, and thin.

`make lint` adds zizmor and the schemas of GitHub's files.
"""

import json
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from delivery.cli import main
from delivery.releases.images import images_of
from fraud_detection.repositories import REPOSITORY as REMOTE
from repository import REPOSITORY

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
CALLERS = sorted((REPOSITORY / "docs" / "application-repository").glob("*.yml"))
TARGETS = re.findall(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
RULESETS = {path.stem: json.loads(path.read_bytes()) for path in (GITHUB / "rulesets").iterdir()}

_CONFIGURATION = REMOTE.removeprefix("https://github.com/").removesuffix(".git")
"""This repository on GitHub, as OWNER/NAME."""

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
each_file = pytest.mark.parametrize("workflow", [*WORKFLOWS, *CALLERS], ids=lambda path: path.name)
each_caller = pytest.mark.parametrize("caller", CALLERS, ids=lambda path: path.name)


@cache
def load(path: Path) -> Any:  # noqa: ANN401 - what YAML gives
    """Return a parsed file, which must not be changed."""
    return YAML(typ="safe").load(path)


def workflow(name: str) -> Any:  # noqa: ANN401 - what YAML gives
    """Return one of our workflows."""
    return load(GITHUB / "workflows" / f"{name}.yml")


def steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs."""
    return [step for job in load(path)["jobs"].values() for step in job.get("steps", [])]


def commands(path: Path) -> list[str]:
    """Return the commands that the steps run."""
    return [step["run"] for step in steps(path) if "run" in step]


def using(path: Path, action: str) -> list[dict[str, Any]]:
    """Return the steps that use an action."""
    return [step for step in steps(path) if step.get("uses", "").startswith(f"{action}@")]


def rules(ruleset: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of a ruleset's rules, by type."""
    return {rule["type"]: rule.get("parameters", {}) for rule in RULESETS[ruleset]["rules"]}


def required_checks(ruleset: str) -> list[str]:
    """Return the checks that must succeed before a merge."""
    return [
        check["context"]
        for check in rules(ruleset)["required_status_checks"]["required_status_checks"]
    ]


REQUIRED = sorted(
    path
    for path in WORKFLOWS
    if path.stem in {*required_checks("main"), *required_checks("develop")}
)
each_required_workflow = pytest.mark.parametrize("workflow", REQUIRED, ids=lambda path: path.name)


@each_file
def test_actions_are_pinned_by_commit_with_their_version(workflow: Path) -> None:
    """A tag can be moved to other code; the comment names the version of the commit."""
    uses = re.findall(r"\buses: *(.*)", workflow.read_text())
    ours = rf"{_CONFIGURATION}/\.github/workflows/[\w-]+\.yml@main # .+"
    pinned = re.compile(rf"[\w.-]+/[\w./-]+@[0-9a-f]{{40}} # v\d+\.\d+\.\d+|{ours}")
    assert [action for action in uses if not pinned.fullmatch(action)] == []


def test_an_action_has_one_commit() -> None:
    """Two versions side by side are an unfinished update."""
    uses = {
        action
        for path in WORKFLOWS
        for action in re.findall(r"\buses: *(\S+@[0-9a-f]{40})", path.read_text())
    }
    names = [action.partition("@")[0] for action in uses]
    assert sorted(names) == sorted(set(names))


@each_file
def test_nothing_is_permitted_by_default(workflow: Path) -> None:
    """A job without permissions of its own would get the repository's default, often write."""
    assert load(workflow)["permissions"] == {}


@each_file
def test_every_permission_has_a_reason(workflow: Path) -> None:
    """A reviewer can ask whether the reason still holds."""
    granted = re.findall(r"^ +[a-z-]+: (?:read|write)\b(.*)$", workflow.read_text(), re.MULTILINE)
    reasons = [comment for comment in granted if re.match(r" # \w", comment)]
    inputs = re.findall(
        r"^ +permission-[a-z-]+: (?:read|write)$", workflow.read_text(), re.MULTILINE
    )
    assert len(reasons) == len(granted) - len(inputs)


@each_workflow
def test_commands_take_no_expressions(workflow: Path) -> None:
    """GitHub pastes an expression into the script: the name of a branch could be a command."""
    assert [command for command in commands(workflow) if "${{" in command] == []


def words(command: str) -> list[str]:
    """Split a command as the shell does if every variable is set, without its redirections.

    Raises:
        ValueError: If it is more than one command, or has an unquoted variable.
    """
    whole = re.sub(r"\$\{\w+:\+(.*?)\}", r"\1", command.strip())
    called = re.sub(r'\s+>>?\s+("\$\w+"|[\w.-]+)$', "", whole)
    unquoted = re.sub(r"'[^']*'|\"[^\"`(]*\"", "", called)
    if re.search(r"[\n;&|<>`$]", unquoted):
        raise ValueError(f"not one command: {command}")
    return shlex.split(called)


def refused(command: str) -> str | None:
    """Return why this is not a valid call of make or delivery, or None if it is one."""
    program, *arguments = words(command)
    if program == "make":
        return None if arguments and set(arguments) <= set(TARGETS) else "no such target"
    if program != ".venv/bin/delivery":
        return "neither make nor delivery"
    name, *options = arguments
    if name not in main.commands:
        return "no such command"
    called = main.commands[name]
    context = click.Context(called, info_name=name)
    try:
        values, left, _ = called.make_parser(context).parse_args(options)
        for parameter in called.params:
            value = values.get(str(parameter.name))
            # A file may be what an earlier step writes.
            if "$" not in str(value) and not isinstance(parameter.type, click.Path):
                parameter.process_value(context, value)
    except click.UsageError as error:
        return error.format_message()
    return f"left over: {left}" if left else None


OURS = [path for path in WORKFLOWS if path.stem != "deliver-service"]


@pytest.mark.parametrize("workflow", OURS, ids=lambda path: path.name)
def test_commands_are_ours(workflow: Path) -> None:
    """Everything that a workflow does can then be tried on a laptop."""
    # `exit 1` is how the aggregate job fails.
    found = {command: refused(command) for command in commands(workflow) if command != "exit 1"}
    assert {command: why for command, why in found.items() if why} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make nonsense", "no such target"),
        ("make", "no such target"),
        ("delivery check", "neither make nor delivery"),
        (".venv/bin/delivery nonsense", "no such command"),
        (".venv/bin/delivery check --nonsense", "No such option"),
        (".venv/bin/delivery check nonsense", "left over"),
        (".venv/bin/delivery bump", "Missing argument"),
        (".venv/bin/delivery connections --format nonsense", "Invalid value"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, why: str) -> None:
    """Otherwise the test above would accept everything."""
    assert why in str(refused(command))


@pytest.mark.parametrize(
    "command",
    [
        "make a; make b",
        "make a && make b",
        "make a | tee b",
        "make a\nmake b",
        "make $A",
        'make "$(make b)"',
        "make `a`",
    ],
)
def test_a_second_command_is_noticed(command: str) -> None:
    """The first of two could fail unnoticed, and a bare variable could become several words."""
    with pytest.raises(ValueError, match="not one command"):
        words(command)


def test_commands_in_the_application_repository_are_single_ones() -> None:
    """It has neither our make nor `delivery`: each step calls one program, no script."""
    programs = [
        words(command)[0] for command in commands(GITHUB / "workflows" / "deliver-service.yml")
    ]
    assert programs == ["uvx", "uv", "docker", "docker"]


@each_workflow
def test_checkouts_keep_no_token(workflow: Path) -> None:
    """Every later step could push with a token in .git/config."""
    checkouts = using(workflow, "actions/checkout")
    assert [
        step for step in checkouts if step.get("with", {}).get("persist-credentials") is not False
    ] == []


@each_workflow
def test_every_job_has_a_time_limit(workflow: Path) -> None:
    """The default is six hours, which block the rest of the concurrency group."""
    jobs = load(workflow)["jobs"]
    assert [name for name, job in jobs.items() if job["timeout-minutes"] > 60] == []


@each_file
def test_nothing_is_skipped_by_its_commit_message(workflow: Path) -> None:
    """A required check of a skipped commit waits for ever, and promotions end in bumps."""
    assert re.findall(r"\[(?:skip|no) ci\]|\[ci skip\]", workflow.read_text()) == []


@each_workflow
def test_no_stranger_starts_a_run_with_secrets(workflow: Path) -> None:
    """A pull request runs its own code, which must not see our secrets."""
    events = load(workflow)["on"]
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(events)
    assert not ("pull_request" in events and "secrets." in workflow.read_text())


def test_pull_requests_are_checked() -> None:
    """Both branches require the aggregate job, which must then run for every pull request."""
    assert required_checks("main") == required_checks("develop") == ["ci"]
    assert ["pull_request" in load(path)["on"] for path in REQUIRED] == [True]


@each_required_workflow
def test_required_workflows_always_run(workflow: Path) -> None:
    """A required check that is filtered out by path or branch never finishes."""
    events = load(workflow)["on"]
    filters = {
        key
        for event in ("pull_request", "push")
        for key in (events[event] or {})
        if key.startswith("paths") or (event == "pull_request" and key.startswith("branches"))
    }
    assert filters == set()


@each_required_workflow
def test_one_job_stands_for_all(workflow: Path) -> None:
    """The rulesets require only this job, so a new job is required from its first day."""
    jobs = dict(load(workflow)["jobs"])
    aggregate = jobs.pop(workflow.stem)
    assert aggregate["if"] == "always()"
    assert set(aggregate["needs"]) == set(jobs)
    # A skipped job would fail it.
    assert [name for name, job in jobs.items() if "if" in job] == []


@each_required_workflow
def test_the_one_job_fails_unless_every_job_succeeded(workflow: Path) -> None:
    """A skipped job must not count as passed."""
    [step] = load(workflow)["jobs"][workflow.stem]["steps"]
    results = re.findall(r"contains\(needs\.\*\.result, '(\w+)'\)", step["if"])
    assert set(results) == {"failure", "cancelled", "skipped"}
    assert "&&" not in step["if"]
    assert step["run"] == "exit 1"


@each_required_workflow
def test_what_landed_is_tested_to_the_end(workflow: Path) -> None:
    """Only a newer push to a pull request may cancel an older run."""
    concurrency = load(workflow)["concurrency"]
    assert concurrency["group"] == f"{workflow.stem}-${{{{ github.ref }}}}"
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


CI = GITHUB / "workflows" / "ci.yml"


def job_steps(path: Path, job: str) -> dict[str, dict[str, Any]]:
    """Return the steps of a job, by action (without its version) or command."""
    return {
        step.get("uses", step.get("run", "")).partition("@")[0]: step
        for step in load(path)["jobs"][job]["steps"]
    }


COMMENT = "marocchino/sticky-pull-request-comment"
OF_OURS = "github.event.pull_request.head.repo.full_name == github.repository"


def test_the_difference_is_shown() -> None:
    """The token of a fork cannot comment: its run must not fail, and shows it in its summary."""
    difference = [command for command in commands(CI) if " diff " in command]
    assert {words(command)[2] for command in difference} == {"HEAD^"}
    written = [command.rpartition(" ")[2] for command in difference]
    # For the comment, for the artifact, which has no limit, and for the summary.
    assert written == ["diff.md", "diff.txt", '"$GITHUB_STEP_SUMMARY"']
    steps = job_steps(CI, "dist")
    assert steps[COMMENT]["if"] == OF_OURS
    assert steps[COMMENT]["with"]["path"] == "diff.md"
    kept = steps["actions/upload-artifact"]
    assert "if" not in kept
    assert kept["with"]["path"].split() == ["diff.md", "diff.txt"]


def test_the_difference_is_drawn() -> None:
    """It is below the table, against the same commit, in the comment and in the artifact."""
    [drawn] = [command for command in commands(CI) if " graph " in command]
    assert words(drawn)[2:] == ["--since", "HEAD^", "--format", "markdown"]
    assert drawn.endswith(" >> diff.md")
    order = [command.rpartition(" > ")[2] for command in commands(CI)]
    assert order.index("diff.md") < order.index(drawn)


def test_what_was_there_before_is_checked_out() -> None:
    """The difference needs the first parent, the rehearsal the messages of all commits."""
    depths = [job_steps(CI, job)["actions/checkout"]["with"] for job in ("dist", "rehearse")]
    assert [depth.get("fetch-depth") for depth in depths] == [2, 0]


def test_every_pull_request_is_rehearsed_and_blocked() -> None:
    """The exit code of the rehearsal must fail the job."""
    [command] = [command for command in commands(CI) if " rehearse " in command]
    assert words(command)[2] == "HEAD^"
    step = job_steps(CI, "rehearse")[command]
    assert not {"if", "continue-on-error"} & set(step)
    assert "continue-on-error" not in load(CI)["jobs"]["rehearse"]


def test_a_blocking_rehearsal_is_shown() -> None:
    """After a failed step GitHub skips every step without a condition."""
    [command] = [command for command in commands(CI) if " rehearse " in command]
    options = words(command)
    pages = {after for option, after in pairwise(options) if option == "--markdown"}
    assert pages == {"rehearsal.md", "$GITHUB_STEP_SUMMARY"}
    steps = job_steps(CI, "rehearse")
    assert steps[COMMENT]["if"] == f"${{{{ !cancelled() && {OF_OURS} }}}}"
    assert steps["actions/upload-artifact"]["if"] == "${{ !cancelled() }}"
    for action in (COMMENT, "actions/upload-artifact"):
        assert steps[action]["with"]["path"] == "rehearsal.md"


def test_each_comment_is_refreshed_by_its_own_job() -> None:
    """Two with the same header would overwrite each other."""
    headers = [step["with"]["header"] for step in using(CI, COMMENT)]
    assert len(headers) == len(set(headers)) == 2


def test_the_promotion_contains_the_rehearsal() -> None:
    """Reviewers must read a blocking verdict there, so it must not stop the promotion."""
    path = GITHUB / "workflows" / "promote.yml"
    rehearsed, promoted = (
        next(step for step in steps(path) if f"delivery {name} " in step.get("run", ""))
        for name in ("rehearse", "promote")
    )
    options = words(rehearsed["run"])
    # Without a base and an environment: every one against its own branch.
    assert options[2] == "--markdown"
    verdict = words(promoted["run"])
    assert options[options.index("--markdown") + 1] == verdict[verdict.index("--verdict") + 1]
    assert rehearsed["continue-on-error"] is True
    assert "continue-on-error" not in promoted
    assert steps(path).index(rehearsed) < steps(path).index(promoted)


def test_the_control_plane_is_built_with_the_go_that_it_asks_for() -> None:
    """An older Go refuses to build it, and the cache is for exactly one version."""
    asked = [
        re.findall(r"^go (\d+)\.(\d+)\.(\d+)$", path.read_text(), flags=re.MULTILINE)[0]
        for path in (REPOSITORY / "tools" / "control-plane").glob("*/go.mod")
    ]
    newest = max(tuple(map(int, version)) for version in asked)
    building = [
        job
        for path in WORKFLOWS
        for job in load(path)["jobs"].values()
        if "make control-plane" in [step.get("run") for step in job.get("steps", [])]
    ]
    toolchains = [job["env"]["GOTOOLCHAIN"] for job in building]
    assert toolchains == [f"go{'.'.join(map(str, newest))}"] * 4


def test_a_control_plane_is_built_once() -> None:
    """It takes twenty minutes; a job with another key would not find it."""
    cached = [
        step["with"]
        for path in WORKFLOWS
        for step in using(path, "actions/cache")
        if "control-plane" in step["with"]["key"]
    ]
    assert len(cached) == 3
    assert all(each == cached[0] for each in cached)


def test_no_test_is_skipped_for_want_of_a_program() -> None:
    """Programs are built or installed before the tests; a missing one is a failure."""
    job = workflow("ci")["jobs"]["test"]
    assert job["env"]["SKIP_NOTHING"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        "make control-plane",
        "make test-packages",
        "make test",
        "make test-extension",
    ]


def test_trivy_sees_dist() -> None:
    """In a scan of dist itself Trivy would skip the folder dev, like /dev of an image."""
    [scan] = using(CI, "aquasecurity/trivy-action")
    assert scan["with"]["scan-type"] == "config"
    assert "scan-ref" not in scan["with"]
    config = load(REPOSITORY / scan["with"]["trivy-config"])
    assert config["exit-code"] == 1
    assert "severity" not in config
    assert not {"dist", "**"} & set(config["scan"]["skip-dirs"])


def test_every_accepted_finding_has_a_reason() -> None:
    """Whoever reads it can ask whether the reason still holds."""
    ignored = load(REPOSITORY / load(GITHUB / "trivy.yaml")["ignorefile"])["misconfigurations"]
    assert [finding["id"] for finding in ignored if not finding.get("statement")] == []


def test_no_bump_is_lost_in_a_queue() -> None:
    """A concurrency group cancels waiting runs: all but one, or all but a hundred."""
    bump = workflow("bump")
    assert "concurrency" not in bump
    assert "concurrency" not in bump["jobs"]["bump"]


def test_the_newest_promotion_counts() -> None:
    """One at a time, so that two runs cannot open two pull requests; a running one finishes."""
    concurrency = workflow("promote")["concurrency"]
    assert concurrency == {"group": "promote", "cancel-in-progress": False}


@pytest.mark.parametrize("name", ["bump", "promote"])
def test_releases_are_made_from_develop(name: str) -> None:
    """A dispatch would check out the default branch, a push its own commit."""
    [checkout] = using(GITHUB / "workflows" / f"{name}.yml", "actions/checkout")
    assert checkout["with"]["ref"] == "develop"


def apps(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the inputs with which each token of an App is requested."""
    for step in using(path, "actions/create-github-app-token"):
        yield step["with"]


@pytest.mark.parametrize(
    ("name", "permissions"),
    [
        ("bump", {"permission-contents": "write"}),
        ("promote", {"permission-contents": "read", "permission-pull-requests": "write"}),
        ("deliver-service", {"permission-contents": "write"}),
    ],
)
def test_the_tokens_of_the_app_may_do_one_thing(name: str, permissions: dict[str, str]) -> None:
    """A token is for one repository, and for no more than its step needs."""
    [app] = apps(GITHUB / "workflows" / f"{name}.yml")
    assert {key: app[key] for key in app if key.startswith("permission-")} == permissions
    repository = app["repositories"]
    assert repository in {"${{ github.event.repository.name }}", _CONFIGURATION.partition("/")[2]}


@pytest.mark.parametrize("name", ["bump", "promote", "deliver-service"])
def test_one_step_has_the_token_of_the_app(name: str) -> None:
    """The other steps install and run code, which must not be able to push."""
    path = GITHUB / "workflows" / f"{name}.yml"
    holders = [step for step in steps(path) if "steps.app.outputs.token" in json.dumps(step)]
    assert len(holders) == 1
    job = [job for job in load(path)["jobs"].values() if "steps.app" in json.dumps(job)]
    assert "steps.app" not in json.dumps([each.get("env") for each in job])


@pytest.mark.parametrize("name", ["bump", "promote"])
def test_only_protected_branches_have_the_key(name: str) -> None:
    """A workflow on any branch could read a secret of the repository."""
    [job] = workflow(name)["jobs"].values()
    assert job["environment"] == "release"


DELIVER = GITHUB / "workflows" / "deliver-service.yml"


def test_what_is_dispatched_is_what_a_bump_reads() -> None:
    """The files are in two repositories: nothing else would notice a misspelt key."""
    [dispatch] = using(DELIVER, "peter-evans/repository-dispatch")
    bump = workflow("bump")
    assert bump["on"]["repository_dispatch"]["types"] == [dispatch["with"]["event-type"]]
    payload = dispatch["with"]["client-payload"]
    sent = re.findall(r'"([\w-]+)": \$\{\{ toJSON\(', payload)
    read = re.findall(r"client_payload\.([\w-]+)", json.dumps(bump))
    assert sorted(sent) == sorted(read)
    # toJSON quotes every value.
    assert payload.count("${{") == len(sent)


def test_a_payload_is_never_an_option() -> None:
    """A service named `--help` would be a successful bump."""
    [command] = [c for c in commands(GITHUB / "workflows" / "bump.yml") if "delivery" in c]
    before, after = command.split(" -- ")
    assert after == '"$SERVICE" "$TAG"'
    assert re.findall(r'(?<!=)"\$', before) == []


def test_the_release_commands_know_the_remote() -> None:
    """The checkout keeps no token, so Git needs a credential helper."""
    for name in ("bump", "promote"):
        [env] = [
            step["env"] for step in steps(GITHUB / "workflows" / f"{name}.yml") if "env" in step
        ]
        assert env["GIT_CONFIG_COUNT"] == 1
        assert env["GIT_CONFIG_KEY_0"] == "credential.https://github.com.helper"
        assert env["GIT_CONFIG_VALUE_0"] == "!gh auth git-credential"
        assert env["GH_TOKEN"] == "${{ steps.app.outputs.token }}"  # noqa: S105 - an expression


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
    assert set(job["secrets"]) == set(asked["secrets"])


@each_caller
def test_a_caller_grants_what_the_jobs_need(caller: Path) -> None:
    """A called job cannot have more permissions than its caller; with fewer it does not start."""
    needed: dict[str, str] = {}
    for job in load(DELIVER)["jobs"].values():
        needed |= job["permissions"]
    assert load(caller)["jobs"]["deliver"]["permissions"] == needed


E2E = GITHUB / "workflows" / "e2e.yml"
RUNTIME = GITHUB / "workflows" / "runtime.yml"


@pytest.mark.parametrize("workflow", [E2E, RUNTIME], ids=lambda workflow: workflow.stem)
def test_a_slow_workflow_runs_when_the_constructs_change(workflow: Path) -> None:
    """A path that no longer exists would never start it."""
    events = load(workflow)["on"]
    assert {"workflow_dispatch", "pull_request"} <= set(events)
    paths = events["pull_request"]["paths"]
    assert "constructs/**" in paths
    assert [path for path in paths if not (REPOSITORY / path.removesuffix("/**")).exists()] == []


def test_the_real_thing_runs_every_week() -> None:
    """Images, actions and runners change without us."""
    assert "schedule" in load(E2E)["on"]


def test_the_logs_of_a_failure_are_kept() -> None:
    """The uploaded folder must be the one that the command fills."""
    [kept] = using(E2E, "actions/upload-artifact")
    assert kept["if"] == "failure()"
    [command] = [words(command) for command in commands(E2E) if " kind " in command]
    assert command[command.index("--logs") + 1] == kept["with"]["path"]


def test_no_history_is_rewritten() -> None:
    """Argo CD and every clone have seen it, so not even the App may."""
    history = RULESETS["history"]
    assert history["bypass_actors"] == []
    assert set(rules("history")) == {"deletion", "non_fast_forward"}
    assert set(history["conditions"]["ref_name"]["include"]) == {
        "refs/heads/develop",
        "refs/heads/main",
    }


def test_main_takes_reviewed_pull_requests_alone() -> None:
    """Staging runs it, so nobody may bypass the review."""
    assert RULESETS["main"]["bypass_actors"] == []
    pull_request = rules("main")["pull_request"]
    assert pull_request["required_approving_review_count"] == 1
    assert pull_request["require_code_owner_review"]
    # Only the approved commit is merged.
    assert pull_request["dismiss_stale_reviews_on_push"]


def test_a_promotion_is_a_merge() -> None:
    """After a squash develop and main would have no commits in common, and would conflict for ever.

    For the same reason develop need not be up to date with main, whose merges it lacks.
    """
    assert rules("main")["pull_request"]["allowed_merge_methods"] == ["merge"]
    assert not rules("main")["required_status_checks"]["strict_required_status_checks_policy"]


def test_develop_takes_pull_requests_and_bumps() -> None:
    """Only the App may push to it."""
    [actor] = RULESETS["develop"]["bypass_actors"]
    assert (actor["actor_type"], actor["bypass_mode"]) == ("Integration", "always")
    assert "pull_request" in rules("develop")


@pytest.mark.parametrize("name", sorted(RULESETS))
def test_a_ruleset_is_what_github_takes(name: str) -> None:
    """GitHub refuses other keys, and a disabled ruleset protects nothing."""
    ruleset = RULESETS[name]
    assert set(ruleset) == {
        "name",
        "target",
        "enforcement",
        "bypass_actors",
        "conditions",
        "rules",
    }
    assert (ruleset["name"], ruleset["target"]) == (name, "branch")
    assert ruleset["enforcement"] == "active"
    if name != "history":
        assert ruleset["conditions"]["ref_name"]["include"] == [f"refs/heads/{name}"]


@pytest.mark.parametrize("name", ["main", "develop"])
def test_a_required_check_comes_from_github_actions(name: str) -> None:
    """Otherwise anybody who may write a commit status could report a passed `ci`."""
    checks = rules(name)["required_status_checks"]["required_status_checks"]
    assert [check["integration_id"] for check in checks] == [15368]


def owners(path: str) -> list[str]:
    """Return the owners of a file: the last matching pattern decides, even if it names nobody."""
    found: list[str] = []
    for line in (GITHUB / "CODEOWNERS").read_text().splitlines():
        pattern, *names = line.partition("#")[0].split() or [""]
        if pattern == "*" or (pattern and fnmatch(f"/{path}", f"{pattern.rstrip('/')}*")):
            found = names
    return found


@pytest.mark.parametrize(
    "path",
    [".github/workflows/ci.yml", ".github/CODEOWNERS", ".github/rulesets/main.json", "Makefile"],
)
def test_the_guards_of_the_repository_have_an_owner(path: str) -> None:
    """Otherwise an attacker would change the guards first."""
    assert owners(path) != []


@pytest.mark.parametrize("path", ["images.yaml", "dist/staging/redis.yaml"])
def test_releases_have_no_owner(path: str) -> None:
    """Any reviewer may approve a promotion that only holds releases."""
    assert owners(path) == []


DEPENDABOT = load(GITHUB / "dependabot.yml")["updates"]


def test_everything_that_is_pinned_is_kept_up_to_date() -> None:
    """A pin that nobody updates becomes a vulnerability."""
    assert sorted(update["package-ecosystem"] for update in DEPENDABOT) == [
        "github-actions",
        "gomod",
        "npm",
        "uv",
    ]
    [modules] = [update for update in DEPENDABOT if update["package-ecosystem"] == "gomod"]
    assert modules["directories"] == ["/tools/control-plane/*", "/tools/node/*"]
    assert list((REPOSITORY / "tools" / "control-plane").glob("*/go.mod"))


@pytest.mark.parametrize("update", DEPENDABOT, ids=lambda update: update["package-ecosystem"])
def test_an_update_waits_a_week(update: dict[str, Any]) -> None:
    """By then a hijacked release has been noticed; main takes promotions only."""
    assert update["cooldown"]["default-days"] >= 7
    assert update["target-branch"] == "develop"
