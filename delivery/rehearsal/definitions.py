"""Kinds that operators bring to a real cluster, for an API server of our own."""

from collections.abc import Iterable
from functools import partial

from delivery.control_plane.client import ApiError, Client
from delivery.control_plane.programs import wait_until
from delivery.manifests.manifest import Manifest
from delivery.rehearsal.probes import FIELD_MANAGER

FOLDER = "crds"
"""The folder of the repository with the definitions of the kinds that it renders."""
_SECONDS = 60


def define(client: Client, definitions: Iterable[Manifest], rendered: Iterable[Manifest]) -> None:
    """Define the kinds that are rendered, and wait until the API server knows them.

    Raises:
        StartError: If it does not know them in time.
    """
    used = {(each["apiVersion"], each["kind"]) for each in rendered}
    for definition in definitions:
        spec = definition["spec"]
        kind = spec["names"]["kind"]
        for version in spec["versions"]:
            api_version = f"{spec['group']}/{version['name']}"
            if (api_version, kind) in used:
                client.apply(definition, field_manager=FIELD_MANAGER)
                wait_until(
                    partial(_is_served, client, api_version, kind),
                    programs=(),
                    seconds=_SECONDS,
                    what=f"the API server does not know {kind}",
                )


def _is_served(client: Client, api_version: str, kind: str) -> bool:
    try:
        client.list(api_version, kind)
    except ApiError:
        return False
    return True
