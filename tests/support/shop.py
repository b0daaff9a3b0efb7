"""A small system for tests of the proofs: builders for its manifests, and a dist to hold them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from delivery.manifests.manifest import Manifest

Folders = dict[str, list[Manifest]]

LISTENING = [{"containerPort": 8080, "name": "http"}]


def metadata(name: str) -> Manifest:
    """Return the metadata of an object in the namespace of the shop."""
    return {"name": name, "namespace": "shop"}


def workload(name: str, *, kind: str = "Deployment", **container: Any) -> Manifest:  # noqa: ANN401 - as YAML has it
    """Return a workload with one container, whose pods have its name as their label.

    Args:
        name: Name of the workload and the container.
        kind: Its kind.
        container: Fields of the container; `files` names a ConfigMap that it mounts.
    """
    files = container.pop("files", None)
    spec: Manifest = {"containers": [{"name": name, "image": "registry.test/x:1", **container}]}
    if files:
        spec["containers"][0]["volumeMounts"] = [{"name": "files", "mountPath": "/files"}]
        spec["volumes"] = [{"name": "files", "configMap": {"name": files}}]
    return {
        "kind": kind,
        "metadata": metadata(name),
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": spec}},
    }


def service(name: str, port: int = 80, target: int | str = 8080, **spec: Any) -> Manifest:  # noqa: ANN401 - as YAML has it
    """Return a Service before the workload of the same name."""
    ports = [{"port": port, "targetPort": target}]
    return {
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def policy(name: str, **rules: list[Manifest]) -> Manifest:
    """Return the policy of a workload, which allows only these rules."""
    return {
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {
            "podSelector": {"matchLabels": {"app": name}},
            "policyTypes": ["Ingress", "Egress"],
            **rules,
        },
    }


def rule(peers: str, *names: str, port: int = 8080) -> list[Manifest]:
    """Return a rule for some workloads and one port."""
    selectors = [{"podSelector": {"matchLabels": {"app": name}}} for name in names]
    return [{peers: selectors, "ports": [{"port": port}]}]


DNS = [
    {
        "kind": "NetworkPolicy",
        "metadata": metadata("dns"),
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                {
                    "to": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                            },
                            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                        },
                        {"ipBlock": {"cidr": "169.254.20.10/32"}},
                    ],
                    "ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}],
                }
            ],
        },
    }
]


def env(**variables: str) -> list[Manifest]:
    """Return environment variables."""
    return [{"name": name, "value": value} for name, value in variables.items()]


def shop(*more: Manifest, **client: Any) -> Folders:  # noqa: ANN401 - as YAML has it
    """Return a client, and a server whose port 8080 it may use through the Service's port 80.

    Args:
        more: Further objects.
        client: Fields of the client's container.
    """
    return {
        "shop": [
            workload("client", **client),
            workload("server", ports=LISTENING),
            service("server"),
            policy("client", egress=rule("to", "server")),
            policy("server", ingress=rule("from", "client")),
            *deepcopy(DNS),
            *more,
        ]
    }


def application(name: str, branch: str = "main") -> Manifest:
    """Return an Application of the default project that deploys the folder of that name."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": f"system-{name}"},
        "spec": {
            "project": "default",
            "source": {
                "repoURL": "https://example.test/shop.git",
                "targetRevision": branch,
                "path": f"dist/{name}",
            },
            "destination": {"namespace": f"shop-{name}"},
        },
    }


def write_dist(repository: Path, environments: Mapping[str, Sequence[Manifest]]) -> None:
    """Write a dist in which each environment has objects in a namespace of its own.

    Args:
        repository: Root of a working tree.
        environments: Objects by the name of the environment, in the order of promotion.
    """
    (repository / "cdk8s.yaml").touch()
    _write(repository, "argocd", map(application, environments))
    for name, manifests in environments.items():
        _write(
            repository,
            name,
            [
                {
                    "apiVersion": "v1",
                    **manifest,
                    "metadata": {**manifest["metadata"], "namespace": f"shop-{name}"},
                }
                for manifest in manifests
            ],
        )


def _write(repository: Path, folder: str, manifests: Any) -> None:  # noqa: ANN401 - any objects
    file = repository / "dist" / folder / "all.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump_all(deepcopy(list(manifests))), encoding="utf-8")
