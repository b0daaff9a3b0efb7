"""The real kubectl reads YAML as the corpus has it and as our reader does.

Argo CD reads with the same libraries: tests/manifests/test_documents.py compares their versions.
"""

import json
import subprocess
from collections.abc import Callable
from operator import attrgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk8s_yaml import STRINGS, places, written
from delivery.control_plane.assets import ApiServerAssets
from delivery.manifests.documents import documents
from rendering import Manifest
from yaml_corpus import Case, cases, differing, listed, listing, meanings, number, own_fields

Read = Callable[[str], list[Manifest]]

ALPHABETS = (
    "0123456789_",
    "0123456789abcdef",
    "0123456789.eE+-_",
    "01bBoO+-_",
    "01789xXaAfF+-_",
    "0123456789-:. TtZ",
    "yYeEsSnNoOfF",
    "nNuUlL~=<>/:",
)
"""What looks like a number, a date, a boolean or null to some reader of YAML."""


def is_plain(text: str) -> bool:
    """Whether a text is a plain scalar in a list, and one that JSON has."""
    return (
        text == text.strip()
        and text != "-"
        and text[0] not in ">:"
        and not text.startswith("- ")
        and not text.endswith(":")
        and ": " not in text
        and text.lower().lstrip("+-") not in {".inf", ".nan"}
    )


plain_scalars = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.text(alphabet, min_size=1, max_size=10).filter(is_plain)
)


@pytest.fixture(scope="module")
def read(api_server_assets: ApiServerAssets) -> Read:
    """Reads a file with kubectl; CalledProcessError if kubectl refuses it."""

    def documents_of(text: str) -> list[Manifest]:
        patch = ("patch", "--local", "--filename=-", "--type=merge", "--patch={}", "--output=json")
        output = subprocess.run(
            [api_server_assets.kubectl, *patch],
            # It is asked for nothing that needs a cluster, and finds none.
            env={"KUBECONFIG": "/dev/null"},
            input=text.encode(),
            capture_output=True,
            check=True,
        ).stdout.decode()
        listed_objects = output.replace("\n}\n{\n", "\n},\n{\n")
        found: list[Manifest] = json.loads(f"[{listed_objects}]", parse_int=number)
        return found

    return documents_of


def test_kubectl_reads_scalars_as_the_corpus_has_them(read: Read) -> None:
    """Or our reader follows a kubectl of the past."""
    texts, expected = zip(*meanings("scalars"), strict=True)
    assert differing(texts, listed(read(listing(texts))), expected) == []


def test_kubectl_reads_keys_as_the_corpus_has_them(read: Read) -> None:
    """Each key is converted to a string, whatever it looks like."""
    texts, expected = zip(*meanings("keys"), strict=True)
    keys = [next(iter(each)) for each in listed(read(listing(f"{text}: 0" for text in texts)))]
    assert differing(texts, keys, expected) == []


@pytest.mark.parametrize(
    "case", [*cases("documents"), *cases("refused_only_here")], ids=attrgetter("name")
)
def test_kubectl_reads_a_file_as_the_corpus_has_it(read: Read, case: Case) -> None:
    """What our reader refuses beyond kubectl, it refuses by our decision."""
    assert own_fields(read(case.yaml)) == case.documents


@pytest.mark.parametrize("case", cases("refused"), ids=attrgetter("name"))
def test_kubectl_refuses_what_the_corpus_has_as_refused(read: Read, case: Case) -> None:
    """Argo CD then syncs nothing; a reader that guesses would show a change that never comes."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        read(case.yaml)
    assert b"error parsing STDIN" in refused.value.stderr


@settings(deadline=None, max_examples=15)
@given(texts=st.lists(plain_scalars, min_size=100, max_size=100))
def test_random_scalars_mean_the_same_to_kubectl(read: Read, texts: list[str]) -> None:
    """The corpus has only what somebody thought of."""
    file = listing(texts)
    ours = listed(documents(file.encode(), "random.yaml"))
    assert differing(texts, ours, listed(read(file))) == []


@pytest.mark.parametrize("place", ["annotations", "data", "args", "env"])
def test_kubectl_reads_a_string_that_cdk8s_writes_as_that_string(read: Read, place: str) -> None:
    """In each of these places a Kubernetes object has strings alone."""
    assert places(read(written(STRINGS)))[place] == STRINGS
