"""The changes of an environment since a commit, and of a live object."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import remotes
from delivery.git import GitError
from delivery.manifests.applications import Environment
from delivery.manifests.diff import (
    Difference,
    Verb,
    as_json,
    as_markdown,
    as_text,
    changes,
    describe,
)
from delivery.manifests.tree import TreeError
from remotes import run_git

Objects = list[dict[str, Any]]
DEV = Environment(application="system", spec={"source": {"path": "dist/dev"}}, project={})


def deployment(name: str = "api", **spec: object) -> dict[str, Any]:
    """Return a Deployment with a container."""
    container = {"name": "main", "image": "r.test/api:1.0.0", "command": ["run", "fast"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}, **spec},
    }


def config_map(text: str) -> dict[str, Any]:
    """Return a ConfigMap with a file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "files"},
        "data": {"run.sh": text},
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return an empty repository."""
    run_git(tmp_path, "init", "--quiet")
    return tmp_path


def compare(repository: Path, old: Objects, new: Objects) -> list[Difference]:
    """Return the changes from a commit to the working tree."""
    file = repository / "dist" / "dev" / "api.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("\n---\n".join(map(json.dumps, old)), encoding="utf-8")
    commit = remotes.commit(repository, "Old")
    file.write_text("\n---\n".join(map(json.dumps, new)), encoding="utf-8")
    return changes(repository, commit, DEV)


def test_nothing_changes(repository: Path) -> None:
    """Neither the order nor the layout of a file is a change."""
    files = [deployment("a"), deployment("b")]
    assert compare(repository, files, files[::-1]) == []


def test_an_added_resource(repository: Path) -> None:
    """All of it is new: its name is enough."""
    [change] = compare(repository, [deployment()], [deployment(), config_map("a")])
    assert (change.verb, change.kind, change.name) == (Verb.ADDED, "ConfigMap", "files")


def test_a_removed_resource(repository: Path) -> None:
    """A reviewer must not overlook it."""
    [change] = compare(repository, [deployment(), config_map("a")], [deployment()])
    assert change.title == "removed ConfigMap/files"


def test_a_renamed_resource(repository: Path) -> None:
    """It is one resource, not two."""
    [change] = compare(repository, [deployment("old")], [deployment("new")])
    assert change.title == "renamed Deployment/new (was old)"


def test_a_changed_field(repository: Path) -> None:
    """By its path, with both values."""
    found = compare(repository, [deployment()], [deployment(replicas=2)])
    text = click.unstyle(as_text(found))
    assert text == "dev/api: changed Deployment/api\n    spec.replicas: 1 → 2"


def test_a_removal_is_red_on_a_terminal(repository: Path) -> None:
    """It must not be overlooked."""
    found = compare(repository, [deployment(), config_map("a")], [deployment()])
    assert as_text(found) == click.style("dev/api: removed ConfigMap/files", fg="red")


def test_an_image_is_shown_by_its_tags(repository: Path) -> None:
    """The repository seldom changes, and people know a commit by its first digits."""
    old, new = deployment(), deployment()
    images = [f"r.test/api:{'a' * 40}", f"r.test/api:{'b' * 40}"]
    for each, image in zip((old, new), images, strict=True):
        each["spec"]["template"]["spec"]["containers"][0]["image"] = image
    found = compare(repository, [old], [new])
    path = "spec.template.spec.containers[main].image"
    assert f"{path}: api {'a' * 12} → {'b' * 12}" in as_text(found)


def test_a_registry_may_have_a_port(repository: Path) -> None:
    """Its colon does not start the tag."""
    old, new = deployment(), deployment()
    for each, tag in ((old, "1.0.0"), (new, "2.0.0")):
        each["spec"]["template"]["spec"]["containers"][0]["image"] = f"r.test:5000/api:{tag}"
    assert ".image: api 1.0.0 → 2.0.0" in as_text(compare(repository, [old], [new]))


def test_an_image_hides_no_other_field_in_the_table(repository: Path) -> None:
    """A release that also changes a setting is more than a release."""
    new = deployment(replicas=2)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "r.test/api:2.0.0"
    assert "| api 1.0.0 → 2.0.0; 1 |" in as_markdown(compare(repository, [deployment()], [new]))


@pytest.mark.parametrize("base", ["nowhere", "", "HEAD:dist"])
def test_an_unknown_commit_is_an_error(repository: Path, base: str) -> None:
    """The message repeats its name, which may be misspelt."""
    remotes.commit(repository, "Old")
    with pytest.raises(GitError, match=f"no commit '{base}' here; fetch it first"):
        changes(repository, base, DEV)


def test_outside_of_a_repository_git_s_own_message_is_shown(tmp_path: Path) -> None:
    """The advice to fetch would not help there."""
    with pytest.raises(GitError, match="not a git repository"):
        changes(tmp_path, "main", DEV)


def test_a_machine_without_git_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, not a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="no git on the PATH"):
        changes(tmp_path, "main", DEV)


def test_an_option_is_not_a_commit(repository: Path) -> None:
    """Git would write the file that this option names."""
    compare(repository, [deployment()], [deployment()])
    with pytest.raises(GitError, match="no commit"):
        changes(repository, "--output=written", DEV)
    assert not (repository / "written").exists()


def test_a_text_is_shown_by_its_lines(repository: Path) -> None:
    """One line of a long script differs."""
    lines = [f"line {number}\n" for number in range(50)]
    new = [*lines[:25], "changed\n", *lines[26:]]
    found = as_text(compare(repository, [config_map("".join(lines))], [config_map("".join(new))]))
    assert "    -line 25\n    +changed\n" in found
    assert "line 10" not in found


@pytest.mark.parametrize("new", ["a\r\nb\r\n", "a\nb"], ids=["carriage-returns", "last-line"])
def test_line_ends_are_shown(repository: Path, new: str) -> None:
    """A script with other line ends may not start; a path without a line would explain nothing."""
    found = as_text(compare(repository, [config_map("a\nb\n")], [config_map(new)]))
    lines = click.unstyle(found).splitlines()
    assert lines[1:] == ["    data.run.sh: only line ends change"]


def test_a_checksum_is_explained(repository: Path) -> None:
    """64 hexadecimal digits mean nothing to a reviewer."""
    old, new = deployment(), deployment()
    for each, checksum in ((old, "a"), (new, "b")):
        template = each["spec"]["template"]
        template["metadata"] = {"annotations": {"checksum/files": checksum}}
    assert "pods roll: the files that they mount changed" in as_text(
        compare(repository, [old], [new])
    )


def test_markdown_is_a_table_with_details(repository: Path) -> None:
    """The table is read, the details are looked up."""
    text = as_markdown(compare(repository, [deployment()], [deployment(replicas=2)]))
    assert "| dev | api | changed Deployment/api | 1 |" in text
    assert "<details><summary>dev/api</summary>" in text
    assert "spec.replicas: 1 → 2" in text


def test_markdown_of_a_thousand_changes_fits(repository: Path) -> None:
    """GitHub takes 65,536 characters."""
    old = [deployment(f"api-{number}") for number in range(1000)]
    new = [deployment(f"api-{number}", replicas=2) for number in range(1000)]
    text = as_markdown(compare(repository, old, new))
    assert len(text) < 65_536
    assert "900 rows omitted for length" in text


def test_json_has_every_field(repository: Path) -> None:
    """A program shortens nothing."""
    [found] = json.loads(as_json(compare(repository, [deployment()], [deployment(replicas=2)])))
    assert found == {
        "environment": "dev",
        "file": "api",
        "change": "changed",
        "kind": "Deployment",
        "name": "api",
        "oldName": None,
        "fields": [{"path": "spec.replicas", "old": 1, "new": 2}],
    }


def test_an_environment_that_lost_its_manifests_is_an_error(repository: Path) -> None:
    """It would look like an environment in which everything is removed on purpose."""
    with pytest.raises(TreeError, match="dist/dev has no manifests"):
        compare(repository, [deployment()], [])


def test_a_new_environment_is_all_added(repository: Path) -> None:
    """The base of the change that adds it does not have it yet."""
    (repository / "dist").mkdir()
    (repository / "dist" / "README").touch()
    base = remotes.commit(repository, "Old")
    file = repository / "dist" / "dev" / "api.yaml"
    file.parent.mkdir()
    file.write_text(json.dumps(deployment()), encoding="utf-8")
    assert [change.title for change in changes(repository, base, DEV)] == ["added Deployment/api"]


def live(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a ConfigMap as the API server stores it, with more fields."""
    metadata = {"name": "api", "uid": str(fields), "resourceVersion": str(fields)}
    return {"kind": "ConfigMap", "metadata": metadata, **fields}


