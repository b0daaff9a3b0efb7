"""Objects that only have a new name."""

from delivery.manifests.renames import renames
from delivery.manifests.tree import Desired


def desired(name: str, *lines: str, kind: str = "ConfigMap", wave: str = "0") -> Desired:
    """Return an object with some lines of text."""
    annotations = {"argocd.argoproj.io/sync-wave": wave}
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
    return Desired(manifest={**manifest, "data": {"text": "\n".join(lines)}}, file="a.yaml")


def paired(gone: list[Desired], made: list[Desired]) -> list[tuple[str, str]]:
    """Return the pairs of old and new names."""
    return [(old.key.name, new.key.name) for old, new in renames(gone, made)]


def test_three_of_four_lines_are_enough() -> None:
    """People who rename something often change a little of it, too."""
    old, new = desired("old", "a", "b", "c", "d"), desired("new", "a", "b", "c", "e")
    assert paired([old], [new]) == [("old", "new")]


def test_two_of_three_lines_are_not_enough() -> None:
    """Objects of one kind have much in common."""
    assert paired([desired("old", "a", "b", "c")], [desired("new", "a", "b", "d")]) == []


def test_another_kind_is_another_object() -> None:
    """Whatever its content."""
    assert paired([desired("old", "a")], [desired("new", "a", kind="Secret")]) == []


def test_a_name_in_the_content_counts_as_the_same() -> None:
    """Labels and addresses repeat it."""
    old, new = desired("old", "app: old", "host: old"), desired("new", "app: new", "host: new")
    assert paired([old], [new]) == [("old", "new")]


def test_the_metadata_does_not_count() -> None:
    """The sync wave of an object is not part of its content."""
    assert paired([desired("old", "a")], [desired("new", "a", wave="3")]) == [("old", "new")]


def test_each_object_is_in_one_pair_with_the_most_alike() -> None:
    """Otherwise one volume would seem to become two."""
    gone = [desired("first", "a", "b", "c", "d"), desired("second", "a", "b", "c", "e")]
    made = [desired("third", "a", "b", "c", "e"), desired("fourth", "a", "b", "c", "e")]
    assert paired(gone, made) == [("second", "fourth"), ("first", "third")]


def test_the_order_of_the_trees_does_not_matter() -> None:
    """The same two trees give the same report."""
    gone = [desired("a", "x"), desired("b", "x")]
    made = [desired("c", "x"), desired("d", "x")]
    assert paired(gone, made) == paired(gone[::-1], made[::-1]) == [("a", "c"), ("b", "d")]


def test_an_empty_object_is_never_renamed() -> None:
    """Two empty objects have nothing in common."""
    assert paired([desired("old")], [desired("new")]) == []
