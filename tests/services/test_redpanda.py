"""Redpanda re-forms its cluster after any restart, keeps its data, and drains before it stops."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.platform.pods import Resources
from fraud_detection.services.redpanda import SEGMENT_BYTES
from rendering import LIVE, Manifest, Manifests, container, large, small, variables
from settings import SMALL


def _stateful_set(system: Manifests) -> Manifest:
    return system.get("StatefulSet", "redpanda")


def _broker(stateful_set: Manifest) -> Manifest:
    return container(stateful_set["spec"]["template"], "redpanda")


def _flags(stateful_set: Manifest) -> dict[str, str]:
    flags = _broker(stateful_set)["command"][3:]
    return dict(flag.removeprefix("--").partition("=")[::2] for flag in flags)


def test_there_are_as_many_brokers_as_configured() -> None:
    """Three keep a majority when one is gone; a laptop runs one."""
    assert _stateful_set(small)["spec"]["replicas"] == 1
    assert _stateful_set(large)["spec"]["replicas"] == 3


def test_each_environment_has_an_odd_number_of_brokers() -> None:
    """With an even number, one more broker adds no majority that survives a loss."""
    assert [system for system in LIVE if system.environment.redpanda.brokers % 2 == 0] == []


def test_the_seeds_name_every_broker() -> None:
    """With the same full list everywhere, any broker forms or finds the same cluster."""
    assert _flags(_stateful_set(large))["seeds"].split(",") == [
        f"redpanda-{n}.redpanda-brokers:33145" for n in range(3)
    ]


def test_a_broker_advertises_its_own_name() -> None:
    """Clients must reach the one broker that leads a partition."""
    flags = _flags(_stateful_set(large))
    me = "$(POD_NAME).redpanda-brokers"
    assert flags["advertise-kafka-addr"] == f"internal://{me}:9093"
    assert flags["advertise-rpc-addr"] == f"{me}:33145"


def test_the_advertised_name_exists() -> None:
    """A pod has a DNS name only below the headless Service of its StatefulSet."""
    assert _stateful_set(small)["spec"]["serviceName"] == "redpanda-brokers"
    assert small.get("Service", "redpanda-brokers")["spec"]["clusterIP"] == "None"


def test_brokers_find_each_other_before_they_are_ready() -> None:
    """No broker becomes ready before a majority has formed."""
    assert large.get("Service", "redpanda-brokers")["spec"]["publishNotReadyAddresses"] is True
    assert _stateful_set(large)["spec"]["podManagementPolicy"] == "Parallel"


def test_clients_are_sent_to_ready_brokers_only() -> None:
    """The bootstrap Service is for clients, and a booting broker refuses them."""
    assert "publishNotReadyAddresses" not in small.get("Service", "redpanda")["spec"]


def test_it_takes_nine_tenths_of_the_pod_s_memory() -> None:
    """With all of it the kernel kills the broker; with the default reserve it does not start."""
    resources = Resources(cpu=1000, cpu_limit=1000, memory=3000)
    system = Manifests(replace(SMALL, redpanda=replace(SMALL.redpanda, resources=resources)))
    flags = _flags(system.get("StatefulSet", "redpanda"))
    assert (flags["memory"], flags["reserve-memory"]) == ("2700M", "0M")


def test_each_thread_has_two_gibibytes() -> None:
    """Below 1 GiB a broker without developer mode refuses to start; 2 GiB are recommended."""
    for system in LIVE:
        flags = _flags(_stateful_set(system))
        assert int(flags["memory"].removesuffix("M")) / int(flags["smp"]) >= 2048


def test_a_broker_with_less_than_a_core_does_not_poll() -> None:
    """A polling reactor would use up its small share."""
    assert "overprovisioned" in _flags(_stateful_set(small))
    assert "overprovisioned" not in _flags(_stateful_set(large))


def test_the_configuration_is_copied_to_where_it_may_be_rewritten() -> None:
    """Rpk rewrites redpanda.yaml at each start, and a mounted ConfigMap is read-only."""
    stateful_set = _stateful_set(small)
    copy = container(stateful_set["spec"]["template"], "copy-configuration")
    assert copy["command"][0] == "cp"
    assert copy["command"][-1] == "/etc/redpanda"
    assert {"mountPath": "/etc/redpanda", "name": "configuration"} in _broker(stateful_set)[
        "volumeMounts"
    ]


def test_the_bootstrap_configuration_is_copied_too() -> None:
    """Redpanda reads the cluster properties from it at the very first start, and never again."""
    copy = container(_stateful_set(small)["spec"]["template"], "copy-configuration")
    assert "/files/.bootstrap.yaml" in copy["command"]


def test_two_brokers_never_share_a_node() -> None:
    """Two copies on one node are one copy when the node is lost."""
    affinity = _stateful_set(large)["spec"]["template"]["spec"]["affinity"]
    assert affinity["podAntiAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "redpanda"}},
                "topologyKey": "kubernetes.io/hostname",
            }
        ]
    }


def test_three_brokers_let_a_drain_take_one() -> None:
    """Two of three brokers keep the majority."""
    budget = large.get("PodDisruptionBudget", "redpanda")["spec"]
    assert budget["maxUnavailable"] == 1


def test_a_single_broker_has_no_disruption_budget() -> None:
    """It would either block every drain or protect nothing."""
    assert small.kind("PodDisruptionBudget") == []


def test_three_brokers_hand_over_before_they_stop() -> None:
    """Maintenance mode moves the leadership away first, so clients hardly notice."""
    lifecycle = _broker(_stateful_set(large))["lifecycle"]
    assert lifecycle["preStop"]["exec"]["command"][-1].endswith("/drain.sh")
    assert lifecycle["postStart"]["exec"]["command"][-1].endswith("/undrain.sh")


def test_a_single_broker_does_not_drain() -> None:
    """The only broker has no other to hand over to, and its drain would never finish."""
    assert "lifecycle" not in _broker(_stateful_set(small))


def test_a_broker_has_time_to_hand_over() -> None:
    """The default grace period of 30 seconds would kill it halfway."""
    spec = _stateful_set(large)["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 90
    drain_seconds = int(variables(_broker(_stateful_set(large)))["DRAIN_SECONDS"])
    assert drain_seconds <= spec["terminationGracePeriodSeconds"] / 2


def test_a_broker_starts_on_any_machine() -> None:
    """The checks of rpk are made for a machine that runs nothing but Redpanda."""
    assert _flags(_stateful_set(small))["check"] == "false"


def test_a_restarted_pod_copies_its_configuration_again() -> None:
    """The copy from the first start exists already, and it is read-only."""
    copy = container(_stateful_set(small)["spec"]["template"], "copy-configuration")
    assert copy["command"][:2] == ["cp", "--force"]


def test_ready_means_that_the_broker_reports_it() -> None:
    """The readiness URL answers 200 while the broker still boots, so the probe reads the text."""
    main = _broker(_stateful_set(small))
    for probe in ("startupProbe", "readinessProbe"):
        assert main[probe]["exec"]["command"] == ["bash", "/files/ready.sh"]


@given(volume=st.integers(3, 10_000), partitions=st.integers(1, 500))
def test_full_partitions_leave_room_on_the_volume(volume: int, partitions: int) -> None:
    """A full volume stops every producer; Redpanda's default keeps seven days of any size."""
    settings = replace(SMALL.redpanda, volume=volume)
    try:
        retention = settings.retention(partitions=partitions)
    except ValueError:
        assert volume * 2**30 < 2 * 2**30 + (partitions + 1) * 4 * SEGMENT_BYTES
        return
    assert retention >= SEGMENT_BYTES
    _assert_fits(volume, partitions, retention)


def test_the_topic_fits_on_the_volumes() -> None:
    """Added up from what is rendered: any broker may have a replica of every partition."""
    for system in (small, large, *LIVE):
        pods = system.get("Deployment", "flink-jobmanager")["spec"]["template"]
        values = variables(container(pods, "ensure-topic"))
        config = dict(pair.split("=") for pair in values["TOPIC_CONFIG"].split())
        assert int(config["segment.bytes"]) == SEGMENT_BYTES
        _assert_fits(
            system.environment.redpanda.volume,
            int(values["PARTITIONS"]),
            int(config["retention.bytes"]),
        )


def _assert_fits(volume: int, partitions: int, retention: int) -> None:
    """Add up a broker's volume: data with two more files each, indexes, internal topics, spare."""
    data = partitions * (retention + 2 * SEGMENT_BYTES) * 1.1
    internal = 16 * 32 * 2**20 + 512 * 2**20
    never_filled = 2**30
    assert data + internal + never_filled <= volume * 2**30


def test_data_is_a_claim_that_nothing_deletes() -> None:
    """Neither a prune, nor a deleted Application, nor a deleted or smaller StatefulSet."""
    spec = _stateful_set(large)["spec"]
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"
    }
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
