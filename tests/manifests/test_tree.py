"""The objects that Argo CD reads from a folder, and the order in which it applies them."""

import json
import re
from pathlib import PurePosixPath

import pytest
import yaml

from delivery.manifests.documents import DocumentError
from delivery.manifests.tree import Desired, Key, TreeError, manifests, tree
from delivery.rehearsal.order import applying, pruning

FOLDER = PurePosixPath("dist/dev")


def config_map(name: str, wave: str = "0", **annotations: str) -> dict[str, object]:
    """Return a ConfigMap with a sync wave and other annotations of Argo CD."""
    found = {
        f"argocd.argoproj.io/{key.replace('_', '-')}": each for key, each in annotations.items()
    }
    found["argocd.argoproj.io/sync-wave"] = wave
    metadata = {"name": name, "namespace": "shop", "annotations": found}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def read(**files: str) -> list[str]:
    """Return the names of the objects in some files; `__` is a slash, `_` a dot."""
    paths = {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
    content = {FOLDER / path: text.encode() for path, text in paths.items()}
    return [each.key.name for each in manifests(content, FOLDER)]


def test_all_documents_of_all_files_are_read_by_name() -> None:
    """The object of the later file is applied if two have the same name."""
    two = yaml.safe_dump_all([config_map("second"), config_map("third")])
    assert read(b_yaml=two, a_yaml=yaml.safe_dump(config_map("first")) + "---\n") == [
        "first",
        "second",
        "third",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "evil.jsonnet",
        "redis.json",
        "redis.yml",
        "kustomization.yaml",
        "Kustomization",
        "Chart.yaml",
        ".argocd-source.yaml",
        ".argocd-source-fraud-detection-dev.yaml",
        "README.md",
    ],
)
def test_what_argo_cd_would_not_take_as_it_is_is_refused(name: str) -> None:
    """It runs Jsonnet, Kustomize and Helm, and obeys settings: it applies what nobody reviewed."""
    # An object, too, so that a reader who knows the suffix alone would take it for one.
    content = json.dumps(config_map("innocent")).encode()
    with pytest.raises(TreeError, match=f"^dist/dev/{re.escape(name)} is not a manifest: "):
        manifests({FOLDER / "redis.yaml": content, FOLDER / name: content}, FOLDER)


def test_a_list_is_refused() -> None:
    """Argo CD applies its items whatever its kind, and no report would name them."""
    several = {**config_map("some"), "kind": "List", "items": [config_map("hidden")]}
    with pytest.raises(TreeError, match=r"a.yaml holds a list of objects"):
        read(a_yaml=yaml.safe_dump(several))


@pytest.mark.parametrize(("text", "wave"), [("-3", -3), ("", 0), ("first", 0)])
def test_a_wave_that_is_not_a_number_is_zero(text: str, wave: int) -> None:
    """Argo CD accepts it, too."""
    assert Desired(manifest=config_map("some", text), file="").wave == wave


def test_files_that_argo_cd_does_not_read_are_left_out() -> None:
    """Our Applications do not recurse, and a marker keeps a file out."""
    text = yaml.safe_dump(config_map("some"))
    assert read(deeper__a_yaml=text, a_yaml=f"# +argocd:skip-file-rendering\n{text}") == []


@pytest.mark.parametrize("text", ["a: [", "just text", "kind: ConfigMap", "apiVersion: v1"])
def test_other_content_is_an_error_that_names_the_file(text: str) -> None:
    """Argo CD would refuse the whole folder."""
    with pytest.raises((DocumentError, TreeError), match=r"dist/dev/a\.yaml"):
        read(a_yaml=text)


def test_the_last_of_two_objects_counts() -> None:
    """As in Argo CD, which warns."""
    first, last = (Desired(manifest=config_map("some", wave), file="") for wave in ("1", "2"))
    found = tree([first, last])
    assert list(found.objects.values()) == [last]
    assert found.repeated == (last.key,)


def steps(*manifests_: dict[str, object]) -> list[str]:
    """Return the names of some objects in the order in which they are applied."""
    desired = [Desired(manifest=each, file="") for each in manifests_]
    return [step.key.name for step in sorted(map(applying, desired))]


def test_objects_are_applied_by_phase_wave_kind_and_name() -> None:
    """A refusal in one wave keeps the next ones from being applied at all."""
    service = {**config_map("service"), "kind": "Service"}
    assert steps(
        config_map("late", "2"),
        config_map("after", hook="PostSync"),
        service,
        config_map("b"),
        config_map("a"),
        config_map("early", "-1"),
        config_map("before", hook="PreSync"),
    ) == ["before", "early", "a", "b", "service", "late", "after"]


def test_objects_are_pruned_in_the_opposite_order() -> None:
    """The last one applied is the first one deleted."""
    live = {
        Key("ConfigMap", name, "shop", ""): config_map(name, wave)
        for name, wave in (("first", "0"), ("second", "1"), ("third", "5"))
    }
    assert [step.key.name for step in sorted(pruning(live))] == ["third", "second", "first"]


@pytest.mark.parametrize(
    ("annotations", "policies"),
    [({}, {"BeforeHookCreation"}), ({"hook_delete_policy": "HookFailed"}, {"HookFailed"})],
)
def test_a_hook_is_deleted_before_its_next_run_by_default(
    annotations: dict[str, str], policies: set[str]
) -> None:
    """Argo CD's default: without it the second sync would meet the first one's Job."""
    hook = Desired(manifest=config_map("some", hook="Sync", **annotations), file="")
    assert hook.delete_policies == policies
