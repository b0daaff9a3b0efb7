"""Every pod meets the `restricted` Pod Security Standard, and our own rules beyond it."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import pytest

from pod_security import CONTAINERS, RULES, violations
from rendering import IMAGES, LIVE, Manifest, Manifests, containers, names

PROBES = {"startupProbe", "readinessProbe", "livenessProbe"}


@dataclass(frozen=True)
class Workload:
    """An object that makes pods.

    Attributes:
        name: Its kind and name.
        spec: Its spec.
    """

    name: str
    spec: Manifest

    @property
    def pod(self) -> Manifest:
        """The spec of its pods."""
        spec: Manifest = self.spec["template"]["spec"]
        return spec

    def volumes(self) -> list[str]:
        """Return the names of its pods' volumes, including those claimed for each pod."""
        claims = self.spec.get("volumeClaimTemplates", [])
        return [*(v["name"] for v in self.pod.get("volumes", [])), *names(claims)]


@pytest.fixture(params=LIVE, ids=attrgetter("environment.name"))
def system(request: pytest.FixtureRequest) -> Manifests:
    """Each live environment in turn."""
    found: Manifests = request.param
    return found


@pytest.fixture
def workloads(system: Manifests) -> list[Workload]:
    """Every workload of each environment in turn."""
    return [
        Workload(name=name, spec=system.get(*name.split("/"))["spec"])
        for name, _ in system.pod_templates()
    ]


def test_no_pod_is_left_out(system: Manifests, workloads: list[Workload]) -> None:
    """A workload of another shape, such as a CronJob, would go unchecked."""
    makes_pods = {
        f"{manifest['kind']}/{manifest['metadata']['name']}"
        for manifest in system
        if '"containers":' in json.dumps(manifest)
    }
    assert makes_pods == {workload.name for workload in workloads} != set()


def test_every_pod_is_restricted(workloads: list[Workload]) -> None:
    """The namespaces enforce it: a pod that breaks it is refused, and its workload never starts."""
    for workload in workloads:
        assert violations(workload.spec["template"]) == [], workload.name


