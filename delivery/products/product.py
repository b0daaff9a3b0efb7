"""The questions that generic code asks about a product."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from delivery.manifests.manifest import Manifest
from delivery.manifests.workloads import Objects
from delivery.products.versions import VersionRule


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """Discovery of a product's processes: by the leader's name, then by fixed ports.

    Every attribute is the name of a setting, or several of them.

    Attributes:
        leader: Host and port of the leader, configured on leaders and followers alike.
        served: Port on which only the leader serves people, with its default.
        own_host: Host under which a follower registers: other processes connect to it there.
        leader_ports: Ports on which followers connect to the leader.
        follower_ports: Ports on which the leader connects to followers.
        shared_ports: Ports on which followers connect to each other.
    """

    leader: str
    served: tuple[str, int]
    own_host: str
    leader_ports: Sequence[str]
    follower_ports: Sequence[str]
    shared_ports: Sequence[str]


def _nothing(*_: object) -> Iterable[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Product:
    """A program that we run. Most services need none: the generic rules apply to them.

    Attributes:
        name: Name of the product, for messages.
        image_addresses: Variables with addresses that an image reads if it runs its own command,
            by the last part of the image's name. Default: none.
        listeners: Flag that advertises a listener to clients, by the setting of the listener.
            Default: none.
        discovery: Discovery of its processes. Default: by the addresses in their settings.
        secrets: Settings, in lower case, whose value is a password, although their name does not
            show it. Default: none.
        durable_settings: Reasons why changing a setting puts stored data at risk, by the name of
            the file and the setting. Default: none.
        initial_settings: Files that only the very first start reads, each with the command that
            changes a setting later. Default: none.
        data_risks: Returns why changing an object from one manifest to another, or to none, puts
            stored data at risk. Default: never.
        remarks: Returns what else changing an object from one manifest to another means. Default:
            nothing.
        versions: Rules for the order of versions, by the last part of the image's name. Default:
            any order.
        rollout_remarks: Returns what else a rollout of a workload means, given all objects after
            the sync. Default: nothing.
    """

    name: str
    image_addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    listeners: Mapping[str, str] = field(default_factory=dict)
    discovery: Discovery | None = None
    secrets: frozenset[str] = frozenset()
    durable_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    initial_settings: Mapping[str, str] = field(default_factory=dict)
    data_risks: Callable[[Manifest, Manifest | None], Iterable[str]] = _nothing
    remarks: Callable[[Manifest, Manifest], Iterable[str]] = _nothing
    versions: Mapping[str, VersionRule] = field(default_factory=dict)
    rollout_remarks: Callable[[Manifest, Objects], Iterable[str]] = _nothing
