"""A kind cluster in which Argo CD applies what is committed: for a laptop, and for e2e.yml."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from delivery.clusters.argocd import NAMESPACE, applications
from delivery.commands import CommandError, kubectl, run
from delivery.control_plane.parts import pinned
from delivery.errors import DeliveryError
from delivery.git import git, resolve
from delivery.manifests.applications import Environment, environments, select

NAME = "fraud-detection"
CONTEXT = f"kind-{NAME}"
"""Context of the cluster in the kubeconfig, as kind names it."""

_OLDEST = (0, 24)
"""First version whose network enforces NetworkPolicies (kubernetes-sigs/kind#842)."""
OLDEST_ARGO_CD = (3, 3)
"""First version whose projects can allow a cluster-scoped object by its name (decision 21)."""
_SECONDS = 20 * 60
"""Time limit of an Application; pulling images takes most of it."""
_PROGRAM_SECONDS = 20 * 60
"""Time limit of a program that pulls images, waits for them, or collects logs."""
_POLL_SECONDS = 5
_PARAMETERS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "argocd-cmd-params-cm", "namespace": NAMESPACE},
    # Our syncs wait for nothing; this ends one that waits nevertheless. Default: never.
    "data": {"controller.sync.timeout.seconds": "300"},
}
"""Settings of Argo CD, beside those of its installation."""
_REMEDY = "install Docker, kind and kubectl"


class KindError(DeliveryError):
    """The cluster cannot be created or does not become healthy; the message says why."""


def up(
    repository: Path,
    *,
    environment: str | None = None,
    monitoring: bool = False,
    logs: Path | None = None,
    report: Callable[[str], None],
) -> None:
    """Create or update the cluster, and wait until everything in it is healthy.

    Args:
        repository: Root of the working tree; Argo CD fetches from its remote `origin`.
        environment: Environment to apply from the checked-out branch on the remote, or from the
            checked-out commit if there is no branch. Default: all, each from its own branch.
        monitoring: Whether to install the Prometheus Operator, and a Prometheus that watches
            every monitored environment.
        logs: Folder for events and logs after a failure. Default: none are collected.
        report: Called with each step.

    Raises:
        CommandError: If kind or kubectl is missing or fails.
        KindError: If an Application fails, or takes more than 20 minutes.
        GitError: If there is no remote.
    """
    chosen = select(environments(repository), environment)
    wanted = _wanted(repository, chosen, revised=environment is not None)
    _require_kind()
    _require_argo_cd()
    try:
        _make_cluster(repository, report)
        _install(repository, report)
        if monitoring:
            _install_prometheus(repository, report)
        report(f"apply {', '.join(each.application for each in chosen)}")
        _apply({"apiVersion": "v1", "kind": "List", "items": wanted})
        for each in chosen:
            _await_application(each, report)
    except (CommandError, KindError):
        if logs is not None:
            report(f"collect events and logs in {logs}")
            _collect(chosen, logs)
        raise


def fetch_address(remote: str) -> str:
    """Return the HTTPS address of a remote, without credentials, for Argo CD.

    Args:
        remote: URL of the remote in Git: HTTPS or SSH.

    Raises:
        KindError: If it is neither, such as a folder on this machine.
    """
    # Git's short form of SSH, user@host:path.
    parts = urlsplit(re.sub(r"^(?:[\w.-]+@)?([\w.-]+):(?!//)", r"ssh://\1/", remote))
    if parts.scheme not in {"https", "ssh"} or not parts.hostname:
        raise KindError(f"Argo CD cannot fetch from {remote!r}: set `origin` to HTTPS or SSH.")
    return f"https://{parts.hostname}{parts.path}"


def _wanted(
    repository: Path, chosen: Sequence[Environment], *, revised: bool
) -> list[dict[str, Any]]:
    """Return the project and the Applications of the chosen environments."""
    address = fetch_address(git(repository, "remote", "get-url", "origin"))
    names = {each.application for each in chosen}
    wanted = [
        manifest
        for manifest in applications(repository, url=address)
        if manifest["kind"] != "Application" or manifest["metadata"]["name"] in names
    ]
    if revised:
        revision = _revision(repository)
        for manifest in wanted:
            if manifest["kind"] == "Application":
                manifest["spec"]["source"]["targetRevision"] = revision
    return wanted


def _revision(repository: Path) -> str:
    """Return the checked-out branch, which must be pushed, or the commit if there is none."""
    commit = resolve(repository, "HEAD")
    branch = git(repository, "branch", "--show-current")
    if not branch:
        return commit
    if not git(repository, "ls-remote", "origin", f"refs/heads/{branch}").startswith(commit):
        raise KindError(
            f"origin/{branch} is not what is checked out, and Argo CD fetches from origin: push it."
        )
    return branch


def _require_kind() -> None:
    version = run("kind", "version", remedy=_REMEDY)
    if _is_older(version, _OLDEST):
        raise KindError(
            f"{version.split(' go')[0].strip()} does not enforce NetworkPolicies: install kind "
            f"v{_dotted(_OLDEST)} or newer."
        )


