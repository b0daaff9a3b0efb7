"""Waiting until an API server's admission plugins know a rule; a stand-in says what they know."""

from unittest.mock import Mock, create_autospec

import pytest

from delivery.control_plane.admission import Admission
from delivery.control_plane.client import Client
from delivery.manifests.manifest import Manifest


def metrics(limit_ranges: int, quotas: int) -> str:
    """As an API server shows its metrics, with the versions of two caches."""
    versions = {"limitranges": limit_ranges, "nodes": 1, "resourcequotas": quotas}
    return "\n".join(
        [
            "# HELP informer_store_resource_version [ALPHA] The 15 least significant digits.",
            "# TYPE informer_store_resource_version gauge",
            *(
                f'informer_store_resource_version{{group="",name="kube-apiserver",'
                f'resource="{resource}",version="v1"}} {version}'
                for resource, version in versions.items()
            ),
            'apiserver_watch_cache_resource_version{group="",resource="limitranges"} 99',
        ]
    )


def client(*answers: str) -> Mock:
    """A client of an API server that has only metrics, which change from one look to the next."""
    stand_in: Mock = create_autospec(Client, instance=True)
    stand_in.text.side_effect = answers
    return stand_in


def live(kind: str, version: int) -> Manifest:
    """What the API server answers to a write."""
    return {"kind": kind, "metadata": {"name": "some", "resourceVersion": str(version)}}


def test_it_waits_until_every_rule_is_known() -> None:
    """A claim right after its LimitRange is judged by the old one, once in thirty times."""
    looks = client(metrics(5, 8), metrics(7, 8), metrics(6, 9), metrics(7, 9))
    admission = Admission(looks)
    admission.note(live("LimitRange", 7))
    admission.note(live("ResourceQuota", 9))
    admission.wait()
    assert looks.text.call_count == 4


def test_the_last_version_of_a_rule_counts() -> None:
    """A quota is written twice: first what it allows, then that nothing is used yet."""
    looks = client(metrics(1, 8), metrics(1, 9))
    admission = Admission(looks)
    admission.note(live("ResourceQuota", 8))
    admission.note(live("ResourceQuota", 9))
    admission.wait()
    assert looks.text.call_count == 2


def test_nothing_is_asked_where_no_rule_was_made() -> None:
    """Each look at the metrics takes longer than most of what a rehearsal asks."""
    looks = client()
    admission = Admission(looks)
    admission.note(live("ConfigMap", 7))
    admission.wait()
    assert not admission.is_behind


def test_a_rule_is_waited_for_once() -> None:
    """The next object need not ask again."""
    admission = Admission(client(metrics(7, 1)))
    admission.note(live("LimitRange", 7))
    assert admission.is_behind
    admission.wait()
    assert not admission.is_behind
    admission.wait()


def test_an_api_server_that_does_not_tell_gets_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.37 nobody can ask; it is nearly always a matter of milliseconds."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    admission = Admission(client("some_other_metric 1\n"))
    admission.note(live("StorageClass", 7))
    admission.wait()
    assert max(slept) >= 0.5
