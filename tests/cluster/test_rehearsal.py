"""The rehearsal of each case in the corpus, and whether a real Argo CD confirms its verdicts."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.clusters.argocd import API_VERSION, NAMESPACE, ArgoCd, argocd, refresh
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.client import ApiError, Client, Reference
from delivery.control_plane.programs import StartError, wait_until
from delivery.manifests.applications import Environment
from delivery.manifests.manifest import Manifest
from delivery.manifests.tree import Desired, annotation, sync_options, tree
from delivery.rehearsal.rehearse import Rehearsal, rehearse
from delivery.rehearsal.report import FORMATS
from delivery.rehearsal.verdicts import Verdict, waits
from remotes import run_git
from working_tree import commit_all

pytestmark = pytest.mark.xdist_group("rehearsal")

POLL_SECONDS = 1
WAIT_SECONDS = 1200
"""It takes a minute or two on an idle machine."""
NEIGHBOUR = "annex"
"""The second namespace of the shop."""
CORPUS = Path(__file__).parent.parent / "rehearsal"
CASES = sorted(path.stem for path in (CORPUS / "corpus").glob("*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file of the corpus.

    Attributes:
        why: Reason for the verdict.
        application: The Application.
        project: Changes of the project with this sync.
        before: Manifests that the cluster has.
        after: Manifests of the new tree.
        expect: Verdict of each changed object, by `Kind/name`.
        says: Text that the reasons or changes of an object must contain.
        old: Old name of each renamed object.
        consequences: Start of each consequence, in the order of the report.
        stops: Where the sync fails. None: not checked.
        argocd: Result of a real Argo CD: `synced`, `pruned`, `unchanged` or `sync-fails`. None: it
            cannot show the verdict, or only in a real cluster.
    """

    why: str
    application: Environment
    project: Manifest
    before: list[Manifest]
    after: list[Manifest]
    expect: dict[str, str]
    says: dict[str, str]
    old: dict[str, str]
    consequences: list[str]
    stops: str | None
    argocd: str | None


def merge(original: Any, patch: Any) -> Any:  # noqa: ANN401 - YAML
    """Patch a document: null removes a key, and items of a list are matched by name.

    The items of the patch come first, in its order and without those marked as removed, so a patch
    can also reorder a list.
    """
    if isinstance(original, dict) and isinstance(patch, dict):
        merged = {**original, **{k: merge(original.get(k), v) for k, v in patch.items()}}
        return {k: v for k, v in merged.items() if v is not None}
    if isinstance(original, list) and isinstance(patch, list):
        items = [*original, *patch]
        if all(isinstance(item, dict) and "name" in item for item in items):
            named = {item["name"]: item for item in original}
            changed = [
                merge(named.get(item["name"], {}), item)
                for item in patch
                if not item.get("removed")
            ]
            names = {item["name"] for item in patch}
            return [*changed, *(item for name, item in named.items() if name not in names)]
    return patch


@cache
def objects() -> Manifest:
    """Return the objects that all cases start from."""
    loaded: Manifest = yaml.load((CORPUS / "objects.yaml").read_bytes(), yaml.CSafeLoader)
    return loaded


def changed(manifests: list[Manifest], changes: Manifest) -> list[Manifest]:
    """Apply changes to manifests, by `Kind/name`; null removes one."""
    named = {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}
    assert changes.keys() <= named.keys()
    merged = [merge(each, changes.get(name, {})) for name, each in named.items()]
    return [
        each for name, each in zip(named, merged, strict=True) if changes.get(name, {}) is not None
    ]


def load(name: str) -> Case:
    """Read one file of the corpus."""
    case = yaml.load((CORPUS / "corpus" / f"{name}.yaml").read_bytes(), yaml.CSafeLoader)
    known = objects()["objects"]
    before = changed([known[each] for each in case["objects"]], case.get("base", {}))
    added = [known[each] if isinstance(each, str) else each for each in case.get("add", [])]
    after = changed(before, case.get("change", {})) + changed(added, case.get("start", {}))
    for new in case.get("replace", []):
        same = [each for each in after if each["metadata"] == new["metadata"]]
        [old] = [each for each in same if each["kind"] == new["kind"]]
        after[after.index(old)] = new
    spec = merge(objects()["application"], case.get("application", {}))
    managed = spec["syncPolicy"].get("managedNamespaceMetadata") or {}
    application = Environment(
        application="shop",
        spec=spec,
        project=merge(objects()["project"], case.get("project", {})),
        labels=managed.get("labels") or {},
    )
    return Case(
        why=case["why"],
        application=application,
        project=case.get("project", {}),
        before=before,
        after=after,
        expect=case.get("expect", {}),
        says=case.get("says", {}),
        old=case.get("old", {}),
        consequences=case.get("consequences", []),
        stops=case.get("stops"),
        argocd=case.get("argocd"),
    )