def test_a_live_object_is_described_without_what_the_server_sets() -> None:
    """Every update has another resourceVersion."""
    assert describe(live(data={"a": "1"}), live(data={"a": "2"})) == ("data.a: 1 → 2",)


def test_a_secret_is_described_without_its_values() -> None:
    """The report is a public comment."""
    before, after = (live(kind="Secret", data={"a": each}) for each in ("1", "2"))
    assert describe(before, after) == ("data.a: (hidden) → (hidden)",)


@pytest.mark.parametrize("form", [as_text, as_markdown, as_json])
def test_a_secret_in_dist_is_compared_without_its_values(
    repository: Path, form: Callable[[list[Difference]], str]
) -> None:
    """Whoever commits one should learn it from the review, not from the comment on GitHub."""
    metadata = {"name": "some", "annotations": {"last-applied-configuration": "first"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    old = {**secret, "data": {"a": "b2xk", "b": "Zmlyc3Q="}, "stringData": {"c": "first"}}
    new = {**secret, "data": {"a": "bmV3", "b": "c2Vjb25k\nYQ=="}, "stringData": {"c": "2nd"}}
    text = form(compare(repository, [old], [new]))
    assert "data.a" in text
    for value in ("b2xk", "bmV3", "Zmlyc3Q", "c2Vjb25k", "first", "2nd"):
        assert value not in text


def test_an_update_that_means_nothing_is_described_as_such() -> None:
    """The API server counts it as a change, so that no line at all would look like a fault."""
    before, after = (live(policyTypes=each) for each in (["a", "b"], ["b", "a"]))
    [line] = describe(before, after)
    assert line == "only the order of lists or the notation of quantities changes"
