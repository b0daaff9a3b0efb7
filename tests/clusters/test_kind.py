"""`delivery kind`, with stand-ins for kind and kubectl that record how they are called.

The workflow e2e.yml covers what only a real cluster can show.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from delivery.cli import main
from delivery.clusters import kind
from delivery.clusters.kind import KindError, fetch_address
from delivery.control_plane.parts import Requirement, pinned
from delivery.manifests.applications import environments
from repository import REPOSITORY

PROGRAM = """\
#!/bin/sh
call="${0##*/} $*"
echo "$call" >> calls
for refusal in refuse-*; do
    test -e "$refusal" || continue
    case "$call" in "$(cat "$refusal")"*) echo "refused: $refusal" >&2; exit 1; esac
done
test "$call" != "$(cat hanging 2> /dev/null)" || exec sleep 60
case "$call" in
"kind version") cat version ;;
"kind get clusters") cat clusters ;;
*"--filename=-") cat > applied-"$(wc -l < calls)".json ;;
*" get application "*)
    set -- status-*
    cat "$1"
    test $# -eq 1 || rm "$1"
    ;;
*" get events "*) echo "the events" ;;
esac
"""
SSH = """\
#!/bin/sh
exec git upload-pack remote.git
"""
WORKS = ("Synced", "Healthy", "Succeeded")


class Machine:
    """A machine with kind and a pushed checkout of this repository.

    Args:
        folder: Empty folder for the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(REPOSITORY / "dist", folder / "dist")
        (folder / "cdk8s.yaml").touch()
        programs = folder / "bin"
        programs.mkdir()
        for name in ("kind", "kubectl"):
            (programs / name).write_text(PROGRAM, encoding="utf-8")
        (programs / "ssh").write_text(SSH, encoding="utf-8")
        for program in programs.iterdir():
            program.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH": str(programs / "ssh"),
        }
        self.git("init", "--quiet", "--initial-branch=feature")
        self.commit()
        self.git("remote", "add", "origin", "git@github.com:somebody/config.git")
        self.git("clone", "--quiet", "--bare", ".", "remote.git")
        self.says(version="kind v0.31.0 go1.25.5 linux/amd64", clusters="")
        self.states(WORKS)

    def git(self, *arguments: str) -> str:
        """Run Git in the checkout."""
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self) -> None:
        """Commit something."""
        self.git("commit", "--quiet", "--allow-empty", "--message=x")

    def says(self, **texts: str) -> None:
        """Set the answers of the programs."""
        for name, text in texts.items():
            (self.folder / name).write_text(f"{text}\n", encoding="utf-8")

    def refuses(self, *calls: str) -> None:
        """Make every call fail that starts like one of these."""
        for call in calls:
            (self.folder / f"refuse-{call}").write_text(call, encoding="utf-8")

    def states(self, *states: tuple[str, str, str]) -> None:
        """Set the states that Argo CD reports, in order; the last one stays."""
        for number, (sync, health, phase) in enumerate(states):
            status = {
                "sync": {"status": sync},
                "health": {"status": health},
                "operationState": {"phase": phase, "message": "because"},
            }
            (self.folder / f"status-{number}").write_text(
                json.dumps({"status": status}), encoding="utf-8"
            )

    def run(self, *options: str) -> Result:
        """Run the command."""
        return CliRunner().invoke(main, ["kind", *options])

    @property
    def calls(self) -> list[str]:
        """The calls so far."""
        return (self.folder / "calls").read_text(encoding="utf-8").splitlines()

    def applied(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the applied objects of a kind."""
        lists = [json.loads(path.read_bytes()) for path in self.folder.glob("applied-*.json")]
        return [
            manifest
            for each in lists
            for manifest in each.get("items", [each])
            if manifest["kind"] == kind
        ]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which everything works."""
    machine = Machine(tmp_path)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kind, "_POLL_SECONDS", 0)
    return machine


def test_all_environments_come_up(machine: Machine) -> None:
    """One command brings up everything, and says what to type next."""
    result = machine.run()
    assert result.exit_code == 0, result.output
    assert "kubectl --context kind-fraud-detection get applications" in result.stdout
    applied = [each["metadata"]["name"] for each in machine.applied("Application")]
    assert applied == [each.application for each in environments(REPOSITORY)]


