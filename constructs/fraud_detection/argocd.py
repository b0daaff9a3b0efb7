"""What Argo CD is told once, by hand: the project and one Application per environment."""

from collections.abc import Sequence

from cdk8s import ApiObjectMetadata, App, Chart

from fraud_detection.environments import REPOSITORY, Environment
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
_KINDS = (
    ("", "ConfigMap"),
    ("", "LimitRange"),
    ("", "PersistentVolumeClaim"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "Job"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
)
"""API group and kind of everything that the constructs render; nothing else may be applied."""
_POD_SECURITY = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


class ArgoCd:
    """The manifests of `dist/argocd`.

    Args:
        app: The folder to which they are rendered.
        environments: What is applied where.
    """

    def __init__(self, app: App, *, environments: Sequence[Environment]) -> None:
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
                # Argo CD makes and labels the namespaces, on behalf of the Applications.
                cluster_resource_whitelist=[
                    AppProjectSpecClusterResourceWhitelist(
                        group="", kind="Namespace", name=environment.namespace
                    )
                    for environment in environments
                ],
                namespace_resource_whitelist=[
                    AppProjectSpecNamespaceResourceWhitelist(group=group, kind=kind)
                    for group, kind in _KINDS
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
                # Without it a failed revision is neither tried again nor healed.
                retry=ApplicationSpecSyncPolicyRetry(
                    limit=5,
                    # A commit that mends it does not wait until the broken one was tried 5 times.
                    refresh=True,
                    backoff=ApplicationSpecSyncPolicyRetryBackoff(
                        duration="10s", factor=2, max_duration="5m"
                    ),
                ),
            ),
            # The job controller adds these to a Job that leaves them out.
            ignore_differences=[
                ApplicationSpecIgnoreDifferences(
                    group="batch",
                    kind="Job",
                    json_pointers=["/spec/selector", "/spec/template/metadata/labels"],
                )
            ],
        ),
    )