def _require_argo_cd() -> None:
    version = pinned("argo-cd").version
    if _is_older(version, OLDEST_ARGO_CD):
        raise KindError(
            f"Argo CD {version} cannot allow a Namespace by its name, and would allow every one: "
            f"pin v{_dotted(OLDEST_ARGO_CD)} or newer in tools/control-plane/argo-cd/go.mod."
        )


def _is_older(version: str, oldest: tuple[int, int]) -> bool:
    found = re.search(r"v(\d+)\.(\d+)", version)
    return not found or tuple(map(int, found.groups())) < oldest


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _make_cluster(repository: Path, report: Callable[[str], None]) -> None:
    if NAME in run("kind", "get", "clusters", remedy=_REMEDY).split():
        report(f"use the cluster {NAME}")
        return
    report(f"create the cluster {NAME}")
    run(
        "kind",
        "create",
        "cluster",
        f"--name={NAME}",
        f"--config={repository / 'docs' / 'kind' / 'cluster.yaml'}",
        "--wait=5m",
        remedy=_REMEDY,
        limit=_PROGRAM_SECONDS,
    )


def _install(repository: Path, report: Callable[[str], None]) -> None:
    version = pinned("argo-cd").version
    report(f"install Argo CD {version} and metrics-server")
    _apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    # Before the controller, which reads it when it starts.
    _apply(_PARAMETERS, manager="delivery")
    kubectl(
        CONTEXT,
        "apply",
        # Its largest CRD does not fit into the annotation of a client-side apply.
        "--server-side",
        f"--namespace={NAMESPACE}",
        f"--filename=https://raw.githubusercontent.com/argoproj/argo-cd/{version}/manifests/install.yaml",
    )
    kubectl(CONTEXT, "apply", f"--kustomize={repository / 'docs' / 'kind' / 'metrics-server'}")
    for namespace in (NAMESPACE, "kube-system"):
        _await_deployments(namespace)


def _install_prometheus(repository: Path, report: Callable[[str], None]) -> None:
    report("install Prometheus and its operator")
    folder = repository / "docs" / "kind"
    kubectl(CONTEXT, "apply", "--server-side", f"--kustomize={folder / 'prometheus-operator'}")
    kubectl(CONTEXT, "wait", "crd", "--all", "--for=condition=Established", "--timeout=1m")
    _await_deployments("default")
    kubectl(CONTEXT, "apply", "--server-side", f"--filename={folder / 'prometheus.yaml'}")


def _await_deployments(namespace: str) -> None:
    kubectl(
        CONTEXT,
        "wait",
        "deployment",
        "--all",
        f"--namespace={namespace}",
        "--for=condition=Available",
        "--timeout=10m",
        limit=_PROGRAM_SECONDS,
    )


def _await_application(environment: Environment, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _SECONDS
    before = ""
    while True:
        status = _get("application", environment.application, NAMESPACE).get("status", {})
        operation = status.get("operationState", {})
        states = (
            status.get("sync", {}).get("status", "Unknown"),
            status.get("health", {}).get("status", "Unknown"),
            operation.get("phase", "Waiting"),
        )
        now = f"{environment.application}: {', '.join(states)}"
        if now != before:
            report(now)
        before = now
        if states == ("Synced", "Healthy", "Succeeded"):
            return
        # Argo CD has used up its retries then.
        if states[2] in {"Failed", "Error"}:
            raise KindError(f"{now}: {operation.get('message', 'Argo CD does not say why')}")
        if time.monotonic() > deadline:
            raise KindError(f"{now}, after {_SECONDS // 60} minutes")
        time.sleep(_POLL_SECONDS)


def _collect(chosen: Sequence[Environment], logs: Path) -> None:
    """Collect events and logs, as far as the cluster exists."""
    ask = ("kubectl", f"--context={CONTEXT}")
    commands: dict[str, Sequence[str]] = {
        "events.txt": (*ask, "get", "events", "-A", "--sort-by=.metadata.creationTimestamp"),
        "pods.txt": (*ask, "get", "pods", "-A", "--output=wide"),
        "applications.yaml": (*ask, "get", "applications", "-A", "--output=yaml"),
        # Logs of the nodes and of all containers on them.
        "export.txt": ("kind", "export", "logs", f"--name={NAME}", str(logs / "nodes")),
    }
    for each in chosen:
        described = ("pods,persistentvolumeclaims", f"--namespace={each.namespace}")
        commands[f"{each.namespace}.txt"] = (*ask, "describe", *described)
    logs.mkdir(parents=True, exist_ok=True)
    for name, command in commands.items():
        try:
            text = run(*command, remedy=_REMEDY, limit=_PROGRAM_SECONDS)
        except CommandError as error:
            text = f"{error}\n"
        (logs / name).write_text(text, encoding="utf-8")


def _get(kind: str, name: str, namespace: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        kubectl(CONTEXT, "get", kind, name, f"--namespace={namespace}", "--output=json")
    )
    return answer


def _apply(manifest: Mapping[str, Any], *, manager: str = "kubectl") -> None:
    kubectl(
        CONTEXT,
        "apply",
        "--server-side",
        f"--field-manager={manager}",
        "--filename=-",
        given=json.dumps(manifest),
    )