def play(client: Client, case: Case) -> Rehearsal:
    """Rehearse a case."""
    before, after = (
        tree(Desired(manifest=deepcopy(each), file="shop.yaml") for each in manifests)
        for manifests in (case.before, case.after)
    )
    return rehearse(client, case.application, before, after, neighbours=["shop", NEIGHBOUR])


def verdicts(rehearsal: Rehearsal) -> dict[str, str]:
    """Return the verdicts on changed objects, by `Kind/name`, plus namespace if ambiguous."""
    changes = [each for each in rehearsal.findings if each.verdict is not Verdict.UNCHANGED]
    names = [str(each.key) for each in changes]
    return {
        f"{name}#{each.key.namespace}" if names.count(name) > 1 else name: each.verdict.value
        for name, each in zip(names, changes, strict=True)
    }


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_its_verdicts(client: Client, name: str) -> None:
    """Each file of the corpus gives the reason."""
    case = load(name)
    rehearsal = play(client, case)
    assert verdicts(rehearsal) == case.expect, rehearsal
    findings = {str(each.key): each for each in rehearsal.findings}
    for key, text in case.says.items():
        assert any(text in line for line in (*findings[key].reasons, *findings[key].changes))
    old = {key: each.old.name for key, each in findings.items() if each.old}
    assert old == case.old
    texts = [f"{each.key}: {each.text}" for each in rehearsal.consequences]
    assert len(texts) == len(case.consequences), texts
    for text, start in zip(texts, case.consequences, strict=True):
        assert text.startswith(start)
    if case.stops is not None:
        assert rehearsal.stops == case.stops


VALUE = "48151623421"


@pytest.mark.parametrize(
    "fields",
    [
        {"stringData": {"password": VALUE}},
        {"data": {"password": "NDgxNTE2MjM0MjE="}},
        {"data": {"password": f"not base64: {VALUE}"}},
        {"stringData": {"password": int(VALUE)}},
        {"stringData": VALUE},
        {"type": VALUE},
        {"metadata": {"name": "password", "annotations": {f"-{VALUE}": VALUE}}},
    ],
    ids=["good", "base64", "not base64", "number", "text", "type", "annotation"],
)
def test_no_value_of_a_secret_is_reported(client: Client, fields: Manifest) -> None:
    """An API server's message repeats what it refuses, and the report is a public comment."""
    case = load("secret-type")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}, **fields}
    rehearsal = play(client, replace(case, after=[secret]))
    [finding] = rehearsal.findings
    assert finding.verdict is not Verdict.UNCHANGED
    for form in FORMATS.values():
        assert "Secret/password" in form([rehearsal]) or '"password"' in form([rehearsal])
        for value in (VALUE, "NDgxNTE2MjM0MjE"):
            assert value not in form([rehearsal])


