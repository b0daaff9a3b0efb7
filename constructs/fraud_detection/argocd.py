"""The projects, namespaces and Applications of Argo CD, kept in sync by a root Application."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cdk8s import ApiObjectMetadata, App, Chart
from cdk8s_plus_27 import k8s

from fraud_detection import notifications
from fraud_detection.environments import Environment
from fraud_detection.platform.sync import KEEP_DATA
from fraud_detection.repositories import REPOSITORY
from imports.io.argoproj import (
    Application,
    ApplicationSpec,
    ApplicationSpecDestination,
    ApplicationSpecIgnoreDifferences,
    ApplicationSpecSource,
    ApplicationSpecSyncPolicy,
    ApplicationSpecSyncPolicyAutomated,
    ApplicationSpecSyncPolicyRetry,
    ApplicationSpecSyncPolicyRetryBackoff,
    AppProject,
    AppProjectSpec,
    AppProjectSpecClusterResourceWhitelist,
    AppProjectSpecDestinations,
    AppProjectSpecNamespaceResourceWhitelist,
)

_CLUSTER = "https://kubernetes.default.svc"
"""The cluster in which Argo CD itself runs."""
_NAMESPACE = "argocd"
_ROOT = "fraud-detection-root"
_ROOT_BRANCH = "main"
"""Namespaces and projects come from this reviewed branch alone, whatever environments there are."""
_ROOT_KINDS = (("", "ConfigMap"), ("argoproj.io", "AppProject"), ("argoproj.io", "Application"))
"""Kinds in Argo CD's namespace that the root Application keeps; a project cannot name them.

The first is that of the notifications, always: a sync that brings both a kind and its permission
fails as a whole.
"""
_SWITCHED_BY_SETTINGS = {
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("monitoring.coreos.com", "PodMonitor"),
    ("monitoring.coreos.com", "PrometheusRule"),
    ("networking.k8s.io", "Ingress"),
    ("policy", "PodDisruptionBudget"),
}
"""Kinds that a setting turns on or off.

