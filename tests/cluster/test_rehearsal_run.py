"""`delivery rehearse` on a real API server: reports, exit codes, and no false alarms."""

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from attack import write_attack
from delivery.cli import main
from delivery.control_plane.api_server import ApiServer, make_namespace
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.client import Client
from delivery.manifests.applications import declared, select
from delivery.manifests.tree import Desired, Files, manifests, read_dist, tree
from delivery.rehearsal.outcomes import same
from delivery.rehearsal.rehearse import rehearse
from delivery.rehearsal.verdicts import Verdict
from rendering import large
from repository import REPOSITORY

pytestmark = pytest.mark.xdist_group("rehearsal-run")

REPORTS = REPOSITORY / "docs" / "rehearsal"


class Checkout:
    """A working tree with our dist and constructs, all committed.

    Args:
        folder: Empty folder for it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("crds", "dist", "constructs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
        shutil.copy(REPOSITORY / "cdk8s.yaml", folder)
        self.git("init", "--quiet", "--initial-branch", "change")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "The base")

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def git(self, *arguments: str) -> None:
        """Run Git."""
        identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.test")
        subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            check=True,
        )

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text everywhere in a file of dist."""
        path = self.folder / "dist" / file
        text = path.read_text(encoding="utf-8")
        assert re.search(old, text, flags=re.DOTALL)
        path.write_text(re.sub(old, new, text, flags=re.DOTALL), encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The working tree in which the command runs."""
    for variable in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "SOURCE_COMMIT"):
        monkeypatch.delenv(variable, raising=False)
    checkout = Checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    return checkout


@pytest.fixture
def run(server: ApiServer, checkout: Checkout) -> Callable[..., Result]:  # noqa: ARG001 - runs there
    """Runs `delivery rehearse` with some arguments, on a running API server."""

    def run(*arguments: str) -> Result:
        command = ["rehearse", "--kubeconfig", str(server.kubeconfig), *arguments]
        return CliRunner().invoke(main, command)

    return run


def drop_selector(checkout: Checkout) -> None:
    """Change the label of alert-monitor everywhere."""
    checkout.edit(
        "staging/alert-monitor.yaml",
        "app.kubernetes.io/name: alert-monitor",
        "app.kubernetes.io/name: dashboard",
    )


def lose_volume(checkout: Checkout) -> None:
    """Move the checkpoints into the pod, and drop their claim."""
    claim = r"apiVersion: v1\nkind: PersistentVolumeClaim\n.*?---\n"
    checkout.edit("staging/flink.yaml", claim, "")
    mounted = r"persistentVolumeClaim:\s+claimName: flink-checkpoints"
    checkout.edit("staging/flink.yaml", mounted, "emptyDir: {}")


def loosen_pod(checkout: Checkout) -> None:
    """Let payment-api run as root."""
    checkout.edit("staging/payment-api.yaml", "runAsNonRoot: true", "runAsNonRoot: false")
    checkout.edit("staging/payment-api.yaml", "runAsUser: 10001", "runAsUser: 0")


BAD = {
    "immutable-selector": drop_selector,
    "lost-volume": lose_volume,
    "refused-pod": loosen_pod,
}


@pytest.mark.parametrize("name", BAD)
def test_the_documented_report_is_what_is_printed(
    checkout: Checkout, run: Callable[..., Result], name: str
) -> None:
    """REWRITE_REPORTS=1 rewrites them. Line numbers and counts of unchanged objects may differ."""
    BAD[name](checkout)
    result = run("HEAD", "--environment", "staging", "--format", "markdown")
    assert result.exit_code == 1
    report = REPORTS / f"{name}.md"
    if os.environ.get("REWRITE_REPORTS"):
        report.write_text(result.stdout, encoding="utf-8")
    assert steady(report.read_text(encoding="utf-8")) == steady(result.stdout)


def rehearsals(result: Result, *, exit_code: int = 0) -> list[Any]:
    """Return the report in JSON; a rehearsal that failed shows why."""
    assert result.exit_code == exit_code, result.stderr
    found: list[Any] = json.loads(result.stdout)
    return found


def steady(report: str) -> str:
    """Return a report without what every other change of the repository changes."""
    return re.sub(r"\.py:\d+|\d+ unchanged|v\d+\.\d+\.\d+", "", report)


TAKEN = "Deployment.apps/fraud-detection-staging/alert-monitor"
REACHED = [
    "Namespace/fraud-detection",
    "Namespace/fraud-detection-staging",
    "NetworkPolicy.networking.k8s.io/fraud-detection-staging/allow-all",
    TAKEN,
]


def attack(checkout: Checkout) -> None:
    """Commit the attack."""
    write_attack(checkout.folder)
    checkout.commit("Attack")


def share_a_project(checkout: Checkout) -> None:
    """Commit a project that allows dev everything, as both environments once shared."""
    file = "argocd/fraud-detection.yaml"
    checkout.edit(file, r"namespace: fraud-detection\n  namespaceR", "namespace: '*'\n  namespaceR")
    everything = '- group: "*"\n      kind: "*"\n'
    lists = f"  clusterResourceWhitelist:\n    {everything}  namespaceResourceWhitelist:\n"
    checkout.edit(file, "  namespaceResourceWhitelist:\n", f"{lists}    {everything}")
    checkout.commit("One project for all")


def test_an_attack_on_another_environment_is_blocked(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """The project refuses it; a name without its namespace would look like an own object."""
    attack(checkout)
    result = run("HEAD^", "--environment", "dev")
    assert result.exit_code == 1
    for name in (*REACHED, "Job.batch/node"):
        why = rf"^refused: {name}\n    the project fraud-detection-dev does not allow"
        assert re.search(why, result.stdout, re.MULTILINE)


@pytest.mark.parametrize("change", ["applied", "reverted"])
def test_an_attack_is_blocked_even_where_the_project_allows_it(
    checkout: Checkout, run: Callable[..., Result], change: str
) -> None:
    """Both environments shared a project once. Reverting the attack pruned staging's namespace."""
    share_a_project(checkout)
    attack(checkout)
    if change == "reverted":
        checkout.git("revert", "--no-edit", "HEAD")
    result = run("HEAD^", "--environment", "dev")
    assert result.exit_code == 1, result.output
    why = "exists once in the cluster|is in the namespace fraud-detection-staging"
    for name in REACHED:
        assert re.search(rf"^out of bounds: {name}\n +it ({why})", result.stdout, re.MULTILINE)


def test_an_object_of_two_environments_is_blocked(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """Each Application would take it from the other, and prune it where it is gone."""
    checkout.edit("argocd/fraud-detection.yaml", r"(namespace: fraud-detection)-staging", r"\1")
    shared = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}}
    for name in ("dev", "staging"):
        path = checkout.folder / "dist" / name / "shared.yaml"
        path.write_text(json.dumps(shared), encoding="utf-8")
    result = run("HEAD", "--environment", "dev")
    assert result.exit_code == 1
    assert "out of bounds: ConfigMap/shared\n    dist/staging has it as well" in result.stdout


