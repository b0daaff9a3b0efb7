"""Questions to a registry: every answer is checked, and none is waited for without a limit."""

from collections.abc import Iterator

import pytest

import registry
from delivery.releases.registry import RegistryError, digest_of, tags_of
from registry import Fault, StandIn

PATH = "library/redis"
TAG = "7.2.16-bookworm"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A registry with an image, for which anybody gets a token."""
    with registry.serve() as server:
        server.push(PATH, TAG)
        yield server


@pytest.fixture
def open_registry() -> Iterator[StandIn]:
    """A registry with the same image, which wants no token."""
    with registry.serve(tokens=False) as server:
        server.push(PATH, TAG)
        yield server


def ask(stand_in: StandIn, *, limit: float = 60) -> str:
    """Ask for the digest of the image."""
    return digest_of(f"{stand_in.address}/{PATH}", TAG, limit=limit)


def test_a_tag_has_the_digest_of_its_manifest(stand_in: StandIn) -> None:
    """What a runtime pulls by digest is exactly what was found here."""
    digest = stand_in.push(PATH, TAG, content='{"schemaVersion": 2}')
    assert ask(stand_in) == digest


def test_a_tag_for_several_platforms_has_the_digest_of_its_index(stand_in: StandIn) -> None:
    """That of one platform would start on no node of another."""
    digest = stand_in.push(PATH, TAG, content='{"manifests": []}', kind=registry.INDEX)
    assert ask(stand_in) == digest


def test_a_token_is_for_one_repository(stand_in: StandIn) -> None:
    """The registry that counts most, Docker Hub, answers nobody without one."""
    ask(stand_in)
    manifest = f"/v2/{PATH}/manifests/{TAG}"
    token = f"/token?scope=repository%3A{PATH.replace('/', '%2F')}%3Apull&service=stand-in"
    assert stand_in.asked == [manifest, token, manifest]


def test_a_registry_without_tokens_is_asked_once(open_registry: StandIn) -> None:
    """A mirror inside a company, for example."""
    ask(open_registry)
    assert open_registry.asked == [f"/v2/{PATH}/manifests/{TAG}"]


def test_all_pages_of_tags_are_read(stand_in: StandIn) -> None:
    """Registries cap a page as they like, and the newest version may be on the last."""
    tags = [f"7.2.{patch}" for patch in range(2 * registry.PAGE + 1)]
    for tag in tags:
        stand_in.push("library/paged", tag)
    assert tags_of(f"{stand_in.address}/library/paged") == tags


def test_a_pause_that_a_registry_asks_for_is_kept(stand_in: StandIn) -> None:
    """It lifts its own limit a moment later."""
    stand_in.faults.append(registry.refuse(429, Retry_After="0"))
    assert ask(stand_in)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (registry.refuse(429, Retry_After="3600"), "gets too many requests: try again later"),
        (registry.refuse(429), "gets too many requests: try again later"),
        (registry.refuse(429, Retry_After="-1"), "gets too many requests: try again later"),
        (registry.refuse(429, Retry_After="1" * 5000), "gets too many requests: try again later"),
        (registry.refuse(500), "fails with HTTP 500: try again later"),
        (registry.refuse(401), "wants a login: ask only for public images"),
        (registry.refuse(401, WWW_Authenticate="Basic realm=a"), "wants a login"),
        (registry.refuse(401, WWW_Authenticate="Bearer realm=, , =, a"), "wants a login"),
        (registry.refuse(403), "refuses with HTTP 403: check the name, and that nobody needs a"),
        (registry.refuse(307, Location="http://registry.example/"), "example/ is not encrypted"),
        (registry.refuse(307, Location="file:///etc/hostname"), "refuses with HTTP 307"),
        (
            registry.refuse(401, WWW_Authenticate='Bearer realm="file:///etc/hostname"'),
            "does not answer .unknown url type: file",
        ),
        (
            registry.refuse(401, WWW_Authenticate='Bearer realm="http://auth.example/"'),
            "auth.example/.* is not encrypted",
        ),
        (registry.reply("{}", Content_Length="3"), "the answer ended early"),
        (registry.reply("x" * (4 * 1024 * 1024 + 1)), "the answer exceeds 4 MiB"),
        (registry.reply("<p>", Content_Type="text/html"), "the answer is text/html, not an image"),
        (registry.reply("{}", Docker_Content_Digest="sha256:0"), "another image than it announced"),
        (registry.hang_up, "does not answer .*closed connection"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error(
    open_registry: StandIn, fault: Fault, problem: str
) -> None:
    """Nothing of it may end in images.yaml, and the sentence says what to do."""
    open_registry.faults.append(fault)
    with pytest.raises(RegistryError, match=rf"^127\.0\.0\.1:\d+/{PATH}:{TAG}: .*{problem}"):
        ask(open_registry)


@pytest.mark.parametrize(
    "fault", [registry.stall, registry.drip_headers, registry.drip_body], ids=lambda f: f.__name__
)
def test_a_registry_that_never_ends_its_answer_is_given_up(stand_in: StandIn, fault: Fault) -> None:
    """A byte now and then keeps every timeout of a socket from ending."""
    stand_in.faults.append(fault)
    with pytest.raises(RegistryError, match=r"has not answered within 0\.3 seconds: try again"):
        ask(stand_in, limit=0.3)


def test_a_registry_that_nobody_runs_is_an_error() -> None:
    """Or the network is down."""
    with pytest.raises(RegistryError, match=r"does not answer .*refused\): try again later"):
        digest_of("127.0.0.1:1/library/redis", TAG)


def test_an_unknown_tag_is_an_error(stand_in: StandIn) -> None:
    """A typing error in images.yaml."""
    with pytest.raises(RegistryError, match=r"redis:8\.0\.0: .* HTTP 404: check the name"):
        digest_of(f"{stand_in.address}/{PATH}", "8.0.0")


@pytest.mark.parametrize("body", ["", "[1]", '{"token": 1}', "{}", "[" * 100_000])
def test_an_answer_without_a_token_is_an_error(open_registry: StandIn, body: str) -> None:
    """A private image, for which there is no anonymous token."""
    realm = f'Bearer realm="http://{open_registry.address}/auth"'
    open_registry.faults.append(registry.refuse(401, WWW_Authenticate=realm))
    open_registry.faults.append(registry.reply(body))
    with pytest.raises(RegistryError, match=r"gives no token \(HTTP 200\): ask only for public"):
        ask(open_registry)


def test_a_token_may_have_its_other_name(open_registry: StandIn) -> None:
    """OAuth 2.0 calls it so."""
    realm = f'Bearer realm="http://{open_registry.address}/auth"'
    open_registry.faults.append(registry.refuse(401, WWW_Authenticate=realm))
    open_registry.faults.append(registry.reply('{"access_token": "abc"}'))
    ask(open_registry)
    assert open_registry.tokens == [None, None, "Bearer abc"]


def test_a_token_that_does_not_fit_into_a_request_is_an_error(open_registry: StandIn) -> None:
    """It would add a header of the registry's choice."""
    realm = f'Bearer realm="http://{open_registry.address}/auth"'
    open_registry.faults.append(registry.refuse(401, WWW_Authenticate=realm))
    open_registry.faults.append(registry.reply('{"token": "a\\r\\nb"}'))
    with pytest.raises(RegistryError, match=r"does not answer \(Invalid header value"):
        ask(open_registry)