class Confirmation:
    """A real Argo CD that syncs every case at once, each in a namespace of its own.

    Args:
        argo: Argo CD.
        client: Client of its cluster's API server.
        folder: Empty folder for the repository.
    """

    def __init__(self, argo: ArgoCd, client: Client, folder: Path) -> None:
        self._argo = argo
        self._client = client
        self._clone = folder / "clone"
        self._bare = folder / "origin.git"
        self.cases = {name: case for name in CASES if (case := load(name)).argocd}
        self._clone.mkdir()
        run_git(self._clone, "init", "--quiet", "--initial-branch", "main")
        self._commit({name: case.before for name, case in self.cases.items()})
        run_git(self._clone, "clone", "--quiet", "--bare", ".", str(self._bare))
        for name, case in self.cases.items():
            self._create_application(name, case)
        self._wait(lambda application: _phase(application) == ("Succeeded", self._head))
        for name, case in self.cases.items():
            if case.project:
                project = Reference(API_VERSION, "AppProject", name, NAMESPACE)
                client.merge(project, {"spec": case.project})
        # Argo CD learns of the projects while these are read.
        self.before = {name: self._objects(name) for name in self.cases}
        self._commit({name: case.after for name, case in self.cases.items()})
        run_git(self._clone, "push", "--quiet", str(self._bare), "main")
        for name in self.cases:
            refresh(client, name)
        self._ended = self._wait(self._is_done)
        self.after = {name: self._objects(name) for name in self.cases}

    def verdict(self, name: str) -> str:
        """Return the result of a case in Argo CD, in the words of the corpus."""
        application = self._ended[name]
        phase, revision = _phase(application)
        conditions = application["status"].get("conditions", [])
        if {each["type"] for each in conditions} & {"ComparisonError"}:
            return "sync-fails"
        if (phase, revision) == ("Succeeded", self._head):
            gone = self.before[name].keys() - self.after[name].keys()
            return "pruned" if gone else "synced"
        return "unchanged" if phase == "Succeeded" else "sync-fails"

    def _is_done(self, application: Manifest) -> bool:
        """Whether Argo CD has processed the newest commit."""
        phase, revision = _phase(application)
        status = application["status"]
        if "operation" in application or status["sync"].get("revision") != self._head:
            return False
        if revision != self._head:
            # It may be unable to compare, refuse to delete everything, or be set not to prune.
            return "conditions" in status or all(
                each.get("requiresPruning")
                for each in status.get("resources", [])
                if each.get("status") == "OutOfSync"
            )
        return phase in {"Succeeded", "Failed", "Error"}

    def _objects(self, name: str) -> dict[Reference, Manifest]:
        """Return all objects of a case in the cluster that are not being deleted."""
        found = {}
        for manifest in [*self.cases[name].before, *self.cases[name].after]:
            reference = Reference.of(_moved(manifest, name))
            if not reference.namespace:
                reference = reference._replace(namespace=name)
            with suppress(ApiError):
                live = self._client.get(reference)
                if "deletionTimestamp" not in live["metadata"]:
                    found[reference] = live
        return found

    def _create_application(self, name: str, case: Case) -> None:
        """Create the project and the Application of a case."""
        namespaces = [name]
        if NEIGHBOUR in {each["metadata"].get("namespace") for each in case.before + case.after}:
            namespaces.append(f"{name}-{NEIGHBOUR}")
        destinations = [
            {**case.application.spec["destination"], "namespace": namespace}
            for namespace in namespaces
        ]
        source = {
            **case.application.spec["source"],
            "repoURL": self._bare.as_uri(),
            "path": name,
        }
        project = {**objects()["project"], "sourceRepos": [self._bare.as_uri()]}
        # Argo CD would otherwise sync again, after failures and after changes of controllers.
        policy = {
            **case.application.spec["syncPolicy"],
            "automated": {**case.application.spec["syncPolicy"]["automated"], "selfHeal": False},
            "retry": {"limit": 0},
        }
        if not case.project:
            # Argo CD would otherwise apply each namespace in a wave of its own.
            policy["syncOptions"] = ["ServerSideApply=true"]
        for namespace in namespaces:
            metadata = {"name": namespace}
            self._client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        spec = {**case.application.spec, "project": name, "syncPolicy": policy}
        for kind, content in (
            ("AppProject", {**project, "destinations": destinations}),
            ("Application", {**spec, "destination": destinations[0], "source": source}),
        ):
            metadata = {"name": name, "namespace": NAMESPACE}
            self._client.create(
                {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": content}
            )

    def _commit(self, trees: dict[str, list[Manifest]]) -> None:
        for name, manifests in trees.items():
            (self._clone / name).mkdir(exist_ok=True)
            # Without it a case with nothing but hooks would never sync.
            always = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "always"}}
            filled = [always, *(_moved(each, name) for each in manifests)] if manifests else []
            text = yaml.safe_dump_all(filled)
            (self._clone / name / "objects.yaml").write_text(text, encoding="utf-8")
        commit_all(self._clone, "All cases")
        self._head = run_git(self._clone, "rev-parse", "main")

    def _wait(self, condition: Callable[[Manifest], bool]) -> dict[str, Manifest]:
        """Return the Application of each case as of when the condition first holds."""
        ended: dict[str, Manifest] = {}

        def done() -> bool:
            # Polling without a pause would leave the API server no time for Argo CD.
            time.sleep(POLL_SECONDS)
            for application in self._client.list(API_VERSION, "Application", namespace=NAMESPACE):
                name = application["metadata"]["name"]
                if name not in ended and condition(application):
                    ended[name] = application
            return len(ended) == len(self.cases)

        try:
            wait_until(
                done,
                programs=self._argo.programs,
                seconds=WAIT_SECONDS,
                what="the cases did not end",
            )
        except StartError as error:
            left = sorted(self.cases.keys() - ended.keys())
            raise AssertionError(f"Argo CD did not finish {left}") from error
        return ended