def test_another_level_of_pod_security_is_blocked(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """The root Application applies it, and afterwards the namespace admits any pod."""
    checkout.edit("argocd/namespaces.yaml", "enforce: restricted", "enforce: privileged")
    result = run("HEAD", "--environment", "staging")
    assert result.exit_code == 1
    assert "out of bounds: Namespace/fraud-detection-staging" in result.stdout
    assert "io/enforce: restricted → privileged" in result.stdout


def test_nothing_blocks_where_nothing_changes(run: Callable[..., Result]) -> None:
    """Most pull requests do not concern an environment at all."""
    result = run("HEAD", "--format", "json")
    for rehearsal in rehearsals(result):
        assert {each["verdict"] for each in rehearsal["findings"]} == {"unchanged"}
        assert rehearsal["consequences"] == []


def test_the_kinds_of_an_operator_are_known(checkout: Checkout, run: Callable[..., Result]) -> None:
    """Where they were unknown, every rehearsal with monitoring on was refused."""
    namespace = {"namespace": "fraud-detection-staging"}
    made = [*large.kind("PodMonitor"), *large.kind("PrometheusRule")]
    moved = [{**each, "metadata": {**each["metadata"], **namespace}} for each in made]
    misspelt = {**moved[0], "metadata": {**moved[0]["metadata"], "name": "misspelt"}}
    misspelt["spec"] = {**misspelt["spec"], "selectr": {}}
    file = checkout.folder / "dist" / "staging" / "watch.yaml"
    file.write_text("\n---\n".join(map(json.dumps, [*moved, misspelt])), encoding="utf-8")
    [rehearsal] = rehearsals(
        run("HEAD", "--environment", "staging", "--format", "json"), exit_code=1
    )
    verdicts = {
        each["name"]: each["verdict"]
        for each in rehearsal["findings"]
        if each["kind"] in {"PodMonitor", "PrometheusRule"}
    }
    assert verdicts.pop("misspelt") == "refused"
    assert set(verdicts.values()) == {"created"}


def test_the_same_trees_give_the_same_bytes(checkout: Checkout, run: Callable[..., Result]) -> None:
    """A comment on a pull request is only updated if it changes."""
    drop_selector(checkout)
    lose_volume(checkout)
    loosen_pod(checkout)
    first, second = (run("HEAD", "--format", "json").stdout for _ in range(2))
    assert first == second
    assert "replace-needed" in first


def test_it_is_compared_with_what_each_environment_tracks(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """The remote's branch counts, as a local one may be anywhere."""
    checkout.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    checkout.edit("staging/alert-monitor.yaml", "cpu: 500m", "cpu: 600m")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "Only staging")
    checkout.git("update-ref", "refs/remotes/origin/main", "HEAD")
    result = run("--format", "json")
    found = {
        each["environment"]: (each["base"], {f["verdict"] for f in each["findings"]})
        for each in rehearsals(result)
    }
    assert found == {
        "dev": ("origin/develop", {"unchanged"}),
        "staging": ("origin/main", {"unchanged"}),
    }


def test_an_unknown_base_cannot_be_rehearsed(run: Callable[..., Result]) -> None:
    """A single-branch clone does not have the other branch."""
    result = run()
    assert result.exit_code == 2
    assert "Unknown commit 'origin/develop': fetch it, or name another BASE." in result.stderr


def test_all_of_an_environment_is_new_before_its_branch_exists(
    checkout: Checkout, run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever adds an environment sees what its first sync will do, and the others as ever."""
    first, *others = (each.name for each in declared(read_dist(REPOSITORY)))
    branches = {each.name: each.branch for each in declared(read_dist(REPOSITORY))}
    remote = tmp_path_factory.mktemp("remote")
    checkout.git("clone", "--quiet", "--bare", ".", str(remote))
    checkout.git("remote", "add", "origin", str(remote))
    for name in others:
        checkout.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branches[name]}")
    checkout.git("push", "--quiet", "origin", f":refs/heads/{branches[first]}")
    checkout.git("fetch", "--quiet", "--prune", "origin")
    result = run("--format", "json")
    found = {each["environment"]: each for each in rehearsals(result)}
    assert found[first]["base"] == (f"nothing (origin/{branches[first]} does not exist yet)")
    verdicts = {name: {f["verdict"] for f in each["findings"]} for name, each in found.items()}
    assert verdicts == {first: {"created"}, **{name: {"unchanged"} for name in others}}


def test_a_branch_that_was_not_fetched_is_not_new(
    checkout: Checkout, run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A single-branch clone would otherwise report every object as new."""
    remote = tmp_path_factory.mktemp("remote")
    for each in declared(read_dist(REPOSITORY)):
        checkout.git("branch", "--force", each.branch)
    checkout.git("clone", "--quiet", "--bare", ".", str(remote))
    checkout.git("remote", "add", "origin", str(remote))
    result = run()
    assert result.exit_code == 2
    assert re.search(r"Unknown commit 'origin/\w+': fetch it", result.stderr)


def test_an_unknown_environment_cannot_be_rehearsed(run: Callable[..., Result]) -> None:
    """The error lists the known ones."""
    result = run("HEAD", "--environment", "nowhere")
    assert result.exit_code == 2
    known = ", ".join(each.name for each in declared(read_dist(REPOSITORY)))
    assert f"Unknown environment 'nowhere'; known environments: {known}." in result.stderr


CLAIM = "PersistentVolumeClaim/flink-checkpoints=data-at-risk"


def line(result: Result, environment: str, allowed: str = CLAIM) -> str:
    """Return the line that a report gives to allow a verdict, with a reason."""
    found = re.search(rf"Rehearsal-Allow: {environment} {allowed}:\w+ REASON", result.stdout)
    assert found, result.stdout
    return found[0].replace("REASON", "it may start empty")


def test_an_allowed_verdict_does_not_block(checkout: Checkout, run: Callable[..., Result]) -> None:
    """The report gives the reason to whoever asks later."""
    checkout.edit("dev/flink.yaml", "storage: 2Gi", "storage: 1Gi")
    typed = ("HEAD", "--environment", "dev")
    blocked = run(*typed)
    assert blocked.exit_code == 1
    allowed = line(blocked, "dev").split()[2]
    result = run(*typed, "--allow", allowed, "--reason", "dev starts empty")
    assert result.exit_code == 0
    assert "Allowed: dev starts empty" in result.stdout


def shrink(checkout: Checkout) -> None:
    """Shrink the volume of the checkpoints in both environments."""
    checkout.edit("dev/flink.yaml", "storage: 2Gi", "storage: 1Gi")
    checkout.edit("staging/flink.yaml", "storage: 5Gi", "storage: 1Gi")


def blocked(result: Result) -> dict[str, bool]:
    """Return whether something blocks, by environment; in one of them it does."""
    return {each["environment"]: each["blocks"] for each in rehearsals(result, exit_code=1)}


def allow(checkout: Checkout, run: Callable[..., Result], base: str) -> None:
    """Commit everything, with the line that the report gives for the claim in dev."""
    text = line(run(base, "--environment", "dev"), "dev")
    checkout.commit(f"Change the claim\n\n{text}")


def test_a_commit_allows_a_verdict_in_one_environment(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """A loss that is acceptable in dev may not be in staging; the report names who allowed it."""
    shrink(checkout)
    allow(checkout, run, "HEAD")
    result = run("HEAD^", "--format", "json")
    assert blocked(result) == {"dev": False, "staging": True}
    for_people = [
        run("HEAD^", "--environment=dev", "--format", form) for form in ("text", "markdown")
    ]
    by = r"it may start empty \(Somebody, unsigned, [0-9a-f]{12}\)"
    assert all(re.search(by, each.stdout) for each in (result, *for_people))


def test_an_allowance_counts_for_no_other_change(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """Whoever accepted to lose a little did not accept to lose everything."""
    shrink(checkout)
    allow(checkout, run, "HEAD")
    checkout.edit("dev/flink.yaml", "storage: 1Gi", "storage: 1Mi")
    result = run("HEAD^", "--environment", "dev")
    assert result.exit_code == 1
    assert re.search(rf"Commit/\w+: allows {CLAIM}:\w+, a change that is not made", result.stdout)
    allow(checkout, run, "HEAD^")
    assert run("HEAD~2", "--environment", "dev").exit_code == 0


def test_an_allowance_ends_with_its_change(checkout: Checkout, run: Callable[..., Result]) -> None:
    """It survived the revert of its change, and a reader has to know that it means nothing."""
    shrink(checkout)
    allow(checkout, run, "HEAD")
    checkout.git("revert", "--no-edit", "HEAD")
    checkout.edit("dev/flink.yaml", "ReadWriteOnce", "ReadWriteMany")
    result = run("HEAD~2", "--environment", "dev")
    assert result.exit_code == 1
    assert re.search(rf"Commit/\w+: allows {CLAIM}:\w+, a change that is not made", result.stdout)


def test_an_allowance_survives_unrelated_changes(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """A build is released several times a day, and the base of a branch moves."""
    lose_volume(checkout)
    checkout.commit("Lose the volume")
    name = "Deployment.apps/flink-jobmanager=data-at-risk"
    before = line(run("HEAD^", "--environment", "staging"), "staging", name)
    checkout.edit("staging/flink.yaml", "(/flink-app:)[0-9a-f]{40}", rf"\g<1>{'a' * 40}")
    checkout.edit("staging/redis.yaml", "tcp-keepalive \\d+", "tcp-keepalive 77")
    assert line(run("HEAD^", "--environment", "staging"), "staging", name) == before


def test_a_commit_before_the_base_allows_nothing(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """An old allowance was for another change."""
    shrink(checkout)
    allow(checkout, run, "HEAD")
    checkout.git("revert", "--no-edit", "HEAD")
    shrink(checkout)
    checkout.commit("Shrink again")
    assert blocked(run("HEAD^", "--format", "json")) == {"dev": True, "staging": True}


def test_a_malformed_allowance_is_reported(checkout: Checkout, run: Callable[..., Result]) -> None:
    """It allows nothing, but must not stop the rehearsal: the commit cannot be changed any more."""
    shrink(checkout)
    checkout.commit(f"Shrink\n\nRehearsal-Allow: prod {CLAIM}:{'0' * 12} it may start empty")
    result = run("HEAD^", "--environment", "dev")
    assert result.exit_code == 1
    assert re.search(
        r"Commit/[0-9a-f]{12}: allows nothing: Invalid allowance 'prod ", result.stdout
    )


def test_the_pages_have_the_markdown(
    checkout: Checkout, run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One rehearsal serves the log, the comment and the summary of a run."""
    drop_selector(checkout)
    folder = tmp_path_factory.mktemp("pages")
    pages = [f"--markdown={folder / name}" for name in ("a.md", "b.md")]
    result = run("HEAD", "--environment=staging", *pages)
    assert result.stdout.startswith("Rehearsal of staging: ")
    assert {page.read_text(encoding="utf-8") for page in folder.iterdir()} == {
        run("HEAD", "--environment=staging", "--format", "markdown").stdout
    }


def test_the_pages_say_why_there_is_no_report(
    run: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An old report would otherwise be taken for the new one."""
    page = tmp_path_factory.mktemp("pages") / "page.md"
    assert run("nonsense", f"--markdown={page}").exit_code == 2
    assert page.read_text(encoding="utf-8").splitlines() == [
        "### Rehearsal failed",
        "",
        "Unknown commit 'nonsense': fetch it, or name another BASE.",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--allow", "Deployment.apps/web=replace-needed:0123456789ab"),
        ("--allow", "Deployment.apps/web=pruned:0123456789ab", "--reason", "why"),
        ("--allow", "Deployment.apps/web=replace-needed", "--reason", "why"),
    ],
    ids=["no reason", "never blocks", "no hash"],
)
def test_an_allowance_says_what_and_why(
    run: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    """A mistake would otherwise be noticed after the rehearsal, or never."""
    assert run("HEAD", *arguments).exit_code == 2


def test_a_given_api_server_has_the_version_that_it_has(run: Callable[..., Result]) -> None:
    """Ignoring one of the two options would rehearse on another version than asked for."""
    result = run("HEAD", "--kubernetes=1.37")
    assert result.exit_code == 2
    assert "--kubeconfig and --kubernetes exclude each other" in result.stderr


def test_what_the_root_application_applies_is_named(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """No environment's own sync applies dist/argocd."""
    checkout.edit("argocd/fraud-detection.yaml", "selfHeal: true", "selfHeal: false")
    [rehearsal] = rehearsals(run("HEAD", "--environment", "dev", "--format", "json"))
    assert [each["name"] for each in rehearsal["consequences"]] == [
        "fraud-detection-system",
        "fraud-detection-system-staging",
    ]


def test_what_is_gone_has_its_source_in_the_base(
    checkout: Checkout, run: Callable[..., Result]
) -> None:
    """Its construct may be deleted, too."""
    (checkout.folder / "dist/dev/alert-monitor.yaml").unlink()
    system = checkout.folder / "constructs/fraud_detection/system.py"
    text = system.read_text(encoding="utf-8")
    system.write_text(text.replace('chart("alert-monitor")', 'chart("other")'), encoding="utf-8")
    [rehearsal] = rehearsals(run("HEAD", "--environment", "dev", "--format", "json"))
    [gone] = [
        each
        for each in rehearsal["findings"]
        if (each["kind"], each["verdict"]) == ("Deployment", "pruned")
    ]
    assert gone["source"].startswith("constructs/fraud_detection/services/alert_monitor.py:")


def test_a_real_cluster_is_refused(
    client: Client, run: Callable[..., Result], request: pytest.FixtureRequest
) -> None:
    """With the wrong kubeconfig, the rehearsal would run pods in production."""
    node = client.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "real"}}).body
    path = "/api/v1/nodes/real"
    request.addfinalizer(lambda: client.request("DELETE", path))
    assert node["metadata"]["name"] == "real"
    result = run("HEAD")
    assert result.exit_code == 2
    assert "names a cluster with nodes" in result.stderr


def test_a_missing_version_is_an_error(
    checkout: Checkout, api_server_assets: ApiServerAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error lists the installed versions."""
    del checkout
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(api_server_assets.etcd.parent))
    result = CliRunner().invoke(main, ["rehearse", "HEAD", "--kubernetes", "1.2"])
    assert result.exit_code == 2
    assert re.search(r"There is no Kubernetes 1\.2 here, only v1\.\d+", result.stderr)


def test_each_version_rehearses_everything(
    checkout: Checkout,
    api_server_assets: ApiServerAssets,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A cluster may refuse after its upgrade what it accepts today."""
    folder = tmp_path_factory.mktemp("versions")
    for version in ("1.36.1", "1.37.2"):
        programs = folder / version
        programs.mkdir()
        for program in ("etcd", "kubectl"):
            (programs / program).symlink_to(api_server_assets.etcd.with_name(program))
        kube_apiserver = programs / "kube-apiserver"
        kube_apiserver.write_text(
            "#!/bin/sh\n"
            f'test "$1" != --version || {{ echo Kubernetes v{version}; exit; }}\n'
            f"echo {version} >> {folder}/started\n"
            f'exec {api_server_assets.kube_apiserver} "$@"\n',
            encoding="utf-8",
        )
        kube_apiserver.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder / "1.37.2"))
    versions = ["--kubernetes=1.36", "--kubernetes=v1.37.2"]
    typed = ["rehearse", "HEAD", "--environment=dev", "--format=json", *versions]
    result = CliRunner().invoke(main, typed)
    assert [each["environment"] for each in rehearsals(result)] == ["dev", "dev"]
    started = (folder / "started").read_text(encoding="utf-8")
    assert started.splitlines() == ["1.36.1", "1.37.2"]
    del checkout


def test_environments_do_not_collide(checkout: Checkout, run: Callable[..., Result]) -> None:
    """They are rehearsed at the same time, but an address of the cluster exists only once."""
    for name, namespace in (("dev", "fraud-detection"), ("staging", "fraud-detection-staging")):
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "fixed", "namespace": namespace},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
        }
        path = checkout.folder / "dist" / name / "fixed.yaml"
        path.write_text(json.dumps(service), encoding="utf-8")
    for _ in range(3):
        found = rehearsals(run("HEAD", "--format", "json"))
        verdicts = [
            (each["name"], each["verdict"])
            for rehearsal in found
            for each in rehearsal["findings"]
            if each["verdict"] != "unchanged"
        ]
        assert verdicts == [("fixed", "created")] * 2


def test_what_is_applied_again_as_it_was_does_not_change(client: Client) -> None:
    """The rehearsal relies on it: it does not apply an unchanged manifest again."""
    namespace = "applied-twice"
    make_namespace(client, namespace)
    for each in manifests(read_dist(REPOSITORY), PurePosixPath("dist/staging")):
        metadata = {**each.manifest["metadata"], "namespace": namespace}
        manifest = {**each.manifest, "metadata": metadata}
        first, second = (client.apply(manifest, field_manager="somebody").body for _ in range(2))
        assert same(first, second)


class Commit(NamedTuple):
    """An everyday change.

    Attributes:
        file: File of the environment.
        old: Pattern in the file.
        new: Replacement of each match; `{}` is a number that no earlier commit used.
        expect: Verdict of each changed object.
    """

    file: str
    old: str
    new: str
    expect: dict[str, str]


ROLLS = Verdict.PODS_ROLL.value
PLACE = Verdict.IN_PLACE.value
IMAGE = r"(image: ghcr.io/mordris/{}):[0-9a-f]+"
COMMIT = r"\1:" + "{:040x}"
EVERYDAY = [
    Commit(
        "payment-api.yaml",
        IMAGE.format("payment-api"),
        COMMIT,
        {"Deployment/payment-api": ROLLS},
    ),
    Commit(
        "alert-monitor.yaml",
        IMAGE.format("alert-monitor"),
        COMMIT,
        {"Deployment/alert-monitor": ROLLS},
    ),
    Commit(
        "flink.yaml",
        IMAGE.format("[a-z-]+"),
        COMMIT,
        {"Deployment/flink-jobmanager": ROLLS},
    ),
    Commit("redis.yaml", r"(image: \S+/redis):\S+", r"\1:7.2.{}", {"StatefulSet/redis": ROLLS}),
    Commit(
        "redpanda.yaml",
        r"(image: \S+/redpanda):\S+",
        r"\1:v25.3.{}",
        {"StatefulSet/redpanda": ROLLS},
    ),
    Commit(
        "alert-monitor.yaml",
        r"cpu: [1-9]\d\dm\b",
        "cpu: {}m",
        {"Deployment/alert-monitor": ROLLS},
    ),
    Commit(
        "payment-api.yaml",
        r"(stabilizationWindowSeconds: )\d+",
        r"\g<1>{}",
        {"HorizontalPodAutoscaler/payment-api": PLACE},
    ),
    Commit(
        "payment-api.yaml",
        r"(averageUtilization: )\d+",
        r"\g<1>{}",
        {"HorizontalPodAutoscaler/payment-api": PLACE},
    ),
    Commit(
        "redis.yaml",
        r"(tcp-keepalive )\d+(.*?checksum/files: )\w+",
        # Digits alone would be a number.
        r"\g<1>{0}\g<2>a{0:063x}",
        {"ConfigMap/redis-files": PLACE, "StatefulSet/redis": ROLLS},
    ),
    Commit(
        "prober.yaml",
        r"(EVERY_SECONDS\n +value: )\"\d+\"",
        r'\g<1>"{}"',
        {"Deployment/prober": ROLLS},
    ),
    Commit(
        "flink.yaml",
        r"(storage: )\d+\w+",
        r"\g<1>20{}Mi",
        {"PersistentVolumeClaim/flink-checkpoints": PLACE},
    ),
    Commit("namespace.yaml", r'(pods: )"\d+"', r'\g<1>"{}"', {"ResourceQuota/quota": PLACE}),
    Commit(
        "redpanda.yaml",
        r"(DRAIN_SECONDS\n +value: )\"\d+\"",
        r'\g<1>"{}"',
        {"StatefulSet/redpanda": ROLLS},
    ),
    Commit("redis.yaml", "$", "\n# A remark.\n", {}),
]


def test_a_history_of_everyday_changes_has_exactly_its_verdicts(client: Client) -> None:
    """Nobody heeds a check with frequent false alarms."""
    files = dict(read_dist(REPOSITORY))
    [application] = select(declared(files), "staging")
    chance = random.Random(6)  # noqa: S311 - a repeatable history
    wrong = {}
    # Each of them also follows itself and most of the others.
    history = chance.sample(EVERYDAY * 2, len(EVERYDAY) * 2)
    for number, commit in enumerate(history, start=1):
        path = application.folder / commit.file
        text = files[path].decode()
        # Three digits, as what is replaced has.
        new = re.sub(commit.old, commit.new.format(100 + number), text, flags=re.DOTALL)
        changed: Files = {**files, path: new.encode()}
        before, after = (_near(commit, each, application.folder) for each in (files, changed))
        rehearsal = rehearse(client, application, tree(before), tree(after))
        found = {
            str(each.key): each.verdict.value
            for each in rehearsal.findings
            if each.verdict is not Verdict.UNCHANGED
        }
        if found != commit.expect or rehearsal.blocks:
            wrong[f"{number}: {commit.old}"] = rehearsal.findings
        files = dict(changed)
    assert wrong == {}


def _near(commit: Commit, files: Files, folder: PurePosixPath) -> list[Desired]:
    """Return the objects that a commit can affect: its own file and the namespace's rules."""
    near = {folder / commit.file, folder / "namespace.yaml"}
    return manifests({path: files[path] for path in near}, folder)
