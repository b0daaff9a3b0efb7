"""YAML is read as Argo CD reads it; what would mislead a reader is refused, with its line."""

import json
import re
from functools import partial
from operator import attrgetter
from tempfile import gettempdir

import pytest
from cdk8s import App, Testing

from cdk8s_yaml import STRINGS, UNQUOTED, places, written
from delivery.control_plane.parts import PINS
from delivery.manifests.documents import DocumentError, documents
from fraud_detection.environments import ENVIRONMENTS, Environment
from fraud_detection.system import System
from rendering import IMAGES, Manifest
from yaml_corpus import Case, cases, differing, listed, listing, meanings, own_fields

SAME_READER = ("sigs.k8s.io/yaml", "go.yaml.in/yaml/v2")


def read(text: str) -> list[Manifest]:
    """The documents of a file."""
    return documents(text.encode(), "dist/dev/a.yaml")


def test_a_scalar_means_what_it_means_to_kubectl() -> None:
    """A reader with other rules shows a reviewer other values than the ones that are applied."""
    texts, expected = zip(*meanings("scalars"), strict=True)
    assert differing(texts, listed(read(listing(texts))), expected) == []


def test_a_key_means_what_it_means_to_kubectl() -> None:
    """The key `on` of a ConfigMap is applied as `true`, and a pod would look for `on` in vain."""
    texts, expected = zip(*meanings("keys"), strict=True)
    read_keys = [next(iter(each)) for each in listed(read(listing(f"{text}: 0" for text in texts)))]
    assert differing(texts, read_keys, expected) == []


@pytest.mark.parametrize("case", cases("documents"), ids=attrgetter("name"))
def test_a_file_means_what_it_means_to_kubectl(case: Case) -> None:
    """Separators, anchors and merge keys have rules, too, some of them surprising."""
    assert own_fields(read(case.yaml)) == case.documents


@pytest.mark.parametrize(
    "case", [*cases("refused"), *cases("refused_only_here")], ids=attrgetter("name")
)
def test_a_file_that_would_not_be_applied_as_it_reads_is_refused(case: Case) -> None:
    """In one sentence, never with a traceback: a commit with such a file can be on any branch."""
    with pytest.raises(DocumentError, match=r"^dist/dev/a\.yaml:\d+: [^\n]+$"):
        read(case.yaml)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n---\nb: 2\nb: 3\n---\nc: 4\n", "a.yaml:4: duplicate key 'b'"),
        (
            "---\n---\na: 1\n---\n\nb: [\n",
            "a.yaml:7: is not valid YAML: did not find expected node",
        ),
        ("a: 1\n---\nb: \x07\n", "a.yaml:3: is not valid YAML: control characters"),
        ("a: 1\r\n---\r\n\r\n1.5: 2\r\n", "a.yaml:4: a key has to be a string: quote it"),
        ("a: 1\n--- b\n", "a.yaml:2: is not valid YAML: only a comment may follow ---"),
        ("a: 1\n\n\r---\rb: 2\n", "a.yaml:4: text after the end of the document is ignored"),
        ("a:\n- !!int x\n", "a.yaml:2: not a valid !!int"),
        ('"\\e[2K": 1\n"\\e[2K": 2\n', r"a.yaml:2: duplicate key '\x1b[2K'"),
    ],
)
def test_a_message_names_the_line(text: str, message: str) -> None:
    """The parser counts the lines of a document, a person those of the file."""
    with pytest.raises(DocumentError, match=re.escape(message)):
        read(text)


@pytest.mark.parametrize("content", [b"a: 1\nb: \xff\n", "a: 1\n".encode("utf-16")])
def test_a_file_in_another_encoding_is_refused(content: bytes) -> None:
    """Its bytes would be read as other characters, or end the command with a traceback."""
    with pytest.raises(DocumentError, match="not UTF-8"):
        documents(content, "a.yaml")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_hostile_nesting_is_refused(opening: str) -> None:
    """The usual loaders of PyYAML end with a segmentation fault, which no handler can report."""
    with pytest.raises(DocumentError, match="nested in more than 100 levels"):
        read(f"a:\n  {opening * 100_000}")


def test_argo_cd_reads_with_the_libraries_of_kubectl() -> None:
    """The corpus is compared with kubectl, and kubectl stands in for Argo CD."""
    pins = [(PINS / name / "go.mod").read_text() for name in ("kubernetes", "argo-cd")]
    for module in SAME_READER:
        pattern = re.compile(rf"^\t{re.escape(module)} (\S+)", re.MULTILINE)
        versions = [pattern.findall(pin) for pin in pins]
        assert len(versions[0]) == 1
        assert versions[0] == versions[1]


@pytest.mark.parametrize("place", ["annotations", "data", "args", "env"])
def test_a_string_that_cdk8s_writes_is_read_as_that_string(place: str) -> None:
    """A redis.conf or an argument has to reach its pod as the constructs have it."""
    assert places(read(written(STRINGS)))[place] == STRINGS


def test_a_string_that_cdk8s_leaves_unquoted_is_read_as_the_number_that_is_applied() -> None:
    """Then the schemas refuse it; read as a string, it would fail on the cluster alone."""
    assert places(read(written([*UNQUOTED])))["args"] == [*UNQUOTED.values()]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=attrgetter("name"))
def test_a_rendered_file_is_read_as_the_constructs_have_it(environment: Environment) -> None:
    """No setting of any service is a string that cdk8s writes as something else."""
    app = App(outdir=f"{gettempdir()}/never-written")
    System(app, environment=environment, images=IMAGES)
    constructed = [manifest for chart in app.charts for manifest in Testing.synth(chart)]
    canonical = partial(json.dumps, sort_keys=True)
    assert sorted(map(canonical, read(app.synth_yaml()))) == sorted(map(canonical, constructed))