def test_no_other_cluster_is_touched(machine: Machine) -> None:
    """The current context of the kubeconfig may be production."""
    machine.states(("OutOfSync", "Missing", "Failed"))
    machine.run("--logs", "logs")
    calls = [call for call in machine.calls if call.startswith("kubectl")]
    assert any("describe" in call for call in calls)
    assert [c for c in calls if not c.startswith("kubectl --context=kind-fraud-detection ")] == []


def test_the_cluster_has_the_nodes_and_ports_of_the_configuration(machine: Machine) -> None:
    """Three brokers need three nodes."""
    machine.run()
    [created] = [call for call in machine.calls if call.startswith("kind create")]
    assert f"--config={machine.folder}/docs/kind/cluster.yaml" in created
    cluster = YAML(typ="safe").load(REPOSITORY / "docs" / "kind" / "cluster.yaml")
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", "worker", "worker"]
    ports = cluster["nodes"][0]["extraPortMappings"]
    assert [port["hostPort"] for port in ports] == [80, 443]
    # Without its default network nothing would enforce policies.
    assert "networking" not in cluster


def test_a_second_run_uses_the_cluster_of_the_first(machine: Machine) -> None:
    """A new cluster would take minutes and lose the data."""
    machine.says(clusters="other\nfraud-detection")
    result = machine.run()
    assert result.exit_code == 0, result.output
    assert not any(call.startswith("kind create") for call in machine.calls)


def test_argo_cd_has_the_version_that_the_tests_run(machine: Machine) -> None:
    """Only one version is pinned, and tested."""
    machine.run()
    version = pinned("argo-cd").version
    [call] = [call for call in machine.calls if "install.yaml" in call]
    assert f"/argo-cd/{version}/manifests/install.yaml" in call


@pytest.mark.parametrize("version", ["v3.2.12", "v2.14.0"])
def test_an_argo_cd_that_allows_every_namespace_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It ignores the names in the root project, where it does not refuse the project."""
    monkeypatch.setattr(kind, "pinned", lambda name: Requirement(name, version))
    result = machine.run()
    assert result.exit_code == 2
    assert f"Argo CD {version} cannot allow a Namespace by its name" in result.stderr
    assert not any(call.startswith("kind create") for call in machine.calls)


@pytest.mark.parametrize("version", ["v3.3.0", "v4.0.0"])
def test_an_argo_cd_that_knows_names_is_accepted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Newer ones keep working."""
    monkeypatch.setattr(kind, "pinned", lambda name: Requirement(name, version))
    assert machine.run().exit_code == 0


def test_the_autoscalers_have_their_metrics(machine: Machine) -> None:
    """Without them Argo CD calls staging Degraded."""
    machine.run()
    folder = "docs/kind/metrics-server"
    assert any(
        call.endswith(f" apply --kustomize={machine.folder}/{folder}") for call in machine.calls
    )
    assert (REPOSITORY / folder / "kustomization.yaml").exists()


def test_prometheus_is_there_before_what_it_watches(machine: Machine) -> None:
    """A sync of kinds that the cluster lacks fails."""
    assert machine.run("--monitoring").exit_code == 0
    folder = f"{machine.folder}/docs/kind"
    order = [
        f"--kustomize={folder}/prometheus-operator",
        "wait crd",
        "--namespace=default",
        f"--filename={folder}/prometheus.yaml",
        "--field-manager=kubectl --filename=-",
    ]
    places = [max(n for n, call in enumerate(machine.calls) if each in call) for each in order]
    assert places == sorted(places)
    assert (REPOSITORY / "docs" / "kind" / "prometheus-operator" / "kustomization.yaml").exists()


def test_prometheus_watches_whatever_is_rendered() -> None:
    """Without a selector it would select nothing, silently."""
    file = REPOSITORY / "docs" / "kind" / "prometheus.yaml"
    [prometheus] = [m for m in YAML(typ="safe").load_all(file) if m["kind"] == "Prometheus"]
    selectors = {name: value for name, value in prometheus["spec"].items() if "Selector" in name}
    assert selectors == {
        f"{kind}{what}Selector": {} for kind in ("podMonitor", "rule") for what in ("", "Namespace")
    }


def test_prometheus_is_installed_on_demand_alone(machine: Machine) -> None:
    """It takes memory of a laptop, and no environment is monitored by default."""
    machine.run()
    assert not any("prometheus-operator" in call for call in machine.calls)


