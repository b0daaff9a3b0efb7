"""A small client of a Kubernetes API server: plain objects over one connection."""

import http.client
import json
import ssl
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from delivery.errors import DeliveryError
from delivery.manifests.manifest import Manifest

_TIMEOUT_SECONDS = 60


class ApiError(DeliveryError):
    """The API server refused a request.

    Args:
        status: The object of kind Status that it answered.
    """

    def __init__(self, status: Manifest) -> None:
        super().__init__(status.get("message", status))
        self.status = status

    @property
    def reason(self) -> str:
        """Why, in one word, such as `NotFound`, `Conflict`, `Invalid` or `Forbidden`."""
        return str(self.status.get("reason", ""))


class Reference(NamedTuple):
    """Which object.

    Attributes:
        api_version: Group and version, such as `apps/v1`.
        kind: Of the object.
        name: Of the object; empty: all of that kind.
        namespace: Where it is. Default: nowhere, or for a list: in all.
    """

    api_version: str
    kind: str
    name: str = ""
    namespace: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> "Reference":
        """Refer to what a manifest describes."""
        metadata = manifest["metadata"]
        return cls(
            manifest["apiVersion"],
            manifest["kind"],
            metadata["name"],
            metadata.get("namespace", ""),
        )


class Answer(NamedTuple):
    """What the API server answered.

    Attributes:
        body: The object.
        warnings: What it wants a person to know; in order.
    """

    body: Manifest
    warnings: tuple[str, ...]


