"""Redpanda finds itself after any restart, keeps its data, and leaves a node politely."""

from dataclasses import replace

from fraud_detection.environments import DEV
from fraud_detection.platform.pods import Resources
from rendering import Manifest, container, dev, render, staging, variables


def _stateful_set(environment: str) -> Manifest:
    return (dev() if environment == "dev" else staging()).get("StatefulSet", "redpanda")


def _broker(stateful_set: Manifest) -> Manifest:
    return container(stateful_set["spec"]["template"], "redpanda")


def _flags(stateful_set: Manifest) -> dict[str, str]:
    flags = _broker(stateful_set)["command"][3:]
    return dict(flag.removeprefix("--").partition("=")[::2] for flag in flags)


def test_dev_runs_one_broker_and_staging_three() -> None:
    """Three keep a majority when one is gone; a laptop is spared two of them."""
    assert _stateful_set("dev")["spec"]["replicas"] == 1
    assert _stateful_set("staging")["spec"]["replicas"] == 3


def test_the_seeds_name_every_broker() -> None:
    """With the same full list everywhere, any broker forms or finds the same cluster."""
    assert _flags(_stateful_set("staging"))["seeds"].split(",") == [
        f"redpanda-{n}.redpanda-brokers:33145" for n in range(3)
    ]


def test_a_broker_advertises_its_own_name() -> None:
    """Clients are sent to the broker that leads a partition, not to any of them."""
    flags = _flags(_stateful_set("staging"))
    me = "$(POD_NAME).redpanda-brokers"
    assert flags["advertise-kafka-addr"] == f"internal://{me}:9093"
    assert flags["advertise-rpc-addr"] == f"{me}:33145"


def test_the_advertised_name_exists() -> None:
    """A pod has a name of its own only below its StatefulSet's headless Service."""
    assert _stateful_set("dev")["spec"]["serviceName"] == "redpanda-brokers"
    assert dev().get("Service", "redpanda-brokers")["spec"]["clusterIP"] == "None"


def test_brokers_find_each_other_before_they_are_ready() -> None:
    """None becomes ready before a majority has met."""
    assert staging().get("Service", "redpanda-brokers")["spec"]["publishNotReadyAddresses"] is True
    assert _stateful_set("staging")["spec"]["podManagementPolicy"] == "Parallel"


def test_clients_are_sent_to_ready_brokers_only() -> None:
    """The bootstrap Service is for clients, and a booting broker refuses them."""
    assert "publishNotReadyAddresses" not in dev().get("Service", "redpanda")["spec"]


def test_it_takes_nine_tenths_of_the_pods_memory() -> None:
    """All of it, and the kernel kills the broker; the default reserve, and it does not start."""
    resources = Resources(cpu=1000, cpu_limit=1000, memory=3000)
    system = render(replace(DEV, redpanda=replace(DEV.redpanda, resources=resources)))
    flags = _flags(system.get("StatefulSet", "redpanda"))
    assert (flags["memory"], flags["reserve-memory"]) == ("2700M", "0M")


def test_each_thread_has_two_gibibytes() -> None:
    """Below 1 GiB a broker without developer mode refuses to start; 2 GiB are recommended."""
    for environment in ("dev", "staging"):
        flags = _flags(_stateful_set(environment))
        assert int(flags["memory"].removesuffix("M")) / int(flags["smp"]) >= 2048


def test_less_than_a_core_does_not_spin() -> None:
    """A reactor that polls would burn the little it has."""
    assert "overprovisioned" in _flags(_stateful_set("dev"))
    assert "overprovisioned" not in _flags(_stateful_set("staging"))


def test_the_configuration_is_copied_to_where_it_may_be_rewritten() -> None:
    """Rpk rewrites redpanda.yaml at each start, and a mounted ConfigMap is read-only."""
    stateful_set = _stateful_set("dev")
    copy = container(stateful_set["spec"]["template"], "copy-configuration")
    assert copy["command"][0] == "cp"
    assert copy["command"][-1] == "/etc/redpanda"
    assert {"mountPath": "/etc/redpanda", "name": "configuration"} in _broker(stateful_set)[
        "volumeMounts"
    ]


def test_the_bootstrap_configuration_comes_along() -> None:
    """Cluster properties are read from it at the very first start, and never again."""
    copy = container(_stateful_set("dev")["spec"]["template"], "copy-configuration")
    assert "/files/.bootstrap.yaml" in copy["command"]


def test_two_brokers_never_share_a_node() -> None:
    """Two copies on one node are one copy when the node is lost."""
    affinity = _stateful_set("staging")["spec"]["template"]["spec"]["affinity"]
    assert affinity["podAntiAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "redpanda"}},
                "topologyKey": "kubernetes.io/hostname",
            }
        ]
    }


def test_three_brokers_let_a_drain_take_one() -> None:
    """Two of three keep the majority; of two none could go."""
    budget = staging().get("PodDisruptionBudget", "redpanda")["spec"]
    assert budget["maxUnavailable"] == 1


def test_a_single_broker_has_no_disruption_budget() -> None:
    """It would either block every drain or protect nothing."""
    assert dev().kind("PodDisruptionBudget") == []


def test_three_brokers_hand_over_before_they_stop() -> None:
    """Maintenance mode moves the leadership away first, so clients hardly notice."""
    lifecycle = _broker(_stateful_set("staging"))["lifecycle"]
    assert lifecycle["preStop"]["exec"]["command"][-1].endswith("/drain.sh")
    assert lifecycle["postStart"]["exec"]["command"][-1].endswith("/undrain.sh")


def test_a_single_broker_has_nobody_to_hand_over_to() -> None:
    """The drain of the only broker would never finish."""
    assert "lifecycle" not in _broker(_stateful_set("dev"))


def test_a_broker_has_time_to_hand_over() -> None:
    """The default of 30 seconds would kill it in the middle."""
    spec = _stateful_set("staging")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 90
    drain_seconds = int(variables(_broker(_stateful_set("staging")))["DRAIN_SECONDS"])
    assert drain_seconds <= spec["terminationGracePeriodSeconds"] / 2


def test_a_broker_starts_on_any_machine() -> None:
    """The checks of rpk compare the node with a machine that runs nothing but Redpanda."""
    assert _flags(_stateful_set("dev"))["check"] == "false"


def test_a_restarted_pod_takes_its_configuration_again() -> None:
    """The copy of the first start is there already, and not writable by its mode."""
    copy = container(_stateful_set("dev")["spec"]["template"], "copy-configuration")
    assert copy["command"][:2] == ["cp", "--force"]


def test_ready_means_that_the_broker_says_so() -> None:
    """Its readiness URL answers 200 while it still boots: the text must be read."""
    main = _broker(_stateful_set("dev"))
    for probe in ("startupProbe", "readinessProbe"):
        assert main[probe]["exec"]["command"] == ["bash", "/files/ready.sh"]


def test_data_is_a_claim_that_nothing_deletes() -> None:
    """Neither a prune, nor a deleted Application, nor a deleted or smaller StatefulSet."""
    spec = _stateful_set("staging")["spec"]
    [claim] = spec["volumeClaimTemplates"]
    assert claim["metadata"]["annotations"] == {
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"
    }
    assert spec["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