def test_argo_cd_fetches_from_the_callers_repository(machine: Machine) -> None:
    """A fork delivers itself; the projects must allow it, too."""
    machine.run()
    address = "https://github.com/somebody/config.git"
    assert {a["spec"]["source"]["repoURL"] for a in machine.applied("Application")} == {address}
    projects = machine.applied("AppProject")
    assert len(projects) == len(environments(REPOSITORY))
    assert all(each["spec"]["sourceRepos"] == [address] for each in projects)


def test_each_environment_comes_from_its_own_branch(machine: Machine) -> None:
    """As in a real cluster, so that a promotion can be tried."""
    machine.run()
    revisions = [
        each["spec"]["source"]["targetRevision"] for each in machine.applied("Application")
    ]
    assert revisions == [each.branch for each in environments(REPOSITORY)]


def test_one_environment_comes_from_the_branch_that_is_checked_out(machine: Machine) -> None:
    """A change can be tried before it lands."""
    machine.run("--environment", "dev")
    [application] = machine.applied("Application")
    assert application["spec"]["source"]["path"] == "dist/dev"
    assert application["spec"]["source"]["targetRevision"] == "feature"


def test_without_a_branch_it_comes_from_the_commit(machine: Machine) -> None:
    """GitHub checks out the merge of a pull request without a branch."""
    machine.git("checkout", "--quiet", "--detach")
    machine.run("--environment", "dev")
    [application] = machine.applied("Application")
    assert application["spec"]["source"]["targetRevision"] == machine.git("rev-parse", "HEAD")


def test_what_is_not_pushed_is_refused(machine: Machine) -> None:
    """Argo CD would apply something else, and everything would look fine."""
    machine.commit()
    result = machine.run("--environment", "dev")
    assert result.exit_code == 2
    assert "origin/feature is not what is checked out" in result.stderr
    assert not (machine.folder / "calls").exists()


def test_an_environment_that_does_not_exist_is_refused(machine: Machine) -> None:
    """The error lists the known ones, before a cluster is created."""
    result = machine.run("--environment", "prod")
    assert result.exit_code == 2
    known = ", ".join(each.name for each in environments(REPOSITORY))
    assert f"Unknown environment 'prod'; known environments: {known}." in result.stderr


@pytest.mark.parametrize("version", ["v0.23.0", "v0.9.0"])
def test_a_kind_that_enforces_no_policy_is_refused(machine: Machine, version: str) -> None:
    """Everything would run, but nothing would be isolated."""
    machine.says(version=f"kind {version} go1.21.10 linux/amd64")
    result = machine.run()
    assert result.exit_code == 2
    assert f"kind {version} does not enforce NetworkPolicies" in result.stderr
    assert "install kind v0.24 or newer" in result.stderr


@pytest.mark.parametrize("version", ["v0.24.0", "v0.31.0-alpha+abc", "v1.0.0"])
def test_a_kind_that_enforces_policies_is_accepted(machine: Machine, version: str) -> None:
    """Pre-releases, too."""
    machine.says(version=f"kind {version} go1.25.5 linux/amd64")
    assert machine.run().exit_code == 0


@pytest.mark.parametrize("program", ["kind", "kubectl"])
def test_a_missing_program_is_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """The error says what to install, instead of a traceback."""
    programs = machine.folder / "bin"
    (programs / program).unlink()
    for other in ("cat", "git"):
        (programs / other).symlink_to(str(shutil.which(other)))
    monkeypatch.setenv("PATH", str(programs))
    result = machine.run()
    assert result.exit_code == 2
    assert f"There is no {program} on the PATH: install" in result.stderr


def test_a_refused_call_is_shown_with_its_reason(machine: Machine) -> None:
    """For example when Docker does not run."""
    machine.refuses("kind create")
    result = machine.run()
    assert result.exit_code == 2
    assert "`kind create cluster" in result.stderr
    assert "refused: refuse-kind create" in result.stderr