def _moved(manifest: Manifest, case: str) -> Manifest:
    """Move an object to the case's own namespace."""
    manifest = deepcopy(manifest)
    namespace = manifest["metadata"].get("namespace")
    if namespace:
        manifest["metadata"]["namespace"] = f"{case}-{namespace}"
    return manifest


@pytest.fixture(scope="module")
def confirmation(
    assets: ControlPlaneAssets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Confirmation]:
    """Argo CD after both commits."""
    with (
        # We refresh it, so that it does not poll all cases over and over.
        argocd(assets, resync_seconds=WAIT_SECONDS) as argo,
        closing(argo.cluster.server.client()) as client,
    ):
        yield Confirmation(argo, client, tmp_path_factory.mktemp("confirmation"))


@pytest.mark.confirmation
@pytest.mark.timeout(3 * WAIT_SECONDS)
@pytest.mark.parametrize("name", [name for name in CASES if load(name).argocd])
def test_argocd_confirms_a_case(confirmation: Confirmation, name: str) -> None:
    """The rehearsal predicts what Argo CD would do; here it really does."""
    assert confirmation.verdict(name) == confirmation.cases[name].argocd


@pytest.mark.confirmation
@pytest.mark.timeout(3 * WAIT_SECONDS)
@pytest.mark.parametrize(
    "name", [name for name in CASES if load(name).argocd not in {None, "sync-fails"}]
)
def test_the_cluster_confirms_the_verdicts_of_a_case(confirmation: Confirmation, name: str) -> None:
    """Unchanged objects are not touched, and pods roll exactly where the verdict says so.

    A failing sync does not reach every judged object, so those cases are left out.
    """
    case = confirmation.cases[name]
    renamed = {f"{key.partition('/')[0]}/{old}" for key, old in case.old.items()}
    for reference, before in confirmation.before[name].items():
        key = f"{reference.kind}/{reference.name}"
        after = confirmation.after[name].get(reference)
        verdict = case.expect.get(key, "unchanged")
        if key in renamed:
            verdict = "left behind" if _stays(before) else "pruned"
        if verdict == "pruned":
            assert after is None, key
        elif verdict in {"unchanged", "left behind"}:
            assert after is not None, key
            assert _identity(after, case) == _identity(before, case), key
        if after is not None and before["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}:
            changed = before["spec"]["template"] != after["spec"]["template"]
            rolls = changed and not waits(after) and after["spec"].get("replicas") != 0
            assert rolls == (verdict == "pods roll") or verdict == "data at risk", key


def _phase(application: Manifest) -> tuple[str, str]:
    """Return the phase and the commit of the newest sync."""
    state = application.get("status", {}).get("operationState", {})
    revision = state.get("operation", {}).get("sync", {}).get("revision", "")
    return state.get("phase", ""), revision


def _stays(manifest: Manifest) -> bool:
    """Whether Argo CD never prunes an object: a hook, or one with Prune=false."""
    return "Prune=false" in sync_options(manifest) or bool(annotation(manifest, "hook"))


def _identity(live: Manifest, case: Case) -> tuple[object, ...]:
    """Return what differs if the object was replaced, or changed by anything but a controller."""
    theirs = {"volumeName"}
    if any(each["kind"] == "HorizontalPodAutoscaler" for each in case.before):
        theirs.add("replicas")
    spec = {name: value for name, value in live.get("spec", {}).items() if name not in theirs}
    return live["metadata"]["uid"], spec, live.get("data")