def test_a_token_that_is_refused_is_an_error(stand_in: StandIn) -> None:
    """Asking for another one would never end."""
    stand_in.faults.append(registry.refuse(401, WWW_Authenticate="Bearer realm=unused"))
    with pytest.raises(RegistryError, match="HTTP 401"):
        ask(stand_in)


def test_a_redirect_is_followed_without_the_token(
    stand_in: StandIn, open_registry: StandIn
) -> None:
    """Some registries send everybody to the nearest storage, which must not learn the token."""
    address = f"http://{open_registry.address}/v2/{PATH}/manifests/{TAG}"
    stand_in.faults.append(registry.refuse(307, Location=address))
    assert ask(stand_in)
    assert open_registry.tokens == [None]


def test_only_loopback_is_asked_without_tls(open_registry: StandIn) -> None:
    """Whoever is on the way could answer in the registry's place."""
    port = open_registry.server_port
    with pytest.raises(RegistryError, match="does not answer"):
        digest_of(f"localhost:{port}/{PATH}", TAG)
    assert open_registry.asked == []


@pytest.mark.parametrize("body", ["", "[]", '{"tags": null}', '{"tags": [7.2]}'])
def test_a_list_of_tags_is_checked(stand_in: StandIn, body: str) -> None:
    """Half a list could hide the newest version."""
    stand_in.faults.append(registry.reply(body))
    with pytest.raises(RegistryError, match="the answer is not a list of tags"):
        tags_of(f"{stand_in.address}/{PATH}")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/v2/library/redis/", "/v2/other/tags/list"])
def test_pages_stay_in_the_repository(stand_in: StandIn, address: str) -> None:
    """The tags of another one would be taken for versions of this one."""
    stand_in.faults.append(registry.reply('{"tags": []}', Link=f'<{address}>; rel="next"'))
    with pytest.raises(RegistryError, match="the next page is not in this repository"):
        tags_of(f"{stand_in.address}/{PATH}")
