"""The settings in the configuration files of the brokers that matter."""

from typing import Any

from ruamel.yaml import YAML

from repository import SERVICE_FILES

FILES = SERVICE_FILES / "redpanda"


def load(name: str) -> dict[str, Any]:
    """Return one of the files, parsed."""
    content: dict[str, Any] = YAML(typ="safe").load(FILES / name)
    return content


def test_developer_mode_is_off() -> None:
    """With it rpk starts brokers that lose acknowledged writes in a crash."""
    assert load("redpanda.yaml")["redpanda"]["developer_mode"] is False


def test_an_empty_disk_does_not_found_a_cluster() -> None:
    """A broker that lost its volume would split off instead of rejoining the others."""
    assert load("redpanda.yaml")["redpanda"]["empty_seed_starts_cluster"] is False


def test_a_broker_gets_its_id_from_the_cluster() -> None:
    """All brokers share the file: an id in it would be the same for all."""
    assert "node_id" not in load("redpanda.yaml")["redpanda"]


def test_only_the_needed_services_listen() -> None:
    """The HTTP proxy and the schema registry start as soon as their section exists."""
    assert load("redpanda.yaml").keys() == {"redpanda", "rpk"}


def test_other_pods_reach_every_listener() -> None:
    """The defaults listen on the loopback address only, where neither peers nor clients are."""
    node = load("redpanda.yaml")["redpanda"]
    assert node["kafka_api"] == [{"name": "internal", "address": "0.0.0.0", "port": 9093}]  # noqa: S104 -- a pod's own address
    assert node["rpc_server"] == {"address": "0.0.0.0", "port": 33145}  # noqa: S104 -- as above
    assert node["admin"] == [{"address": "0.0.0.0", "port": 9644}]  # noqa: S104 -- as above


def test_nothing_is_tuned() -> None:
    """A tuner writes to the kernel of the node, which a restricted pod must not do."""
    rpk = load("redpanda.yaml")["rpk"]
    assert not any(value for key, value in rpk.items() if key.startswith("tune_"))


def test_clients_cannot_create_topics() -> None:
    """A topic that a client creates as a side effect has one partition and one replica."""
    assert load(".bootstrap.yaml")["auto_create_topics_enabled"] is False


def test_no_telemetry_is_sent() -> None:
    """It is on by default, and the NetworkPolicies would only make it fail noisily."""
    assert load(".bootstrap.yaml")["enable_metrics_reporter"] is False


def test_a_small_volume_can_be_filled() -> None:
    """The default blocks producers as soon as less than 5 GiB are free."""
    assert load(".bootstrap.yaml")["storage_min_free_bytes"] == 2**30


def test_nothing_needs_a_licence() -> None:
    """Such features work for 30 days on trial and are then restricted."""
    cluster = load(".bootstrap.yaml")
    assert cluster["cloud_storage_enabled"] is False
    assert cluster["partition_autobalancing_mode"] == "node_add"
