"""Which object is another one under a new name."""

from delivery.manifests.renames import renames
from delivery.manifests.tree import Desired


def desired(name: str, *lines: str, kind: str = "ConfigMap", wave: str = "0") -> Desired:
    """An object that says some lines."""
    annotations = {"argocd.argoproj.io/sync-wave": wave}
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
    return Desired(manifest={**manifest, "data": {"text": "\n".join(lines)}}, file="a.yaml")


def paired(gone: list[Desired], made: list[Desired]) -> list[tuple[str, str]]:
    """The old and new names of what is found."""
    return [(old.key.name, new.key.name) for old, new in renames(gone, made)]


def test_three_of_four_lines_are_enough() -> None:
    """Who renames something often mends a little, too."""
    old, new = desired("old", "a", "b", "c", "d"), desired("new", "a", "b", "c", "e")
    assert paired([old], [new]) == [("old", "new")]


def test_two_of_three_lines_are_not() -> None:
    """Objects of one kind have much in common."""
    assert paired([desired("old", "a", "b", "c")], [desired("new", "a", "b", "d")]) == []


def test_another_kind_is_another_object() -> None:
    """Whatever it says."""
    assert paired([desired("old", "a")], [desired("new", "a", kind="Secret")]) == []


def test_a_name_in_the_content_counts_as_the_same() -> None:
    """Labels and addresses repeat it."""
    old, new = desired("old", "app: old", "host: old"), desired("new", "app: new", "host: new")
    assert paired([old], [new]) == [("old", "new")]


def test_the_metadata_does_not_count() -> None:
    """When it is applied is not what it is."""
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


def test_what_says_nothing_has_no_new_name() -> None:
    """Two empty objects are not each other."""
    assert paired([desired("old")], [desired("new")]) == []
