"""Waiting until admission plugins have seen a rule; a stand-in reports what they have seen."""

from unittest.mock import Mock, create_autospec

import pytest

from delivery.control_plane import admission as module
from delivery.control_plane.admission import Admission
from delivery.control_plane.client import Client, UnreachableError
from delivery.control_plane.programs import StartError
from delivery.manifests.manifest import Manifest


def metrics(limit_ranges: int, quotas: int) -> str:
    """Return the metrics of an API server, with the versions of two caches."""
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
    """Return a client of an API server that only has metrics, which change with each request."""
    stand_in: Mock = create_autospec(Client, instance=True)
    stand_in.text.side_effect = answers
    return stand_in


def live(kind: str, version: int) -> Manifest:
    """Return the API server's answer to a write."""
    return {"kind": kind, "metadata": {"name": "some", "resourceVersion": str(version)}}


def test_it_waits_until_every_rule_is_seen() -> None:
    """One claim in thirty, right after its LimitRange, is judged by the previous one."""
    looks = client(metrics(5, 8), metrics(7, 8), metrics(6, 9), metrics(7, 9))
    admission = Admission(looks)
    admission.note(live("LimitRange", 7))
    admission.note(live("ResourceQuota", 9))
    admission.wait()
    assert looks.text.call_count == 4


def test_the_last_version_of_a_rule_counts() -> None:
    """A quota is written twice: first its spec, then its status."""
    looks = client(metrics(1, 8), metrics(1, 9))
    admission = Admission(looks)
    admission.note(live("ResourceQuota", 8))
    admission.note(live("ResourceQuota", 9))
    admission.wait()
    assert looks.text.call_count == 2


def test_nothing_is_requested_without_a_new_rule() -> None:
    """The metrics take longer than most other requests of a rehearsal."""
    looks = client()
    admission = Admission(looks)
    admission.note(live("ConfigMap", 7))
    admission.wait()
    assert not admission.is_behind


def test_a_rule_is_waited_for_once() -> None:
    """The next object must not request the metrics again."""
    admission = Admission(client(metrics(7, 1)))
    admission.note(live("LimitRange", 7))
    assert admission.is_behind
    admission.wait()
    assert not admission.is_behind
    admission.wait()


def test_an_older_api_server_gets_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.37 it has no such metric, and nearly always needs milliseconds."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    admission = Admission(client("some_other_metric 1\n"))
    admission.note(live("StorageClass", 7))
    admission.wait()
    assert max(slept) >= 0.5


def test_a_rule_of_a_kind_that_is_not_reported_yet_is_waited_for() -> None:
    """Right after the start of an API server, a plugin may not have looked at all."""
    looks = client(metrics(7, 1), metrics(7, 9).replace("resourcequotas", "storageclasss"))
    admission = Admission(looks)
    admission.note(live("StorageClass", 9))
    admission.wait()
    assert looks.text.call_count == 2


def test_a_rule_that_is_never_seen_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its store an API server reports the same for ever."""
    monkeypatch.setattr(module, "_SECONDS", 0)
    admission = Admission(client(metrics(7, 1), metrics(7, 1)))
    admission.note(live("LimitRange", 8))
    with pytest.raises(StartError, match="ignores a new LimitRange after 0 s"):
        admission.wait()


def test_a_lost_server_is_not_waited_for() -> None:
    """It will never report the rule."""
    looks = client()
    looks.text.side_effect = UnreachableError("gone")
    admission = Admission(looks)
    admission.note(live("LimitRange", 8))
    with pytest.raises(UnreachableError, match="gone"):
        admission.wait()
