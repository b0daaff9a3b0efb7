"""Questions to a container registry, through the HTTP API of the OCI distribution specification.

Only what everybody may pull is found: there are no credentials here, just the anonymous token that
a registry hands out.
"""

import concurrent.futures
import hashlib
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit

from delivery.errors import DeliveryError

_T = TypeVar("_T")

LIMIT = 60.0
"""Seconds for the whole answer to a question, however many requests it takes."""
_SILENCE = 10.0
"""Seconds without a byte after which a connection is given up."""
_LARGEST = 4 * 1024 * 1024
"""Bytes: the largest manifest that the specification wants registries to take."""
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Where a registry is whose name in images is not its address."""
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_SECONDS = re.compile("[0-9]{1,5}")
_NEXT_PAGE = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class RegistryError(DeliveryError):
    """A registry does not answer a question; the message says which, why and what to do."""


def digest_of(repository: str, tag: str, *, limit: float = LIMIT) -> str:
    """Return the digest that a tag means now, of all platforms together if there are several.

    Args:
        repository: Registry and path, such as `docker.io/library/redis`.
        tag: The tag.
        limit: Seconds after which to give up. Default: a minute.

    Raises:
        RegistryError: If there is no such image, or the registry does not answer.
    """

    def ask(session: _Session) -> str:
        answer = session.get(f"manifests/{tag}", accept=", ".join(_MANIFESTS))
        kind = answer.headers.get_content_type()
        if kind not in _MANIFESTS:
            raise session.error(f"the answer is {kind}, not an image: check the address")
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if answer.headers.get("Docker-Content-Digest", digest) != digest:
            raise session.error("the registry sent another image than it announced: do not use it")
        return digest

    return _within(limit, f"{repository}:{tag}", ask)


def tags_of(repository: str, *, limit: float = LIMIT) -> list[str]:
    """Return all tags of a repository.

    Args:
        repository: Registry and path, such as `docker.io/library/redis`.
        limit: Seconds after which to give up. Default: a minute.

    Raises:
        RegistryError: If there is no such repository, or the registry does not answer.
    """

    def ask(session: _Session) -> list[str]:
        tags: list[str] = []
        page: str | None = "tags/list?n=1000"
        while page is not None:
            answer = session.get(page, accept="application/json")
            match _parsed(answer.body):
                case {"tags": list(found)} if all(isinstance(tag, str) for tag in found):
                    tags += found
                case _:
                    raise session.error("the answer is not a list of tags: check the address")
            link = _NEXT_PAGE.search(answer.headers.get("Link", ""))
            page = link and link[1]
        return tags

    return _within(limit, repository, ask)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    headers: Message
    body: bytes = b""


class _Session:
    """The requests that answer one question.

    Args:
        subject: Repository, and `:` with a tag if the question is about one.
        deadline: When to send no further request, on the monotonic clock.
    """

    def __init__(self, subject: str, deadline: float) -> None:
        self._subject = subject
        self._deadline = deadline
        host, _, rest = subject.partition("/")
        self._path = rest.partition(":")[0]
        scheme = "http" if host.startswith("127.0.0.1:") else "https"
        self._base = f"{scheme}://{_HOSTS.get(host, host)}/v2/{self._path}/"
        self._token: str | None = None

    def get(self, address: str, *, accept: str) -> _Answer:
        """Return the answer to a request.

        Args:
            address: Relative to the repository.
            accept: The media types that are understood.

        Raises:
            RegistryError: If the registry does not answer, or refuses.
        """
        url = urljoin(self._base, address)
        # A token must not follow a link out of the registry that has issued it.
        if not url.startswith(self._base):
            raise self.error("the next page is not in this repository: check the address")
        answer = self._patiently(url, accept)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._token = self._anonymous(answer.headers.get("WWW-Authenticate", ""))
            answer = self._patiently(url, accept)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self.error(f"the registry fails with HTTP {answer.status}: try again later")
        if answer.status != HTTPStatus.OK:
            raise self.error(
                f"the registry refuses with HTTP {answer.status}: "
                "check the name, and that nobody needs a login to pull it"
            )
        return answer

    def error(self, problem: str) -> RegistryError:
        """Return an error that names the subject."""
        return RegistryError(f"{self._subject}: {problem}.")

    def _anonymous(self, challenge: str) -> str:
        """Return the anonymous token that the registry's challenge leads to."""
        scheme, _, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in parameters:
            raise self.error("the registry wants a login: ask only for public images")
        query = {"scope": f"repository:{self._path}:pull"}
        query |= {key: value for key, value in parameters.items() if key in {"service", "scope"}}
        answer = self._patiently(f"{parameters['realm']}?{urlencode(query)}", "application/json")
        match _parsed(answer.body):
            case {"token": str(token)} | {"access_token": str(token)}:
                return token
        raise self.error(
            f"the registry gives no token (HTTP {answer.status}): ask only for public images"
        )

    def _patiently(self, url: str, accept: str) -> _Answer:
        """Return the answer to a request, after the pauses that the server asks for."""
        while True:
            answer = self._once(url, accept)
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                return answer
            pause = answer.headers.get("Retry-After", "")
            if not _SECONDS.fullmatch(pause) or time.monotonic() + int(pause) > self._deadline:
                raise self.error("the registry gets too many requests: try again later")
            time.sleep(int(pause))

    def _once(self, url: str, accept: str) -> _Answer:
        try:
            request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - our opener knows http and https only
            if self._token is not None:
                # Not sent to where a redirect leads.
                request.add_unredirected_header("Authorization", f"Bearer {self._token}")
            with _OPENER.open(request, timeout=_SILENCE) as response:
                return self._read(response)
        except HTTPError as response:
            with response:
                return _Answer(status=response.code, headers=response.headers)
        # A ValueError is an address or a token that no request can hold.
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise self.error(f"the registry does not answer ({reason}): try again later") from error

    def _read(self, response: HTTPResponse) -> _Answer:
        body = response.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise self.error("the answer exceeds 4 MiB: check the address")
        if response.headers.get("Content-Length", str(len(body))) != str(len(body)):
            raise self.error("the answer ended early: try again later")
        return _Answer(status=response.status, headers=response.headers, body=body)


class _LoopbackOnly(urllib.request.HTTPHandler):
    """Unencrypted requests, which never leave this machine; redirects included."""

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Send a request."""
        if urlsplit(request.full_url).hostname != "127.0.0.1":
            raise URLError(f"{request.full_url} is not encrypted")
        return super().http_open(request)


def _opener() -> urllib.request.OpenerDirector:
    # Unlike that of `build_opener`, it reads no files, wherever a registry may point.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPSHandler,
        _LoopbackOnly,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - whatever a server sends
    try:
        return json.loads(body)
    except (RecursionError, ValueError):
        return None


def _within(limit: float, subject: str, ask: Callable[[_Session], _T]) -> _T:
    """Return the answer to a question, or give up.

    A thread waits for the server, because no timeout of a socket ends a server that sends a byte
    now and then. It ends with the connection, or with the process.
    """
    session = _Session(subject, time.monotonic() + limit)
    answer: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def work() -> None:
        try:
            answer.set_result(ask(session))
        except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(limit)
    except concurrent.futures.TimeoutError as error:
        raise session.error(
            f"the registry has not answered within {limit:g} seconds: try again later"
        ) from error