Every project allows them: it comes from `main`, where a setting that another branch turns on or off
does not show, and Argo CD neither creates nor prunes a kind that a project does not allow.
"""
_TYPE = re.compile(r"^apiVersion: (?:(\S+)/)?\S+\nkind: (\S+)$", re.MULTILINE)
"""How cdk8s begins an object."""
_POD_SECURITY = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


def rendered_kinds(folder: Path) -> set[tuple[str, str]]:
    """Return the API group and the kind of every object in a folder of rendered files.

    Asking the app would make Node render everything a second time.
    """
    return {
        (group, kind)
        for file in folder.glob("*.yaml")
        for group, kind in _TYPE.findall(file.read_text(encoding="utf-8"))
    }


class ArgoCd:
    """The manifests of `dist/argocd`: a project, a namespace and an Application per environment.

    The root Application keeps all of them, itself included, as they are on `main`. No environment's
    own Application can: its project allows one namespace, and nothing cluster-scoped.

    Args:
        app: The folder to which they are rendered.
        environments: The environments.
        kinds: By name of the environment, API group and kind of every object that it renders; its
            project allows no others, except those that a setting turns on.
        configures_notifications: Whether the root Application keeps our keys of the ConfigMap
            `argocd-notifications-cm`, if an environment reports: not where another Application
            keeps that ConfigMap, which then needs the keys.
    """

    def __init__(
        self,
        app: App,
        *,
        environments: Sequence[Environment],
        kinds: Mapping[str, Collection[tuple[str, str]]],
        configures_notifications: bool = True,
    ) -> None:
        def chart(id: str, namespace: str | None = _NAMESPACE) -> Chart:
            return Chart(app, id, namespace=namespace, disable_resource_name_hashes=True)

        # In a file of their own: cdk8s would give them the namespace of the other objects.
        namespaces = chart("namespaces", namespace=None)
        applications = chart("fraud-detection")
        for environment in environments:
            _namespace(namespaces, environment)
            project = f"fraud-detection-{environment.name}"
            AppProject(
                applications,
                project,
                metadata=ApiObjectMetadata(name=project),
                spec=AppProjectSpec(
                    description=f"The real-time fraud-detection system, {environment.name} alone.",
                    source_repos=[REPOSITORY],
                    destinations=[
                        AppProjectSpecDestinations(server=_CLUSTER, namespace=environment.namespace)
                    ],
                    namespace_resource_whitelist=[
                        AppProjectSpecNamespaceResourceWhitelist(group=group, kind=kind)
                        for group, kind in sorted(
                            _SWITCHED_BY_SETTINGS.union(kinds[environment.name])
                        )
                    ],
                ),
            )
            _application(
                applications,
                environment.application,
                project=project,
                branch=environment.branch,
                path=f"dist/{environment.name}",
                namespace=environment.namespace,
                prune=True,
                sync_options=["CreateNamespace=true", "ServerSideApply=true"],
                ignore_differences=[
                    # The job controller adds these fields to every Job.
                    ApplicationSpecIgnoreDifferences(
                        group="batch",
                        kind="Job",
                        json_pointers=["/spec/selector", "/spec/template/metadata/labels"],
                    )
                ],
                annotations=(
                    None
                    if environment.soak is None
                    else notifications.subscription(environment.soak)
                ),
            )
        if configures_notifications and any(each.soak is not None for each in environments):
            notifications.configure(chart("notifications"))
        _root(chart("root"), environments)


def _namespace(chart: Chart, environment: Environment) -> None:
    k8s.KubeNamespace(
        chart,
        environment.namespace,
        metadata=k8s.ObjectMeta(
            name=environment.namespace,
            labels=_POD_SECURITY,
            # Deleting the namespace would delete all data in it.
            annotations=dict(KEEP_DATA),
        ),
    )


def _root(chart: Chart, environments: Sequence[Environment]) -> None:
    AppProject(
        chart,
        "project",
        metadata=ApiObjectMetadata(name=_ROOT),
        spec=AppProjectSpec(
            description="The projects, namespaces and Applications of the fraud-detection system.",
            source_repos=[REPOSITORY],
            destinations=[AppProjectSpecDestinations(server=_CLUSTER, namespace=_NAMESPACE)],
            cluster_resource_whitelist=[
                AppProjectSpecClusterResourceWhitelist(
                    group="", kind="Namespace", name=environment.namespace
                )
                for environment in environments
            ],
            namespace_resource_whitelist=[
                AppProjectSpecNamespaceResourceWhitelist(group=group, kind=kind)
                for group, kind in _ROOT_KINDS
            ],
        ),
    )
    _application(
        chart,
        _ROOT,
        project=_ROOT,
        branch=_ROOT_BRANCH,
        path="dist/argocd",
        namespace=_NAMESPACE,
        # An environment that is removed by mistake must not take its data with it.
        prune=False,
        sync_options=["ServerSideApply=true"],
    )


def _application(
    chart: Chart,
    name: str,
    *,
    project: str,
    branch: str,
    path: str,
    namespace: str,
    prune: bool,
    sync_options: list[str],
    ignore_differences: list[ApplicationSpecIgnoreDifferences] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> None:
    Application(
        chart,
        name,
        metadata=ApiObjectMetadata(name=name, annotations=annotations),
        spec=ApplicationSpec(
            project=project,
            source=ApplicationSpecSource(repo_url=REPOSITORY, target_revision=branch, path=path),
            destination=ApplicationSpecDestination(server=_CLUSTER, namespace=namespace),
            sync_policy=ApplicationSpecSyncPolicy(
                automated=ApplicationSpecSyncPolicyAutomated(prune=prune, self_heal=True),
                sync_options=sync_options,
                # Without retries Argo CD neither repeats nor heals a failed revision.
                retry=ApplicationSpecSyncPolicyRetry(
                    limit=5,
                    # The commit that fixes it need not wait for 5 attempts at the broken one.
                    refresh=True,
                    backoff=ApplicationSpecSyncPolicyRetryBackoff(
                        duration="10s", factor=2, max_duration="5m"
                    ),
                ),
            ),
            ignore_differences=ignore_differences,
        ),
    )
