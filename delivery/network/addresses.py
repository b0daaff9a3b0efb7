"""The addresses in a container's configuration: variables, arguments, hooks, probes and files."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import yaml

from delivery.manifests.manifest import Manifest
from delivery.network.workload import OWN_ADDRESS, Workload
from delivery.products.catalog import PRODUCTS

_HOST = r"\[[0-9A-Fa-f:.]+\]|(?:\$\(\w+\)|\w)(?:\$\(\w+\)|[\w.-])*"
_ADDRESS = re.compile(
    # Not in the middle of a word, a path, a substitution or a time of day.
    r"(?<![\w.$/@:{}()\]-])"
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^\s/@'\",]*)@)?)?"
    rf"(?P<host>{_HOST})"
    r"(?::(?P<port>\d{1,5})(?![\w:]))?"
)
_BARE_HOST = re.compile(rf"(?:{_HOST})\.?")
# Words at the end of a key whose value is a host: to connect to, or to listen on.
_HOST_KEY = re.compile(
    r"(?P<prefix>.*?)"
    r"(?:hostname|host|address|addr|servers?|brokers?|endpoint|seeds|bind)",
    re.IGNORECASE,
)
_ADVERTISED = re.compile(r"advertise", re.IGNORECASE)
_SECRET_KEY = re.compile(r".*(?:password|passwd|secret|token|api_?key|credentials?)")
_SECRETS = frozenset().union(*(product.secrets for product in PRODUCTS))
_WILDCARDS = re.compile(r"(?:[\s,]*(?:0\.0\.0\.0|-?::\*?|\[::\]|\*))+")
_BASH_VARIABLES = {"SECONDS"}
_REFERENCE = re.compile(r"\$\((\w+)\)")

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "redis": 6379, "rediss": 6379}
_ENCRYPTED = {"https", "wss", "rediss", "amqps", "ssl", "tls", "sasl_ssl"}

Files: TypeAlias = Mapping[str, Mapping[str, str]]
"""Content of ConfigMaps, by the name of the ConfigMap and the key in it."""


class Setting(NamedTuple):
    """One setting of a container."""

    source: str
    """Place where it is set, as in `env REDIS_HOST` or `file /etc/redis/redis.conf`."""
    key: str
    """Its name there; empty if it has none."""
    value: str


@dataclass(frozen=True, kw_only=True)
class Address:
    """A host and port in the configuration of a container.

    Attributes:
        text: The address as it is written; a password is left out.
        hosts: Names or IP addresses; several if each pod fills in its own name.
        port: The port; None if it is not configured.
        advertised: Whether it is meant for the clients of this container.
        listening: Whether the container listens there, on all addresses of the pod.
        exposed: Whether a password is readable here, or travels unencrypted.
    """

    source: str
    key: str
    text: str
    hosts: tuple[str, ...]
    port: int | None
    advertised: bool = False
    listening: bool = False
    exposed: bool = False


class _Found(NamedTuple):
    """An address in a text, whose host is not expanded; a readable password has no host."""

    text: str
    host: str
    port: int | None
    exposed: bool = False


class Container:
    """A container of a workload, its settings, and the addresses in them."""

    def __init__(self, workload: Workload, manifest: Manifest, files: Files) -> None:
        self.workload = workload
        self.manifest = manifest
        self.name: str = manifest["name"]
        self._variables: dict[str, tuple[str, ...]] = {}
        self._files = list(_mounted(workload.pod_spec, manifest, files))
        self.settings: list[Setting] = [
            *self._environment(files),
            *_arguments("argument", manifest),
            *_hooks(manifest),
            *(setting for path, text in self._files for setting in _settings(path, text)),
        ]
        self._by_key = {setting.key.lower(): setting.value for setting in self.settings}

    def get(self, key: str) -> str | None:
        """Return the value of a setting, in any capitalization; the last of several wins."""
        return self._by_key.get(key.lower())

    def expand(self, text: str) -> tuple[str, ...]:
        """Return a text with each `$(VARIABLE)` replaced by its values; unset ones stay."""
        names = sorted(set(_REFERENCE.findall(text)) & self._variables.keys())
        expanded = []
        for values in product(*(self._variables[name] for name in names)):
            known = dict(zip(names, values, strict=True))
            expanded.append(_REFERENCE.sub(lambda m: known.get(m[1], m[0]), text))  # noqa: B023 - used at once
        return tuple(expanded)

    @cached_property
    def unset(self) -> list[Setting]:
        """Variables that the scripts it runs need, but nothing sets."""
        words = {setting.value for setting in self.settings}
        return [
            Setting(path, name, "")
            for path, text in self._files
            if path in words
            for name in sorted(_reads(path, text) - self._variables.keys())
        ]

    @cached_property
    def addresses(self) -> list[Address]:
        """Addresses in the settings, and readable passwords."""
        return [
            Address(
                source=setting.source,
                key=setting.key,
                text=found.text,
                hosts=self.expand(found.host) if found.host else (),
                port=found.port,
                advertised=bool(_ADVERTISED.search(setting.key)),
                listening=bool(_WILDCARDS.fullmatch(found.host)),
                exposed=found.exposed,
            )
            for setting in self.settings
            for found in self._find(setting)
        ]

    def place(self, source: str) -> str:
        """Return how a finding names a place in its configuration."""
        return f"{self.name}: {source}"

    def _environment(self, files: Files) -> Iterator[Setting]:
        """Read the variables in their order: each may refer to those before it."""
        fields = self.workload.fields
        for origin in self.manifest.get("envFrom", []):
            for key, value in files.get(origin.get("configMapRef", {}).get("name"), {}).items():
                yield self._variable(origin.get("prefix", "") + key, value)
        for variable in self.manifest.get("env", []):
            name, origin = variable["name"], variable.get("valueFrom", {})
            if "configMapKeyRef" in origin:
                reference = origin["configMapKeyRef"]
                content = files.get(reference["name"], {})
                yield self._variable(name, content.get(reference["key"], ""))
            elif origin:
                # A reference to a variable whose value is unknown here stays as it is.
                field = origin.get("fieldRef", {}).get("fieldPath")
                self._variables[name] = fields.get(field, (f"$({name})",))
            else:
                yield self._variable(name, variable.get("value", ""))

    def _variable(self, name: str, value: str) -> Setting:
        self._variables[name] = self.expand(value)
        return Setting(f"env {name}", name, value)

    def _find(self, setting: Setting) -> Iterator[_Found]:
        found = list(_find(setting.value)) or list(self._from_pair(setting))
        yield from found
        key = setting.key.lower()
        is_secret = key in _SECRETS or _SECRET_KEY.fullmatch(key)
        if setting.value and is_secret and not any(each.exposed for each in found):
            yield _Found("…", "", None, exposed=True)

    def _from_pair(self, setting: Setting) -> Iterator[_Found]:
        """Return the address whose host is in this setting and whose port is in another one."""
        key, host = _HOST_KEY.fullmatch(setting.key), setting.value
        if key is None or not (_WILDCARDS.fullmatch(host) or _BARE_HOST.fullmatch(host)):
            return
        port = self.get(key["prefix"] + "port")
        if port and port.isdecimal():
            yield _Found(f"{host}:{port}", host, int(port))
        # A bind address, or the pod's own address, needs no port.
        elif "bind" not in setting.key and self.expand(host) != (OWN_ADDRESS,):
            yield _Found(host, host, None)


@lru_cache(maxsize=4096)
def _find(text: str) -> Sequence[_Found]:
    """Return each `host:port` or URL, which its form distinguishes from other text."""
    found = []
    for match in _ADDRESS.finditer(text):
        scheme, user = (match["scheme"] or "").lower(), match["user"] or ""
        port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
        # 3:1 is a ratio.
        if port is None or match["host"].isdecimal():
            continue
        shown = match[0].replace(f"{user}@", "…@") if user else match[0]
        exposed = ":" in user and scheme not in _ENCRYPTED
        found.append(_Found(shown, match["host"], port, exposed))
    return tuple(found)


def _arguments(source: str, command: Manifest) -> Iterator[Setting]:
    """Read `--key=value`, `-Dkey=value`, `--key value`, and words without a name."""
    words = [*command.get("command", []), *command.get("args", [])]
    for before, word in zip(["", *words], words, strict=False):
        option = re.fullmatch(r"(-D|-{1,2})(?P<key>[A-Za-z][\w.-]*)=(?P<value>.*)", word, re.DOTALL)
        if option:
            label = word[: option.start("value") - 1]
            yield Setting(f"{source} {label}", option["key"], option["value"])
        else:
            name = before if before.startswith("-") and "=" not in before else ""
            yield Setting(f"{source} {name}".rstrip(), name.lstrip("-"), word)


def _hooks(container: Manifest) -> Iterator[Setting]:
    """Read the commands of hooks and probes."""
    probes = {name: container.get(name, {}) for name in PROBES}
    for name, handler in {**container.get("lifecycle", {}), **probes}.items():
        yield from _arguments(name, handler.get("exec", {}))


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
"""Fields of a container that hold its probes."""


def _mounted(pod: Manifest, container: Manifest, files: Files) -> Iterator[tuple[str, str]]:
    """Return path and content of each ConfigMap file that a container mounts."""
    maps = {
        volume["name"]: volume["configMap"]
        for volume in pod.get("volumes", [])
        if "configMap" in volume
    }
    for mount in container.get("volumeMounts", []):
        volume = maps.get(mount["name"])
        if volume is not None:
            content = files.get(volume["name"], {})
            for item in volume.get("items") or [{"key": key, "path": key} for key in content]:
                yield f"{mount['mountPath']}/{item['path']}", content.get(item["key"], "")


@lru_cache(maxsize=4096)
def _reads(path: str, script: str) -> frozenset[str]:
    """Return the variables that a script requires."""
    if path.endswith(".py"):
        return frozenset(re.findall(r"""environ\[["'](\w+)["']\]""", script))
    if path.endswith(".sh"):
        code = "\n".join(_uncommented(script))
        read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)(?![A-Z0-9_:\[-])", code))
        return frozenset(read - set(re.findall(r"\b(\w+)=", code)) - _BASH_VARIABLES)
    return frozenset()


@lru_cache(maxsize=4096)
def _settings(path: str, text: str) -> tuple[Setting, ...]:
    """Return the settings of a file, without its comments."""
    readers = {".yaml": _values, ".yml": _values, ".json": _values, ".py": _constants}
    read = readers.get(PurePosixPath(path).suffix, _lines)
    try:
        pairs = list(read(text))
    except (yaml.YAMLError, SyntaxError):
        # The program that reads it will complain; an address in it is still an address.
        pairs = list(_lines(text))
    return tuple(Setting(f"file {path}", key, value) for key, value in pairs)


def _values(text: str) -> Iterator[tuple[str, str]]:
    for document in yaml.load_all(text, yaml.CSafeLoader):
        yield from _flatten("", document)


def _flatten(path: str, node: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any YAML
    """Return each scalar of a document by its path, as in `list.server[0].port`."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(f"{path}.{key}" if path else str(key), value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _flatten(f"{path}[{index}]", value)
    elif node is not None:
        yield path, str(node)


def _constants(program: str) -> Iterator[tuple[str, str]]:
    """Return the strings of a Python program without its documentation."""
    tree = ast.parse(program)
    documentation = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in documentation:
            yield "", str(node.value)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Read `key value`, `key=value` and `key: value`; other lines have no key."""
    for line in _uncommented(text):
        pair = re.match(r"([\w.-]+)(?:\s*=\s*|:\s+|\s+)(.+)", line)
        yield (pair[1], pair[2]) if pair else ("", line)


def _uncommented(text: str) -> Iterator[str]:
    code = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return filter(None, code)
