"""YAML that cdk8s writes for strings which look like other types."""

from collections.abc import Mapping, Sequence
from tempfile import gettempdir

from cdk8s import App, Chart
from cdk8s_plus_27 import k8s

from rendering import Manifest

STRINGS = [
    *("=", "<<", "~", "", "on", "Off", "y", "No", "true", "null"),
    *("0", "-0", "017", "0o18", "0x1F", "0b1", "08", "1_000", "9223372036854775808"),
    *("1e3", "1E3", "1e+3", "12e4567", "+.5", ".5", "0.", "1.10", ".inf", "-.INF", ".nan"),
    *("1:30", "190:20:30", "2024-01-01", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00"),
    *(" x", "x ", "x\n", "\n", "\nx", "a\nb\n\n", "a\n  b\n", " a\nb", "key: |\n  x\n", "---\na"),
    *("a: b", "a:", ":", "a #b", "#a", "-", "- a", "---", "...", "?", "? a", "[a]", "{a}", ","),
    *("&a", "*a", "!a", "!!int 1", "%a", "@a", "`a`", "|", ">", "'a'", '"a"', "a\\b"),
    *("a\tb", "\ta", "a\rb", "a\r\nb", "\x00", "\x07", "\x1b[2K", "\ufeff", "\ufeffa"),
    *("é", "سلام‌دنیا", "👩\u200d💻", "\uff11\uff12", "\u00a0", "\u202e", "word " * 40, "x" * 200),
]
"""Strings that cdk8s writes in such a way that they remain strings."""

UNQUOTED = {"0o17": 15, "0O17": 15, "0X1F": 31, "0b-1": -1}
"""Strings that cdk8s does not quote, although Kubernetes reads them as these numbers."""


def written(strings: Sequence[str]) -> str:
    """Return what cdk8s writes for a ConfigMap and a Pod with these strings in every place."""
    app = App(outdir=f"{gettempdir()}/never-written")
    chart = Chart(app, "strings", disable_resource_name_hashes=True)
    numbered = {f"key-{number:03}": text for number, text in enumerate(strings)}
    env = [k8s.EnvVar(name=name, value=text) for name, text in numbered.items()]
    k8s.KubeConfigMap(
        chart,
        "config-map",
        metadata=k8s.ObjectMeta(name="strings", annotations=numbered),
        data=numbered,
    )
    k8s.KubePod(
        chart,
        "pod",
        metadata=k8s.ObjectMeta(name="strings"),
        spec=k8s.PodSpec(containers=[k8s.Container(name="main", args=[*strings], env=env)]),
    )
    return app.synth_yaml()


def places(documents: Sequence[Manifest]) -> Mapping[str, list[object]]:
    """Return the strings that were read from what `written` returned, by place."""
    config_map, pod = documents
    [container] = pod["spec"]["containers"]
    return {
        "annotations": list(config_map["metadata"]["annotations"].values()),
        "data": list(config_map["data"].values()),
        "args": container["args"],
        "env": [each["value"] for each in container["env"]],
    }
