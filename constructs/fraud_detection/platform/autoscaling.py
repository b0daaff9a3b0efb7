"""Horizontal autoscaling by processor use."""

from cdk8s_plus_27 import k8s

from constructs import Construct
from fraud_detection.platform.sync import Wave, metadata

_TARGET_PERCENT = 70
"""Use of the requested processor time that the autoscaler aims at."""


def scale_on_cpu(
    scope: Construct,
    *,
    deployment: str,
    min_replicas: int,
    max_replicas: int,
    calm_seconds: int,
    wave: Wave,
) -> None:
    """Let the number of a Deployment's pods follow their processor use (needs metrics-server).

    Args:
        scope: The construct that owns the Deployment, which must not state `replicas`.
        deployment: Its name.
        min_replicas: The fewest pods.
        max_replicas: The most.
        calm_seconds: For how long less must have been enough before pods go.
        wave: When Argo CD applies it.
    """
    k8s.KubeHorizontalPodAutoscalerV2(
        scope,
        f"{deployment}-autoscaler",
        metadata=metadata(deployment, wave=wave),
        spec=k8s.HorizontalPodAutoscalerSpecV2(
            scale_target_ref=k8s.CrossVersionObjectReferenceV2(
                api_version="apps/v1", kind="Deployment", name=deployment
            ),
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            metrics=[
                k8s.MetricSpecV2(
                    type="Resource",
                    resource=k8s.ResourceMetricSourceV2(
                        name="cpu",
                        target=k8s.MetricTargetV2(
                            type="Utilization", average_utilization=_TARGET_PERCENT
                        ),
                    ),
                )
            ],
            behavior=k8s.HorizontalPodAutoscalerBehaviorV2(
                scale_down=k8s.HpaScalingRulesV2(stabilization_window_seconds=calm_seconds)
            ),
        ),
    )
