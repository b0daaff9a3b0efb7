"""A small client for a Kubernetes API server: plain objects over one connection."""

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from delivery.errors import DeliveryError
from delivery.manifests.manifest import Manifest

_TIMEOUT_SECONDS = 60
_OVERLOADED = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""The answers of an API server that has lost its store, for example: they refuse nothing."""
_CONFLICTS = 5
_SHORTEST_PAUSE_SECONDS = 0.1
_DROPPED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""The errors of a connection that the server closes after it was idle for long."""


class UnreachableError(DeliveryError, ConnectionError):
    """The API server does not answer, or not as an API server does."""


class ApiError(DeliveryError):
    """The API server answered that a request failed.

    Args:
        status: The object of kind Status in its answer.
    """

    def __init__(self, status: Manifest) -> None:
        super().__init__(status.get("message", status))
        self.status = status

    @property
    def reason(self) -> str:
        """The reason in one word, such as `NotFound`, `Conflict`, `Invalid` or `Forbidden`."""
        return str(self.status.get("reason", ""))


class Reference(NamedTuple):
    """The address of an object, or of all objects of a kind.

    Attributes:
        api_version: Group and version, such as `apps/v1`.
        kind: Kind of the object.
        name: Name of the object. Default: all objects of the kind.
        namespace: Namespace of the object. Default: none; for a list, all of them.
    """

    api_version: str
    kind: str
    name: str = ""
    namespace: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> "Reference":
        """Return the address of the object that a manifest describes."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "")
        return cls(manifest["apiVersion"], manifest["kind"], metadata["name"], namespace)


class Resource(NamedTuple):
    """A kind as the API server serves it, with its name in paths, such as `deployments`."""

    name: str
    namespaced: bool


class Answer(NamedTuple):
    """An object from the API server, with its warnings for a person."""

    body: Manifest
    warnings: tuple[str, ...]


class Client:
    """A client for one API server; not safe for use by two threads at once.

    Every method raises ApiError if the server refuses a request, with the reason `NotFound` if an
    object or its kind does not exist, and UnreachableError if the server does not answer within a
    minute. It repeats what the server asks it to repeat, as after a start or under load.

    Args:
        url: Address, such as `https://127.0.0.1:6443`.
        token: Bearer token of the user.
        certificate: File with the authority that signed the server's certificate.
    """

    def __init__(self, url: str, *, token: str, certificate: Path) -> None:
        self._url = url
        self._connection = http.client.HTTPSConnection(
            urlsplit(url).netloc,
            timeout=_TIMEOUT_SECONDS,
            context=ssl.create_default_context(cafile=certificate),
        )
        self._token = token
        self._resources: dict[tuple[str, str], Resource] = {}

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._connection.close()

    def get(self, reference: Reference) -> Manifest:
        """Read one object."""
        return self.request("GET", self._path(reference)).body

    def list(
        self, api_version: str, kind: str, *, namespace: str = "", labels: str = ""
    ) -> list[Manifest]:
        """Read all objects of a kind.

        Args:
            api_version: Group and version.
            kind: Kind of the objects. Each carries it, although a list of the API omits it.
            namespace: Namespace. Default: all.
            labels: Label selector. Default: everything.
        """
        path = self._path(Reference(api_version, kind, namespace=namespace))
        items = self.request("GET", path, {"labelSelector": labels}).body["items"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Answer:
        """Create an object, strictly validated; a dry run admits it, but stores nothing."""
        path = self._path(Reference.of(manifest)._replace(name=""))
        return self.request("POST", path, _options(dry_run=dry_run), manifest)

    def apply(
        self, manifest: Manifest, *, field_manager: str, force: bool = True, dry_run: bool = False
    ) -> Answer:
        """Apply an object server-side, strictly validated.

        Args:
            manifest: The fields of the object that the field manager sets.
            field_manager: Owner of these fields from now on.
            force: Whether to take over fields that another manager owns; else they are a conflict.
            dry_run: Validate and admit it, but store nothing.
        """
        query = {"fieldManager": field_manager, "force": json.dumps(force)}
        query |= _options(dry_run=dry_run)
        path = self._path(Reference.of(manifest))
        return self.request("PATCH", path, query, manifest, patch="apply-patch+yaml")

    def merge(self, reference: Reference, patch: Manifest, *, subresource: str = "") -> Manifest:
        """Change an object, or a subresource such as `status`, by a JSON merge patch."""
        path = f"{self._path(reference)}/{subresource}".rstrip("/")
        return self.request("PATCH", path, body=patch, patch="merge-patch+json").body

    def delete(
        self, reference: Reference, *, dry_run: bool = False, propagation: str = "Background"
    ) -> None:
        """Delete an object; `propagation` is Kubernetes' policy for the objects that it owns."""
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
        """Send a request.

        Args:
            method: HTTP method.
            path: Path from the root.
            query: Query parameters; empty ones are omitted.
            body: Object or patch. Default: none.
            patch: Media type of the body, without `application/`.
        """
        options = urlencode({key: value for key, value in (query or {}).items() if value})
        content = None if body is None else json.dumps(body)
        text, headers = self._send(method, f"{path}?{options}".rstrip("?"), content, patch)
        warnings = tuple(map(_warning, headers.get_all("Warning", [])))
        try:
            return Answer(json.loads(text), warnings)
        except ValueError as error:
            raise UnreachableError(f"{self._url} is not a Kubernetes API server.") from error

    def text(self, path: str) -> str:
        """Read plain text from a path such as `/metrics`."""
        return self._send("GET", path)[0].decode()

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """Look up how the API server serves a kind; None if it does not."""
        if (api_version, kind) not in self._resources:
            try:
                served = self.request("GET", _root(api_version)).body["resources"]
            except ApiError as error:
                if error.reason != "NotFound":
                    raise
                return None
            # A subresource has a kind, too: the kind of its body.
            self._resources |= {
                (api_version, each["kind"]): Resource(each["name"], each["namespaced"])
                for each in served
                if "/" not in each["name"]
            }
        return self._resources.get((api_version, kind))

    def _send(
        self, method: str, target: str, content: str | None = None, patch: str = "json"
    ) -> tuple[bytes, Message]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "Content-Type": f"application/{patch}",
        }
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        for attempt in count():
            response, text = self._exchange(method, target, content, headers)
            if response.status < HTTPStatus.BAD_REQUEST:
                return text, response.headers
            refusal = ApiError(_status(response, text))
            pause = _pause(response, refusal, attempt)
            if pause is None or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
        raise self._unreachable(refusal) if response.status in _OVERLOADED else refusal

    def _exchange(
        self, method: str, target: str, content: str | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            try:
                response = self._respond(method, target, content, headers)
            except _DROPPED:
                self._connection.close()
                response = self._respond(method, target, content, headers)
            return response, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(" ".join(str(error).split()) or repr(error)) from error

    def _unreachable(self, reason: object) -> UnreachableError:
        return UnreachableError(f"The API server at {self._url} does not answer: {reason}.")

    def _respond(
        self, method: str, target: str, content: str | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._connection.request(method, target, content, headers)
        return self._connection.getresponse()

    def _path(self, reference: Reference) -> str:
        resource = self.resource(reference.api_version, reference.kind)
        if resource is None:
            message = f"the API server knows no kind {reference.kind} in {reference.api_version}"
            raise ApiError({"reason": "NotFound", "code": 404, "message": message})
        parts = [_root(reference.api_version)]
        if resource.namespaced and reference.namespace:
            parts += ["namespaces", reference.namespace]
        return "/".join([*parts, resource.name, reference.name]).rstrip("/")


def _root(api_version: str) -> str:
    return f"/{'apis' if '/' in api_version else 'api'}/{api_version}"


def _options(*, dry_run: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict", "dryRun": "All" if dry_run else ""}


def _pause(response: http.client.HTTPResponse, refusal: ApiError, attempt: int) -> float | None:
    """Return the seconds after which the same request may succeed; None if it never will."""
    seconds = response.headers.get("Retry-After", "")
    if seconds.isdecimal():
        return max(float(seconds), _SHORTEST_PAUSE_SECONDS)
    # Of two writes at once one is not made. Another manager's field is a cause, and stays one.
    causes = refusal.status.get("details", {}).get("causes")
    if refusal.reason == "Conflict" and not causes and attempt < _CONFLICTS:
        return _SHORTEST_PAUSE_SECONDS
    return None


def _status(response: http.client.HTTPResponse, text: bytes) -> Manifest:
    """Return the Status of a failure."""
    try:
        status: Manifest = json.loads(text)
    except ValueError:
        # Under a path that it does not know, the API server answers in plain text.
        return {
            "code": response.status,
            "reason": response.reason.replace(" ", ""),
            "message": text.decode(errors="replace").strip(),
        }
    return status


def _warning(header: str) -> str:
    """Return the text of an HTTP warning such as `299 - "text"`, in which quotes are escaped."""
    return str(json.loads(header.split(" ", 2)[2]))