def test_no_container_can_change_its_own_image(workloads: list[Workload]) -> None:
    """An intruder can leave nothing behind in the programs that run."""
    for workload in workloads:
        for container in containers(workload.pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, workload.name


def test_no_pod_holds_a_service_account_token(workloads: list[Workload]) -> None:
    """Nothing here talks to the API server, so nothing should be able to."""
    for workload in workloads:
        assert workload.pod["automountServiceAccountToken"] is False, workload.name


def test_no_pod_gets_service_links(workloads: list[Workload]) -> None:
    """One sets `REDIS_PORT` to `tcp://…`, and the applications expect a number there."""
    for workload in workloads:
        assert workload.pod["enableServiceLinks"] is False, workload.name


def test_every_container_states_its_requests_and_limits(workloads: list[Workload]) -> None:
    """The quota refuses pods that do not, and the scheduler places them blindly."""
    for workload in workloads:
        for container in containers(workload.pod):
            for bound in ("requests", "limits"):
                assert container["resources"][bound].keys() == {"cpu", "memory"}, workload.name


def test_every_container_runs_a_released_image(workloads: list[Workload]) -> None:
    """An image from anywhere else could be `latest`, and no release would ever move it."""
    released = {getattr(IMAGES, field.name).reference for field in fields(IMAGES)}
    for workload in workloads:
        for container in containers(workload.pod):
            assert container["image"] in released, workload.name


def test_a_present_image_is_not_pulled_again(workloads: list[Workload]) -> None:
    """A tag never changes its content, so a restart must not depend on the registry."""
    for workload in workloads:
        for container in containers(workload.pod):
            assert container["imagePullPolicy"] == "IfNotPresent", workload.name


def test_every_mount_has_a_volume(workloads: list[Workload]) -> None:
    """The API server refuses the pod, not the workload: nothing would start, nothing would fail."""
    for workload in workloads:
        for container in containers(workload.pod):
            mounted = {mount["name"] for mount in _mounts(container)}
            assert mounted <= set(workload.volumes()), workload.name


def test_every_volume_is_mounted(workloads: list[Workload]) -> None:
    """A volume without a mount is a mistake, or a secret given away for nothing."""
    for workload in workloads:
        mounted = {mount["name"] for c in containers(workload.pod) for mount in _mounts(c)}
        assert set(workload.volumes()) <= mounted, workload.name


def test_no_two_volumes_share_a_name(workloads: list[Workload]) -> None:
    """A claim template of the same name would silently replace the pod's own volume."""
    for workload in workloads:
        assert len(workload.volumes()) == len(set(workload.volumes())), workload.name


def test_no_two_mounts_share_a_path(workloads: list[Workload]) -> None:
    """The API server refuses the pod."""
    for workload in workloads:
        for container in containers(workload.pod):
            paths = [mount["mountPath"].rstrip("/") for mount in _mounts(container)]
            assert len(paths) == len(set(paths)), workload.name


def _mounts(container: Manifest) -> list[Manifest]:
    mounts: list[Manifest] = container.get("volumeMounts", [])
    return mounts


def test_every_config_map_exists(system: Manifests, workloads: list[Workload]) -> None:
    """A pod that names a missing ConfigMap waits for it for ever."""
    for workload in workloads:
        named = {reference["name"] for reference in _references(workload.pod, "configMap")}
        assert named <= names(system.kind("ConfigMap")), workload.name


def test_every_claim_exists(system: Manifests, workloads: list[Workload]) -> None:
    """A pod that names a missing claim is never scheduled."""
    for workload in workloads:
        named = {r["claimName"] for r in _references(workload.pod, "persistentVolumeClaim")}
        assert named <= names(system.kind("PersistentVolumeClaim")), workload.name


def _references(node: object, kind: str) -> Iterator[Manifest]:
    """Find all references to objects of a kind: volumes, `configMapRef`, `configMapKeyRef`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key.startswith(kind):
                yield value
            else:
                yield from _references(value, kind)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item, kind)


def test_every_long_running_container_is_probed(workloads: list[Workload]) -> None:
    """Without probes it counts as ready before it serves, and a hung one hangs for ever."""
    for workload in workloads:
        expected = set() if workload.name.startswith("Job/") else PROBES
        for container in workload.pod["containers"]:
            assert PROBES & container.keys() == expected, workload.name


RESTRICTED: Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "restricted"},
    "spec": {
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{
            field: [
                {
                    "name": f"one-of-{field}",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ]
            for field in CONTAINERS
        },
    },
}
"""A pod that sets only what the standard requires, with one container of each sort."""

BROKEN_BY_POD = [
    ("HostProcess", "spec.securityContext.windowsOptions.hostProcess", True),
    ("Host Namespaces", "spec.hostNetwork", True),
    ("Host Namespaces", "spec.hostPID", True),
    ("Host Namespaces", "spec.hostIPC", True),
    ("Volume Types", "spec.volumes.*", {"name": "host", "hostPath": {"path": "/"}}),
    ("AppArmor", "spec.securityContext.appArmorProfile.type", "Unconfined"),
    (
        "AppArmor",
        "metadata.annotations",
        {"container.apparmor.security.beta.kubernetes.io/main": "unconfined"},
    ),
    ("SELinux", "spec.securityContext.seLinuxOptions.type", "spc_t"),
    ("SELinux", "spec.securityContext.seLinuxOptions.user", "system_u"),
    ("SELinux", "spec.securityContext.seLinuxOptions.role", "system_r"),
    ("Sysctls", "spec.securityContext.sysctls.*.name", "kernel.msgmax"),
    ("Running as Non-root", "spec.securityContext.runAsNonRoot", False),
    ("Running as Non-root", "spec.securityContext.runAsNonRoot", None),
    ("Running as Non-root user", "spec.securityContext.runAsUser", 0),
    ("Seccomp", "spec.securityContext.seccompProfile.type", "Unconfined"),
    ("Seccomp", "spec.securityContext.seccompProfile", None),
]
BROKEN_BY_CONTAINER = [
    ("HostProcess", "securityContext.windowsOptions.hostProcess", True),
    ("Privileged Containers", "securityContext.privileged", True),
    ("Capabilities", "securityContext.capabilities.drop", None),
    ("Capabilities", "securityContext.capabilities.drop", ["NET_RAW"]),
    ("Capabilities", "securityContext.capabilities.add.*", "NET_ADMIN"),
    ("Host Ports", "ports.*.hostPort", 80),
    *(
        ("Host Probes / Lifecycle Hooks", f"{handler}.{action}.host", "10.0.0.1")
        for handler in (
            "startupProbe",
            "readinessProbe",
            "livenessProbe",
            "lifecycle.postStart",
            "lifecycle.preStop",
        )
        for action in ("httpGet", "tcpSocket")
    ),
    ("AppArmor", "securityContext.appArmorProfile.type", "Unconfined"),
    ("SELinux", "securityContext.seLinuxOptions.type", "spc_t"),
    ("SELinux", "securityContext.seLinuxOptions.user", "system_u"),
    ("SELinux", "securityContext.seLinuxOptions.role", "system_r"),
    ("/proc Mount Type", "securityContext.procMount", "Unmasked"),
    ("Privilege Escalation", "securityContext.allowPrivilegeEscalation", True),
    ("Privilege Escalation", "securityContext.allowPrivilegeEscalation", None),
    ("Running as Non-root", "securityContext.runAsNonRoot", False),
    ("Running as Non-root user", "securityContext.runAsUser", 0),
    ("Seccomp", "securityContext.seccompProfile.type", "Unconfined"),
]
ALLOWED_IN_POD = [
    ("spec.securityContext.windowsOptions.hostProcess", False),
    ("spec.hostNetwork", False),
    ("spec.volumes.*", {"name": "tmp", "emptyDir": {}}),
    ("spec.securityContext.appArmorProfile.type", "Localhost"),
    (
        "metadata.annotations",
        {"container.apparmor.security.beta.kubernetes.io/main": "localhost/ours"},
    ),
    ("spec.securityContext.seLinuxOptions.type", "container_t"),
    ("spec.securityContext.seLinuxOptions.user", ""),
    ("spec.securityContext.sysctls.*.name", "net.ipv4.tcp_syncookies"),
    ("spec.securityContext.runAsUser", 1),
    ("spec.securityContext.seccompProfile.type", "Localhost"),
]
ALLOWED_IN_CONTAINER = [
    ("securityContext.privileged", False),
    ("securityContext.capabilities.drop", ["NET_RAW", "ALL"]),
    ("securityContext.capabilities.add.*", "NET_BIND_SERVICE"),
    ("ports.*.hostPort", 0),
    ("readinessProbe.httpGet.host", ""),
    ("securityContext.procMount", "Default"),
]


def _changed(node: Any, path: str, value: object) -> Any:  # noqa: ANN401 - any part of a manifest
    """Return a copy with a field set, in a list of one item for `*`; None removes the field."""
    if not path:
        return value
    step, _, rest = path.partition(".")
    if step == "*":
        return [_changed(None, rest, value)]
    node = dict(node or {})
    return {**node, step: _changed(node.get(step), rest, value)}


def _changed_container(field: str, path: str, value: object) -> Manifest:
    pod = deepcopy(RESTRICTED)
    pod["spec"][field] = [_changed(container, path, value) for container in pod["spec"][field]]
    return pod


def _controls(pod: Manifest) -> set[str]:
    return {violation.control for violation in violations(pod)}


def test_the_least_that_the_standard_requires_is_enough() -> None:
    """Otherwise the tests below would find violations that are not theirs."""
    assert violations(RESTRICTED) == []


@pytest.mark.parametrize(("control", "path", "value"), BROKEN_BY_POD)
def test_a_pod_that_breaks_a_rule_is_caught(control: str, path: str, value: object) -> None:
    """A rule that misses this would let it through in our own pods."""
    assert _controls(_changed(RESTRICTED, path, value)) == {control}


@pytest.mark.parametrize("field", CONTAINERS)
@pytest.mark.parametrize(("control", "path", "value"), BROKEN_BY_CONTAINER)
def test_a_container_that_breaks_a_rule_is_caught(
    control: str, path: str, value: object, field: str
) -> None:
    """The rules bind init and ephemeral containers no less than the others."""
    pod = _changed_container(field, path, value)
    assert _controls(pod) == {control}
    assert {violation.where for violation in violations(pod)} == {f"one-of-{field}"}


@pytest.mark.parametrize(("path", "value"), ALLOWED_IN_POD)
def test_a_pod_may_do_what_the_standard_allows(path: str, value: object) -> None:
    """A rule that refuses everything would also pass the tests above."""
    assert violations(_changed(RESTRICTED, path, value)) == []


@pytest.mark.parametrize(("path", "value"), ALLOWED_IN_CONTAINER)
def test_a_container_may_do_what_the_standard_allows(path: str, value: object) -> None:
    """A rule that refuses everything would also pass the tests above."""
    assert violations(_changed_container("containers", path, value)) == []


@pytest.mark.parametrize(
    ("path", "value"), [("runAsNonRoot", True), ("seccompProfile", {"type": "RuntimeDefault"})]
)
def test_containers_can_state_what_their_pod_leaves_out(path: str, value: object) -> None:
    """Either the pod or every container must set the value; both are not required."""
    pod = _changed(RESTRICTED, f"spec.securityContext.{path}", None)
    for field in CONTAINERS:
        assert violations(pod) != []
        pod["spec"][field] = [
            _changed(container, f"securityContext.{path}", value)
            for container in pod["spec"][field]
        ]
    assert violations(pod) == []


def test_every_field_of_every_rule_has_a_violation_above() -> None:
    """A rule that no example breaks could be a rule that never fires."""
    assert {(rule.control, path) for rule in RULES for path in rule.pod} <= {
        (control, path) for control, path, _ in BROKEN_BY_POD
    }
    assert {(rule.control, path) for rule in RULES for path in rule.container} <= {
        (control, path) for control, path, _ in BROKEN_BY_CONTAINER
    }