class Client:
    """Talks to one API server; not for two threads at once.

    Args:
        url: Such as `https://127.0.0.1:6443`.
        token: Of the user.
        certificate: The file with the authority that signed the server's certificate.
    """

    def __init__(self, url: str, *, token: str, certificate: Path) -> None:
        self._connection = http.client.HTTPSConnection(
            urlsplit(url).netloc,
            timeout=_TIMEOUT_SECONDS,
            context=ssl.create_default_context(cafile=certificate),
        )
        self._token = token
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._connection.close()

    def get(self, reference: Reference) -> Manifest:
        """Read one object.

        Raises:
            ApiError: If there is none, with the reason `NotFound`.
        """
        return self.request("GET", self._path(reference)).body

    def list(
        self, api_version: str, kind: str, *, namespace: str = "", labels: str = ""
    ) -> list[Manifest]:
        """Read all objects of a kind.

        Args:
            api_version: Group and version.
            kind: Of the objects; each gets it back, as in a list the API server leaves it out.
            namespace: Where. Default: everywhere.
            labels: A label selector. Default: all.
        """
        path = self._path(Reference(api_version, kind, namespace=namespace))
        items = self.request("GET", path, {"labelSelector": labels}).body["items"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Answer:
        """Make a new object, strictly validated.

        Args:
            manifest: The object.
            dry_run: Only pretend.

        Raises:
            ApiError: If it is refused.
        """
        path = self._path(Reference.of(manifest)._replace(name=""))
        return self.request("POST", path, _options(dry_run=dry_run), manifest)

    def apply(
        self,
        manifest: Manifest,
        *,
        field_manager: str,
        force: bool = True,
        dry_run: bool = False,
    ) -> Answer:
        """Apply an object server-side, strictly validated.

        Args:
            manifest: The object, as far as the field manager cares for it.
            field_manager: Who owns these fields from now on.
            force: Whether to take fields that another manager owns.
            dry_run: Only pretend.

        Raises:
            ApiError: If it is refused, or another manager owns a field.
        """
        query = {
            **_options(dry_run=dry_run),
            "fieldManager": field_manager,
            "force": json.dumps(force),
        }
        path = self._path(Reference.of(manifest))
        return self.request("PATCH", path, query, manifest, patch="apply-patch+yaml")

    def merge(self, reference: Reference, patch: Manifest, *, subresource: str = "") -> Manifest:
        """Change some fields of an object as a JSON merge patch says.

        Args:
            reference: The object.
            patch: The fields; None removes one.
            subresource: Such as `status`. Default: the object itself.

        Raises:
            ApiError: If it is refused.
        """
        path = f"{self._path(reference)}/{subresource}".rstrip("/")
        return self.request("PATCH", path, body=patch, patch="merge-patch+json").body

    def delete(
        self, reference: Reference, *, dry_run: bool = False, propagation: str = "Background"
    ) -> None:
        """Delete an object.

        Args:
            reference: The object.
            dry_run: Only pretend.
            propagation: What becomes of what it owns: `Background`, `Foreground` or `Orphan`.

        Raises:
            ApiError: If it is refused, or there is none.
        """
        query = {**_options(dry_run=dry_run), "propagationPolicy": propagation}
        self.request("DELETE", self._path(reference), query)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        *,
        patch: str = "json",
    ) -> Answer:
        """Ask anything.

        Args:
            method: Of HTTP.
            path: From the root.
            query: Options; empty ones are left out.
            body: An object or a patch. Default: none.
            patch: The type of the body, without `application/`.

        Raises:
            ApiError: If the answer is not a success.
        """
        options = urlencode({key: value for key, value in (query or {}).items() if value})
        content = None if body is None else json.dumps(body)
        text, headers = self._send(method, f"{path}?{options}".rstrip("?"), content, patch)
        warnings = tuple(map(_warning, headers.get_all("Warning", [])))
        return Answer(json.loads(text), warnings)

    def text(self, path: str) -> str:
        """Read something that is not an object, such as `/metrics`.

        Args:
            path: From the root.

        Raises:
            ApiError: If the answer is not a success.
        """
        return self._send("GET", path)[0].decode()

    def _send(
        self, method: str, target: str, content: str | None = None, patch: str = "json"
    ) -> tuple[bytes, Message]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "Content-Type": f"application/{patch}",
        }
        try:
            self._connection.request(method, target, content, headers)
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server closes a connection that was idle for long.
            self._connection.close()
            self._connection.request(method, target, content, headers)
            response = self._connection.getresponse()
        text = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise ApiError(_status(response, text))
        return text, response.headers

    def _path(self, reference: Reference) -> str:
        resource, namespaced = self._resource(reference.api_version, reference.kind)
        parts = [_root(reference.api_version)]
        if namespaced and reference.namespace:
            parts += ["namespaces", reference.namespace]
        return "/".join([*parts, resource, reference.name]).rstrip("/")

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        """How the paths call a kind, and whether its objects live in namespaces."""
        if (api_version, kind) not in self._resources:
            # Subresources have a kind, too: that of what they take.
            self._resources |= {
                (api_version, resource["kind"]): (resource["name"], resource["namespaced"])
                for resource in self.request("GET", _root(api_version)).body["resources"]
                if "/" not in resource["name"]
            }
        try:
            return self._resources[api_version, kind]
        except KeyError:
            message = f"the API server knows no kind {kind} in {api_version}"
            raise ApiError({"reason": "NotFound", "code": 404, "message": message}) from None


def _root(api_version: str) -> str:
    return f"/{'apis' if '/' in api_version else 'api'}/{api_version}"


def _options(*, dry_run: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict", "dryRun": "All" if dry_run else ""}


def _status(response: http.client.HTTPResponse, text: bytes) -> Manifest:
    """What the API server says about a failure."""
    try:
        status: Manifest = json.loads(text)
    except ValueError:
        # Below a path that it does not know, it does not even speak JSON.
        return {
            "code": response.status,
            "reason": response.reason.replace(" ", ""),
            "message": text.decode(errors="replace").strip(),
        }
    return status


def _warning(header: str) -> str:
    """The text of an HTTP warning such as `299 - "text"`, in which quotes are escaped."""
    return str(json.loads(header.split(" ", 2)[2]))
