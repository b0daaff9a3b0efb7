"""The fields that differ between two objects."""

from typing import Any

import pytest

from delivery.manifests.fields import MISSING, Field, differences, transition


def paths(old: Any, new: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Return the paths of the differences."""
    return [field.path for field in differences({"spec": old}, {"spec": new})]


VALUE = "Tr0ub4dor&3"
ENCODED = "VHIwdWI0ZG9yJjM="
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "some"},
    "type": "Opaque",
    "data": {"password": "b2xk"},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"password": ENCODED}},
        {"stringData": {"password": VALUE}},
        {"data": None},
        {"data": {"password": {VALUE: VALUE}}},
        {"data": {"values": [VALUE], "ports": [{"name": VALUE}]}},
        {"data": VALUE},
        {"metadata": {"annotations": {"last-applied-configuration": f'{{"a": "{ENCODED}"}}'}}},
    ],
    ids=["data", "stringData", "removed", "object", "lists", "text", "annotation"],
)
def test_no_value_of_a_secret_is_shown(fields: dict[str, Any]) -> None:
    """A report is a public comment, also where somebody put the value into the wrong place."""
    secret = {**SECRET, **fields}
    for old, new in ((SECRET, secret), (secret, SECRET), ({}, secret), (secret, {})):
        shown = str(differences(old, new))
        assert "Field" in shown
        for value in (VALUE, ENCODED, "b2xk"):
            assert value not in shown


def test_a_secret_shows_which_values_change() -> None:
    """A reviewer needs the name of the key, and whether it is new."""
    changed = {**SECRET, "data": {"password": ENCODED, "user": ENCODED}}
    assert list(map(str, differences(SECRET, changed))) == [
        "data.password: (hidden) → (hidden)",
        "data.user: unset → (hidden)",
    ]


def container(**fields: object) -> dict[str, object]:
    """Return a container named `main`."""
    return {"name": "main", **fields}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": 1}, {"a": 1}),
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"containers": [{"name": "b"}, {"name": "a"}]},
        ),
        ({"policyTypes": ["Ingress", "Egress"]}, {"policyTypes": ["Egress", "Ingress"]}),
        ({"drop": ["A", "B"]}, {"drop": ["B", "A"]}),
        (
            {"egress": [{"to": [1, 2]}, {"ports": [3]}]},
            {"egress": [{"ports": [3]}, {"to": [2, 1]}]},
        ),
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
        ({"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}}),
        ({"hard": {"pods": "10"}}, {"hard": {"pods": 10}}),
        ({"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1024Mi"}}),
        ({"limits": {"memory": "1E3"}}, {"limits": {"memory": "1k"}}),
        ({"a": None}, {}),
    ],
    ids=[
        "same",
        "names",
        "types",
        "capabilities",
        "rules",
        "cores",
        "memory",
        "count",
        "size",
        "exponent",
        "null",
    ],
)
def test_equal_meanings_are_not_a_difference(old: object, new: object) -> None:
    """A reviewer who sees meaningless differences stops looking."""
    assert paths(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ({"a": 1}, {"a": 2}, "spec.a"),
        ({"a": {"b": 1}}, {"a": {}}, "spec.a.b"),
        ({"command": ["a", "b"]}, {"command": ["b", "a"]}, "spec.command[0]"),
        ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "2"}}, "spec.limits.cpu"),
        ({"name": "1000m"}, {"name": "1"}, "spec.name"),
        ({"drop": ["A"]}, {"drop": ["B"]}, "spec.drop[A]"),
        (
            {"containers": [container(image="a")]},
            {"containers": [container(image="b")]},
            "spec.containers[main].image",
        ),
        (
            {"ports": [{"containerPort": 1}]},
            {"ports": [{"containerPort": 1, "protocol": "UDP"}]},
            "spec.ports[1].protocol",
        ),
        (
            {"initContainers": [{"name": "a"}, {"name": "b"}]},
            {"initContainers": [{"name": "b"}, {"name": "a"}]},
            "spec.initContainers in order",
        ),
        (
            {"initContainers": [{"name": "a"}, {"name": "b"}]},
            {"initContainers": [{"name": "b"}, {"name": "a", "image": "c"}]},
            "spec.initContainers in order",
        ),
        ({"ports": [{"port": 1}]}, {"ports": [{"port": 1, "endPort": 2}]}, "spec.ports[1].endPort"),
        ({"egress": [{"to": [1]}]}, {"egress": [{"to": [2]}]}, "spec.egress[]"),
        ({"rules": [{"name": {}}]}, {"rules": [{"name": []}]}, "spec.rules[0].name"),
        ({"limits": {"cpu": "1.2.3"}}, {"limits": {"cpu": "1"}}, "spec.limits.cpu"),
    ],
    ids=[
        "value",
        "gone",
        "order",
        "amount",
        "text",
        "set",
        "name",
        "port",
        "init",
        "init-and-more",
        "unnamed-port",
        "rule",
        "name-that-is-none",
        "amount-that-is-none",
    ],
)
def test_a_difference_has_a_path(old: object, new: object, path: str) -> None:
    """The names in the manifest lead to the place."""
    assert paths(old, new)[0] == path


def test_the_order_of_variables_counts_where_one_refers_to_another() -> None:
    """$(A) is the value of an earlier A, but plain text if A comes later."""
    a, b = {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}
    assert paths({"env": [a, b]}, {"env": [b, a]}) == ["spec.env in order"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ({"env": [{"name": "A"}, {"name": "B"}]}, {"env": [{"name": "B"}, {"name": "A"}]}, "env"),
        ({"drop": ["A", "B"]}, {"drop": ["B", "A"]}, "drop"),
        ({"tolerations": [{"key": "a"}, {}]}, {"tolerations": [{}, {"key": "a"}]}, "tolerations"),
    ],
    ids=["variables", "capabilities", "tolerations"],
)
def test_any_order_in_a_pod_template_counts(old: object, new: object, path: str) -> None:
    """It has no meaning, but all pods roll: a report without it says that nothing happens."""
    assert paths({"template": {"spec": old}}, {"template": {"spec": new}}) == [
        f"spec.template.spec.{path} in order"
    ]


def test_an_item_that_is_repeated_is_a_difference() -> None:
    """The pods roll, although the second toleration means nothing."""
    one = {"key": "a", "operator": "Exists"}
    assert paths({"tolerations": [one]}, {"tolerations": [one, one]}) == ["spec.tolerations[1]"]


@pytest.mark.parametrize(
    ("old", "new"),
    [({"replicas": 1}, {"replicas": True}), ({"args": [0]}, {"args": [False]})],
    ids=["field", "item"],
)
def test_a_number_is_not_a_boolean(old: object, new: object) -> None:
    """To Python 1 is true; the API server refuses `replicas: true`."""
    assert len(paths(old, new)) == 1


@pytest.mark.parametrize("key", ["limits.memory", "sizeLimit"])
def test_the_text_of_a_file_is_no_quantity(key: str) -> None:
    """A key of a ConfigMap may have dots: whoever reads the file gets another text."""
    old, new = ({"kind": "ConfigMap", "data": {key: each}} for each in ("1Gi", "1024Mi"))
    assert [field.path for field in differences(old, new)] == [f"data.{key}"]


def test_a_new_item_is_one_difference() -> None:
    """Its fields would only repeat it."""
    [field] = differences({"env": []}, {"env": [{"name": "A", "value": "1"}]})
    assert (field.path, field.old, field.new) == ("env[A]", None, {"name": "A", "value": "1"})


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (1, 2, "1 → 2"),
        (MISSING, "a", "unset → a"),
        ({"b": 1, "a": 2}, MISSING, '{"a": 2, "b": 1} → unset'),
        ("x" * 121, "y" * 120, f"{'x' * 120}… → {'y' * 120}"),
    ],
)
def test_a_transition_shows_both_values(old: object, new: object, text: str) -> None:
    """Every report writes it the same way, and a long value leaves room for the others."""
    assert transition(old, new) == text


def test_a_text_of_several_lines_is_not_repeated() -> None:
    """A script on one line is unreadable."""
    assert str(Field(path="data.run", old="a\nb", new="a\nc")) == "data.run: the text changes"
    assert str(Field(path="data.run", old=MISSING, new="a\nb")) == "data.run: unset → a\nb"
