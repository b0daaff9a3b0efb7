"""The files that pods run get every environment variable that they read."""

import re
from collections.abc import Iterator

from rendering import LIVE, Manifest, Manifests, containers, large, small

SYSTEMS = [small, large, *LIVE]
# Neither variables that bash sets nor those with a default in the script: `${NAME:-default}`.
_SHELL = re.compile(r"\$\{?(?!BASH_|SECONDS\b)([A-Z][A-Z_]+)\b(?!:-)")
_ASSIGNED = re.compile(r"\b([A-Z][A-Z_]+)=")
_PYTHON = re.compile(r"os\.environ\[\"([A-Z_]+)\"\]")


def _read(name: str, text: str) -> set[str]:
    """Return the variables that a file takes from its environment."""
    if name.endswith(".sh"):
        return set(_SHELL.findall(text)) - set(_ASSIGNED.findall(text))
    return set(_PYTHON.findall(text))


def _commands(container: Manifest) -> str:
    """Return everything that a container runs, in one text."""
    probes = [container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")]
    hooks = container.get("lifecycle", {}).values()
    return str([container.get("command"), *probes, *hooks])


def _runs(system: Manifests) -> Iterator[tuple[str, str, Manifest]]:
    """Find each file that a container runs: ConfigMap and name, its text, and the container."""
    for _, template in system.pod_templates():
        pod = template["spec"]
        config_maps = {
            volume["name"]: volume["configMap"]["name"]
            for volume in pod["volumes"]
            if "configMap" in volume
        }
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                config_map = config_maps.get(mount["name"])
                files = system.get("ConfigMap", config_map)["data"] if config_map else {}
                for name, text in files.items():
                    if f"{mount['mountPath']}/{name}" in _commands(container):
                        yield f"{config_map}/{name}", text, container


def test_every_file_gets_its_variables() -> None:
    """A script without one of them fails in the pod, perhaps in a hook that nobody watches."""
    for system in SYSTEMS:
        for name, text, container in _runs(system):
            given = {variable["name"] for variable in container.get("env", [])}
            assert _read(name, text) <= given, name


def test_every_script_is_run() -> None:
    """A script that no container runs is dead, or somebody forgot to run it."""
    scripts = {
        f"{config_map['metadata']['name']}/{name}"
        for system in SYSTEMS
        for config_map in system.kind("ConfigMap")
        for name in config_map["data"]
        if name.endswith((".sh", ".py"))
    }
    assert scripts == {
        name for system in SYSTEMS for name, _, _ in _runs(system) if name.endswith((".sh", ".py"))
    }


def test_the_variables_of_a_script_are_found() -> None:
    """The tests above compare only variables that are found this way."""
    assert _read("a.sh", 'X_Y=1; echo "$X_Y ${A_B} $SECONDS ${D:-d}" $CC') == {"A_B", "CC"}
    assert _read("a.py", 'os.environ["A_B"]') == {"A_B"}
