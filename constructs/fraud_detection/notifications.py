"""The commit statuses and deployments that Argo CD's notifications controller sets on GitHub.

The keys are those of `argocd-notifications-cm`, the expressions those of its triggers.
"""

from cdk8s import Chart, Yaml
from cdk8s_plus_27 import k8s

from fraud_detection.commit_status import NAME, SUBSCRIPTION, context

_SOAK = "fraud-detection/soak-minutes"
_CONFIG_MAP = "argocd-notifications-cm"

_STATUS = "app.status"
_SYNC = f"{_STATUS}.operationState"
_REVISION = f"{_STATUS}.sync.revision"
"""What was compared last: a commit that changes nothing is never synced, yet it is in effect."""


def _has_soaked(since: str) -> str:
    age = f"time.Now().Sub(time.Parse({since})).Minutes()"
    return f'{age} >= float(app.metadata.annotations["{_SOAK}"])'


# The controller itself skips an Application whose health is older than its newest sync.
_SOAKED = (
    f'{_SYNC}?.phase == "Succeeded" and {_STATUS}.sync.status == "Synced" '
    f"and {_has_soaked(f'{_SYNC}.finishedAt')}"
)
_SUCCESS = (
    f'({_SOAKED} and {_STATUS}.health.status == "Healthy" '
    f"and {_has_soaked(f'{_STATUS}.health.lastTransitionTime')})"
)
_FAILURE = (
    f'({_SYNC}?.phase in ["Failed", "Error"] and {_SYNC}.operation.sync?.revision == {_REVISION} '
    f'or {_SOAKED} and {_STATUS}.health.status == "Degraded")'
)
_PENDING = f'({_STATUS}?.sync?.revision ?? "") != "" and not {_SUCCESS} and not {_FAILURE}'
_EVENT = f'[{_REVISION}, {_SYNC}.finishedAt, {_STATUS}.health.lastTransitionTime ?? ""]'

_MINUTES = f'{{{{index .app.metadata.annotations "{_SOAK}"}}}} minutes'
_FOUND = "{{.app.status.sync.status}}, {{.app.status.health.status}}"
_UNHEALTHY = (
    "{{range .app.status.resources}}"
    '{{if and .health (ne .health.status "Healthy")}} {{.kind}}/{{.name}}{{end}}{{end}}'
)


def subscription(soak: float) -> dict[str, str]:
    """Return the annotations with which an Application reports after that many minutes."""
    return {SUBSCRIPTION: "", _SOAK: f"{soak:g}"}


def configure(chart: Chart) -> None:
    """Render our keys; Argo CD's installation owns the others of the same ConfigMap."""
    k8s.KubeConfigMap(
        chart,
        "notifications",
        metadata=k8s.ObjectMeta(name=_CONFIG_MAP),
        data={
            f"service.github.{NAME}": Yaml.stringify(
                {
                    "appID": "$fraud-detection-app-id",
                    "installationID": "$fraud-detection-installation-id",
                    "privateKey": "$fraud-detection-private-key",
                }
            ),
            f"trigger.{NAME}": Yaml.stringify(
                [
                    _condition(_PENDING, "pending", once_per=_REVISION),
                    # Each event is reported, also after a pause of the controller; but it never
                    # repeats a delivery that failed. What is reported once per change is repeated.
                    _condition(_FAILURE, "failure", once_per=_EVENT),
                    _condition(_FAILURE, "failure"),
                    _condition(_SUCCESS, "success", once_per=_EVENT),
                    _condition(_SUCCESS, "success"),
                ]
            ),
            **_template("pending", f"{_FOUND}: not yet for {_MINUTES}", "in_progress"),
            **_template(
                "failure",
                '{{if eq .app.status.operationState.phase "Succeeded"}}'
                f"{_FOUND}:{_UNHEALTHY}"
                "{{else}}{{.app.status.operationState.message}}{{end}}",
                "failure",
            ),
            **_template("success", f"{_FOUND} for {_MINUTES}", "success"),
        },
    )


def _condition(when: str, template: str, *, once_per: str | None = None) -> dict[str, object]:
    once = {} if once_per is None else {"oncePer": once_per}
    return {"when": when, **once, "send": [f"{NAME}-{template}"]}


def _template(state: str, message: str, deployment: str) -> dict[str, str]:
    # The name of the folder that it applies is the name of the environment.
    environment = "{{base .app.spec.source.path}}"
    # GitHub refuses an invalid address, and the controller does not retry.
    page = "{{with .context.argocdUrl}}{{.}}/applications/argocd/{{$.app.metadata.name}}{{end}}"
    template = {
        "message": message,
        "github": {
            "revisionPath": f"{{{{.{_REVISION}}}}}",
            "status": {"state": state, "label": context(environment), "targetURL": page},
            "deployment": {
                "state": deployment,
                "environment": environment,
                "logURL": page,
                # By default GitHub waits for every status of the commit, this one included, and
                # merges the default branch.
                "requiredContexts": [],
                "autoMerge": False,
            },
        },
    }
    return {f"template.{NAME}-{state}": Yaml.stringify(template)}
