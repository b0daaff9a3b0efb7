"""The manifests that are applied by hand, once: the project and one Application per environment."""

from collections.abc import Collection, Sequence

from cdk8s import ApiObjectMetadata, App, Chart

from fraud_detection.environments import Environment
from fraud_detection.repositories import REPOSITORY
from imports.io.argoproj import (
    Application,
    ApplicationSpec,
    ApplicationSpecDestination,
    ApplicationSpecIgnoreDifferences,
    ApplicationSpecSource,
    ApplicationSpecSyncPolicy,
    ApplicationSpecSyncPolicyAutomated,
    ApplicationSpecSyncPolicyManagedNamespaceMetadata,
    ApplicationSpecSyncPolicyRetry,
    ApplicationSpecSyncPolicyRetryBackoff,
    AppProject,
    AppProjectSpec,
    AppProjectSpecClusterResourceWhitelist,
    AppProjectSpecDestinations,
    AppProjectSpecNamespaceResourceWhitelist,
)

_PROJECT = "fraud-detection"
_CLUSTER = "https://kubernetes.default.svc"
"""The cluster in which Argo CD itself runs."""
_SWITCHED_BY_SETTINGS = {
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "Ingress"),
    ("policy", "PodDisruptionBudget"),
}
"""Kinds that a setting turns on or off.

The project allows them always: it is applied by hand, and Argo CD neither creates nor prunes a kind
that it does not allow.
"""
_POD_SECURITY = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


def rendered_kinds(app: App) -> set[tuple[str, str]]:
    """Return the API group and the kind of every object in an app."""
    return {
        (manifest["apiVersion"].rpartition("/")[0], manifest["kind"])
        for chart in app.charts
        for manifest in chart.to_json()
    }


class ArgoCd:
    """The manifests of `dist/argocd`.

    Args:
        app: The app that renders them.
        environments: The environments, each of which gets an Application.
        kinds: API group and kind of every object that the environments render; the project allows
            no others, except those that a setting turns on.
    """

    def __init__(
        self,
        app: App,
        *,
        environments: Sequence[Environment],
        kinds: Collection[tuple[str, str]],
    ) -> None:
        chart = Chart(app, "fraud-detection", namespace="argocd", disable_resource_name_hashes=True)
        AppProject(
            chart,
            "project",
            metadata=ApiObjectMetadata(name=_PROJECT),
            spec=AppProjectSpec(
                description="The real-time fraud-detection system, all environments.",
                source_repos=[REPOSITORY],
                destinations=[
                    AppProjectSpecDestinations(server=_CLUSTER, namespace=environment.namespace)
                    for environment in environments
                ],
                # Argo CD creates and labels the namespaces for the Applications.
                cluster_resource_whitelist=[
                    AppProjectSpecClusterResourceWhitelist(
                        group="", kind="Namespace", name=environment.namespace
                    )
                    for environment in environments
                ],
                namespace_resource_whitelist=[
                    AppProjectSpecNamespaceResourceWhitelist(group=group, kind=kind)
                    for group, kind in sorted(_SWITCHED_BY_SETTINGS.union(kinds))
                ],
            ),
        )
        for environment in environments:
            _application(chart, environment)


def _application(chart: Chart, environment: Environment) -> None:
    Application(
        chart,
        environment.application,
        metadata=ApiObjectMetadata(name=environment.application),
        spec=ApplicationSpec(
            project=_PROJECT,
            source=ApplicationSpecSource(
                repo_url=REPOSITORY,
                target_revision=environment.branch,
                path=f"dist/{environment.name}",
            ),
            destination=ApplicationSpecDestination(
                server=_CLUSTER, namespace=environment.namespace
            ),
            sync_policy=ApplicationSpecSyncPolicy(
                automated=ApplicationSpecSyncPolicyAutomated(prune=True, self_heal=True),
                sync_options=["CreateNamespace=true", "ServerSideApply=true"],
                managed_namespace_metadata=ApplicationSpecSyncPolicyManagedNamespaceMetadata(
                    labels=_POD_SECURITY
                ),
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
            # The job controller adds these fields to every Job.
            ignore_differences=[
                ApplicationSpecIgnoreDifferences(
                    group="batch",
                    kind="Job",
                    json_pointers=["/spec/selector", "/spec/template/metadata/labels"],
                )
            ],
        ),
    )
