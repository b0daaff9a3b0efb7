"""The `restricted` Pod Security Standard as a table, with the `baseline` rules that it builds on.

It holds for Linux pods under Kubernetes 1.27 and all later versions at once: a value is allowed
here if all versions allow it, and a field is checked if any version checks it. So the types and
names that later versions added are not allowed, and `hostUsers: false` does not relax anything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rendering import Manifest

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
"""The fields of a pod spec that hold containers; every rule for a container covers all of them."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A requirement of one control of the standard.

    Paths are dotted, with `*` for each item of a list. A field that is absent or null is not set.

    Attributes:
        control: The control's name in the standard.
        allows: Whether the control allows the value of a field that is set.
        pod: Paths in a pod or in the pod template of a workload.
        container: Paths in each container.
        required: Whether each container needs a value, its own or that of the pod.
    """

    control: str
    allows: Callable[[Any], bool]
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    required: bool = False


class Violation(NamedTuple):
    """A place where a pod breaks the standard.

    Attributes:
        control: The control's name in the standard.
        where: Name of the container, or `pod`.
        value: The forbidden value; None if a required value is missing.
    """

    control: str
    where: str
    value: Any


def _only(values: set[object]) -> Callable[[Any], bool]:
    return values.__contains__


_VOLUME_FIELDS = {
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def _is_of_allowed_type(volume: Manifest) -> bool:
    return volume.keys() <= _VOLUME_FIELDS


def _keeps_app_armor(annotations: dict[str, str]) -> bool:
    return all(
        profile in {"", "runtime/default"} or profile.startswith("localhost/")
        for name, profile in annotations.items()
        if name.startswith("container.apparmor.security.beta.kubernetes.io/")
    )


def _drops_all(capabilities: list[str]) -> bool:
    return "ALL" in capabilities


def _is_not_root(uid: int) -> bool:
    return uid != 0


RULES = (
    Rule(
        control="HostProcess",
        allows=_only({False}),
        pod=("spec.securityContext.windowsOptions.hostProcess",),
        container=("securityContext.windowsOptions.hostProcess",),
    ),
    Rule(
        control="Host Namespaces",
        allows=_only({False}),
        pod=("spec.hostNetwork", "spec.hostPID", "spec.hostIPC"),
    ),
    Rule(
        control="Privileged Containers",
        allows=_only({False}),
        container=("securityContext.privileged",),
    ),
    Rule(
        control="Capabilities",
        allows=_drops_all,
        container=("securityContext.capabilities.drop",),
        required=True,
    ),
    Rule(
        control="Capabilities",
        allows=_only({"NET_BIND_SERVICE"}),
        container=("securityContext.capabilities.add.*",),
    ),
    # HostPath volumes have a control of their own; here they are one of the refused types.
    Rule(control="Volume Types", allows=_is_of_allowed_type, pod=("spec.volumes.*",)),
    Rule(control="Host Ports", allows=_only({0}), container=("ports.*.hostPort",)),
    Rule(
        control="Host Probes / Lifecycle Hooks",
        allows=_only({""}),
        container=tuple(
            f"{handler}.{action}.host"
            for handler in (
                "livenessProbe",
                "readinessProbe",
                "startupProbe",
                "lifecycle.postStart",
                "lifecycle.preStop",
            )
            for action in ("httpGet", "tcpSocket")
        ),
    ),
    Rule(
        control="AppArmor",
        allows=_only({"RuntimeDefault", "Localhost"}),
        pod=("spec.securityContext.appArmorProfile.type",),
        container=("securityContext.appArmorProfile.type",),
    ),
    Rule(control="AppArmor", allows=_keeps_app_armor, pod=("metadata.annotations",)),
    Rule(
        control="SELinux",
        allows=_only({"", "container_t", "container_init_t", "container_kvm_t"}),
        pod=("spec.securityContext.seLinuxOptions.type",),
        container=("securityContext.seLinuxOptions.type",),
    ),
    Rule(
        control="SELinux",
        allows=_only({""}),
        pod=(
            "spec.securityContext.seLinuxOptions.user",
            "spec.securityContext.seLinuxOptions.role",
        ),
        container=(
            "securityContext.seLinuxOptions.user",
            "securityContext.seLinuxOptions.role",
        ),
    ),
    Rule(
        control="/proc Mount Type",
        allows=_only({"Default"}),
        container=("securityContext.procMount",),
    ),
    Rule(
        control="Sysctls",
        allows=_only(
            {
                "kernel.shm_rmid_forced",
                "net.ipv4.ip_local_port_range",
                "net.ipv4.ip_local_reserved_ports",
                "net.ipv4.ip_unprivileged_port_start",
                "net.ipv4.ping_group_range",
                "net.ipv4.tcp_syncookies",
            }
        ),
        pod=("spec.securityContext.sysctls.*.name",),
    ),
    Rule(
        control="Privilege Escalation",
        allows=_only({False}),
        container=("securityContext.allowPrivilegeEscalation",),
        required=True,
    ),
    Rule(
        control="Running as Non-root",
        allows=_only({True}),
        pod=("spec.securityContext.runAsNonRoot",),
        container=("securityContext.runAsNonRoot",),
        required=True,
    ),
    Rule(
        control="Running as Non-root user",
        allows=_is_not_root,
        pod=("spec.securityContext.runAsUser",),
        container=("securityContext.runAsUser",),
    ),
    Rule(
        control="Seccomp",
        allows=_only({"RuntimeDefault", "Localhost"}),
        pod=("spec.securityContext.seccompProfile.type",),
        container=("securityContext.seccompProfile.type",),
        required=True,
    ),
)


def violations(pod: Manifest) -> list[Violation]:
    """Return all violations of the standard in a pod or in the pod template of a workload."""
    return [violation for rule in RULES for violation in _broken(rule, pod)]


def _broken(rule: Rule, pod: Manifest) -> Iterator[Violation]:
    of_pod = _values(pod, rule.pod)
    found = [("pod", value) for value in of_pod]
    for field in CONTAINERS:
        for container in pod["spec"].get(field) or []:
            own = _values(container, rule.container)
            found += [(container["name"], value) for value in own]
            if rule.required and not own and not of_pod:
                yield Violation(rule.control, container["name"], None)
    for where, value in found:
        if not rule.allows(value):
            yield Violation(rule.control, where, value)


def _values(node: Manifest, paths: tuple[str, ...]) -> list[Any]:
    return [value for path in paths for value in _at(node, path.split("."))]


def _at(node: Any, steps: list[str]) -> Iterator[Any]:  # noqa: ANN401 - any part of a manifest
    if node is None:
        return
    if not steps:
        yield node
    elif steps[0] == "*":
        for item in node:
            yield from _at(item, steps[1:])
    else:
        yield from _at(node.get(steps[0]), steps[1:])