def test_a_call_that_hangs_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker may stop answering."""
    monkeypatch.setattr(kind, "_PROGRAM_SECONDS", 0.5)
    logs = f"kind export logs --name={kind.NAME} logs/nodes"
    machine.says(hanging=logs)
    machine.states(("Unknown", "Unknown", "Error"))
    assert machine.run("--logs=logs").exit_code == 2
    collected = (machine.folder / "logs" / "export.txt").read_text(encoding="utf-8")
    assert collected == f"`{logs}` did not answer within 0.5 seconds: try again.\n"


def test_it_waits_until_everything_works(machine: Machine) -> None:
    """None of the three states alone means that it works; each change is reported once."""
    machine.states(
        ("OutOfSync", "Missing", "Running"),
        ("Synced", "Progressing", "Running"),
        ("Synced", "Healthy", "Running"),
        ("OutOfSync", "Healthy", "Succeeded"),
        ("Synced", "Degraded", "Succeeded"),
        ("Synced", "Degraded", "Succeeded"),
        WORKS,
    )
    result = machine.run("--environment", "dev")
    assert result.exit_code == 0, result.output
    reported = [
        line for line in result.stderr.splitlines() if line.startswith("fraud-detection-system")
    ]
    assert len(reported) == 6
    assert reported[-1] == "fraud-detection-system: Synced, Healthy, Succeeded"


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_failed_sync_ends_it(machine: Machine, phase: str) -> None:
    """Argo CD has used up its retries by then; waiting would only hide the reason."""
    machine.states(("OutOfSync", "Missing", phase))
    result = machine.run()
    assert result.exit_code == 2
    assert f"fraud-detection-system: OutOfSync, Missing, {phase}: because" in result.stderr


def test_it_does_not_wait_for_ever(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that cannot be pulled leaves Argo CD Progressing."""
    monkeypatch.setattr(kind, "_SECONDS", 0)
    machine.states(("Synced", "Progressing", "Running"))
    result = machine.run()
    assert result.exit_code == 2
    assert "Synced, Progressing, Running, after 0 minutes" in result.stderr


def test_a_sync_that_waits_without_end_is_ended(machine: Machine) -> None:
    """Argo CD's default is to wait for ever, and the commit that fixes it would wait as well."""
    machine.run()
    [settings] = machine.applied("ConfigMap")
    assert settings["metadata"] == {"name": "argocd-cmd-params-cm", "namespace": "argocd"}
    assert 0 < int(settings["data"]["controller.sync.timeout.seconds"]) <= 600


def test_the_settings_of_argo_cd_come_before_its_controller(machine: Machine) -> None:
    """It reads them when it starts, and never again."""
    machine.run()
    [settings] = [n for n, call in enumerate(machine.calls) if "--field-manager=delivery" in call]
    [install] = [n for n, call in enumerate(machine.calls) if "install.yaml" in call]
    assert settings < install


def test_events_and_logs_are_collected_when_it_fails(machine: Machine) -> None:
    """The runner and its cluster are gone by the time somebody looks."""
    machine.states(("OutOfSync", "Missing", "Failed"))
    machine.run("--environment", "dev", "--logs", "logs")
    logs = machine.folder / "logs"
    assert (logs / "events.txt").read_text(encoding="utf-8") == "the events\n"
    assert {path.name for path in logs.iterdir()} >= {"pods.txt", "applications.yaml"}
    assert any(
        call.startswith("kind export logs") and call.endswith(" logs/nodes")
        for call in machine.calls
    )
    assert any(
        "describe pods" in call and "--namespace=fraud-detection" in call for call in machine.calls
    )


def test_what_cannot_be_collected_does_not_hide_the_reason(machine: Machine) -> None:
    """There may be no cluster at all; the files then say why they are empty."""
    machine.refuses("kind create", "kubectl")
    result = machine.run("--logs", "logs")
    assert "`kind create cluster" in result.stderr
    assert "refused" in (machine.folder / "logs" / "events.txt").read_text(encoding="utf-8")


def test_nothing_is_collected_when_it_works(machine: Machine) -> None:
    """An empty folder would be uploaded as if there were something to see."""
    machine.run("--logs", "logs")
    assert not (machine.folder / "logs").exists()


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("https://x-access-token:secret@github.com/a/b", "https://github.com/a/b"),
        ("git@github.com:a/b.git", "https://github.com/a/b.git"),
        ("github.com:a/b.git", "https://github.com/a/b.git"),
        ("ssh://git@github.com/a/b.git", "https://github.com/a/b.git"),
    ],
)
def test_a_remote_is_fetched_by_https(remote: str, address: str) -> None:
    """Argo CD has no SSH key, and must not get the caller's token."""
    assert fetch_address(remote) == address


@pytest.mark.parametrize("remote", ["/srv/config.git", "../config", "file:///srv/config.git", ""])
def test_a_remote_on_this_machine_is_refused(remote: str) -> None:
    """That folder does not exist inside the cluster."""
    with pytest.raises(KindError, match="cannot fetch from"):
        fetch_address(remote)
