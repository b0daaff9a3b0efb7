"""A kind cluster in which Argo CD applies what is committed: for a laptop, and for e2e.yml."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from delivery.clusters.argocd import NAMESPACE, applications
from delivery.control_plane.build import pinned
from delivery.errors import DeliveryError
from delivery.git import git, resolve
from delivery.manifests.applications import Environment, environments, select
from delivery.manifests.tree import DIST
from delivery.network.cluster import load

NAME = "fraud-detection"
CONTEXT = f"kind-{NAME}"
"""How kind calls the cluster in the kubeconfig."""

_OLDEST = (0, 24)
"""The first version whose network enforces NetworkPolicies (kubernetes-sigs/kind#842)."""
_SECONDS = 20 * 60
"""Within which everything must run; most of it goes into pulling images."""
_POLL_SECONDS = 5
_LAST_LINES = 15


class KindError(DeliveryError):
    """The cluster cannot be made, or does not become what it should; the message says why."""


def up(
    repository: Path,
    *,
    environment: str | None = None,
    logs: Path | None = None,
    report: Callable[[str], None],
) -> None:
    """Bring the cluster up, or up to date, and wait until all that is applied works.

    Args:
        repository: Root of the working tree; Argo CD fetches from its remote `origin`.
        environment: Apply this folder of `dist/` alone, as the checked-out branch has it on the
            remote, or the checked-out commit where there is no branch. Default: all, each from its
            own branch.
        logs: Folder for events and logs if that fails. Default: none are collected.
        report: Is told what happens, a line each.

    Raises:
        KindError: If it fails, or an Application takes more than 20 minutes.
        GitError: If there is no remote.
    """
    chosen = select(environments(repository), environment)
    wanted = _wanted(repository, chosen, revised=environment is not None)
    _require_kind()
    with _collected(chosen, logs, report):
        _make_cluster(repository, report)
        _install(repository, report)
        report(f"apply {', '.join(each.application for each in chosen)}")
        _apply({"apiVersion": "v1", "kind": "List", "items": wanted})
        for each in chosen:
            _await_application(each, report)
            _require_hooks(repository, each)


def fetch_address(remote: str) -> str:
    """The address by which Argo CD fetches a remote, without credentials.

    Args:
        remote: As Git knows it: HTTPS or SSH.

    Raises:
        KindError: If it is neither, such as a folder of this machine.
    """
    # Git's short form of SSH, user@host:path.
    parts = urlsplit(re.sub(r"^(?:[\w.-]+@)?([\w.-]+):(?!//)", r"ssh://\1/", remote))
    if parts.scheme not in {"https", "ssh"} or not parts.hostname:
        raise KindError(f"Argo CD cannot fetch from {remote!r}: `origin` must be HTTPS or SSH.")
    return f"https://{parts.hostname}{parts.path}"


def _wanted(
    repository: Path, chosen: Sequence[Environment], *, revised: bool
) -> list[dict[str, Any]]:
    """The project, and the Applications of the chosen environments."""
    address = fetch_address(git(repository, "remote", "get-url", "origin"))
    names = {each.application for each in chosen}
    wanted = [
        manifest
        for manifest in applications(repository / DIST / "argocd", repository=address)
        if manifest["kind"] != "Application" or manifest["metadata"]["name"] in names
    ]
    if revised:
        revision = _revision(repository)
        for manifest in wanted:
            if manifest["kind"] == "Application":
                manifest["spec"]["source"]["targetRevision"] = revision
    return wanted


def _revision(repository: Path) -> str:
    """The branch that is checked out, if the remote has the same; the commit if there is none."""
    commit = resolve(repository, "HEAD")
    branch = git(repository, "branch", "--show-current")
    if not branch:
        return commit
    if not git(repository, "ls-remote", "origin", f"refs/heads/{branch}").startswith(commit):
        raise KindError(
            f"Argo CD would not see what is checked out: origin has another {branch}. Push it."
        )
    return branch


def _require_kind() -> None:
    said = _run("kind", "version")
    found = re.match(r"kind v(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise KindError(
            f"This is {said.split(' go')[0].strip()}; NetworkPolicies need kind v{oldest} or newer."
        )


def _make_cluster(repository: Path, report: Callable[[str], None]) -> None:
    if NAME in _run("kind", "get", "clusters").split():
        report(f"use the cluster {NAME}")
        return
    report(f"make the cluster {NAME}")
    config = repository / "docs" / "kind" / "cluster.yaml"
    _run("kind", "create", "cluster", f"--name={NAME}", f"--config={config}", "--wait=5m")


def _install(repository: Path, report: Callable[[str], None]) -> None:
    version = pinned("argo-cd").version
    report(f"install Argo CD {version} and metrics-server")
    _apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    _kubectl(
        "apply",
        # The one way in which its largest definition fits.
        "--server-side",
        f"--namespace={NAMESPACE}",
        f"--filename=https://raw.githubusercontent.com/argoproj/argo-cd/{version}/manifests/install.yaml",
    )
    _kubectl("apply", f"--kustomize={repository / 'docs' / 'kind' / 'metrics-server'}")
    for namespace in (NAMESPACE, "kube-system"):
        _kubectl(
            "wait",
            "deployment",
            "--all",
            f"--namespace={namespace}",
            "--for=condition=Available",
            "--timeout=10m",
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
        # Argo CD has then tried as often as it is told to.
        if states[2] in {"Failed", "Error"}:
            raise KindError(f"{now}: {operation.get('message', 'Argo CD does not say why')}")
        if time.monotonic() > deadline:
            raise KindError(f"{now}, after {_SECONDS // 60} minutes")
        time.sleep(_POLL_SECONDS)


def _require_hooks(repository: Path, environment: Environment) -> None:
    """Argo CD may say Synced, Healthy and Succeeded of a sync that left the hooks out."""
    for manifest in load(repository)[environment.name]:
        metadata = manifest["metadata"]
        hook = metadata.get("annotations", {}).get("argocd.argoproj.io/hook")
        if manifest["kind"] == "Job" and hook == "PostSync":
            job = _get("job", metadata["name"], environment.namespace)
            if not job.get("status", {}).get("succeeded"):
                raise KindError(f"The Job {metadata['name']} of {environment.name} did not succeed")


@contextmanager
def _collected(
    chosen: Sequence[Environment], logs: Path | None, report: Callable[[str], None]
) -> Iterator[None]:
    """Collect events and logs if it fails, however much of the cluster there is."""
    try:
        yield
    except KindError:
        if logs is not None:
            report(f"collect events and logs in {logs}")
            _collect(chosen, logs)
        raise


def _collect(chosen: Sequence[Environment], logs: Path) -> None:
    kubectl = ("kubectl", f"--context={CONTEXT}")
    commands: dict[str, Sequence[str]] = {
        "events.txt": (*kubectl, "get", "events", "-A", "--sort-by=.metadata.creationTimestamp"),
        "pods.txt": (*kubectl, "get", "pods", "-A", "--output=wide"),
        "applications.yaml": (*kubectl, "get", "applications", "-A", "--output=yaml"),
        # The logs of the nodes and of all containers on them.
        "export.txt": ("kind", "export", "logs", f"--name={NAME}", str(logs / "nodes")),
    }
    for each in chosen:
        commands[f"{each.namespace}.txt"] = (
            *kubectl,
            "describe",
            "pods,jobs,persistentvolumeclaims",
            f"--namespace={each.namespace}",
        )
    logs.mkdir(parents=True, exist_ok=True)
    for name, command in commands.items():
        with (logs / name).open("wb") as output:
            subprocess.run(  # noqa: S603 - kind and kubectl
                command, stdout=output, stderr=subprocess.STDOUT, check=False
            )


def _get(kind: str, name: str, namespace: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        _kubectl("get", kind, name, f"--namespace={namespace}", "--output=json")
    )
    return answer


def _apply(manifest: Mapping[str, Any]) -> None:
    _kubectl("apply", "--server-side", "--filename=-", given=json.dumps(manifest))


def _kubectl(*arguments: str, given: str = "") -> str:
    # Never the cluster that somebody's kubeconfig happens to name.
    return _run("kubectl", f"--context={CONTEXT}", *arguments, given=given)


def _run(program: str, *arguments: str, given: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - kind and kubectl
            [program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise KindError(
            f"There is no {program} on this machine: install Docker, kind and kubectl."
        ) from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise KindError(f"`{program} {' '.join(arguments)}` failed:\n{said}")
    return done.stdout
