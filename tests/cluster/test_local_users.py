"""What other users of this machine can reach of a throwaway control plane."""

import socket
import ssl
import subprocess
from collections.abc import Callable

import pytest
import trustme

from delivery.clusters.argocd import ArgoCd
from delivery.control_plane.assets import ControlPlaneAssets
from delivery.control_plane.programs import wait_until
from delivery_by_argocd import FirstSync

pytestmark = [pytest.mark.xdist_group("argocd-delivery"), pytest.mark.timeout(180)]

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""Start of every gRPC connection: HTTP/2's preface, and a frame SETTINGS without any."""
SETTINGS = 4


@pytest.fixture
def argo(first_sync: FirstSync) -> ArgoCd:
    """A running Argo CD."""
    return first_sync.system.argo


def arguments_of(argo: ArgoCd, name: str) -> list[str]:
    """Return the arguments of a running program, which every user can read."""
    [program] = [each for each in argo.programs if each.name == name]
    assert isinstance(program.process.args, list)
    return [str(each) for each in program.process.args[1:]]


def port_of(argo: ArgoCd) -> int:
    """Return the port of the repo-server."""
    options = arguments_of(argo, "argocd-repo-server")
    [option] = [each for each in options if each.startswith("--port=")]
    return int(option.removeprefix("--port="))


def answer_of_redis(argo: ArgoCd, *commands: str) -> list[str]:
    """Return what Redis answers to each command of one client."""
    host, _, port = arguments_of(argo, "redis")[0].partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        answers = client.makefile(encoding="utf-8")
        for words in map(str.split, commands):
            parts = [f"*{len(words)}", *(f"${len(word)}\r\n{word}" for word in words), ""]
            client.sendall("\r\n".join(parts).encode())
        return [answers.readline().strip() for _ in commands]


def is_served(port: int, context: ssl.SSLContext | None) -> bool:
    """Return whether a client gets gRPC's answer, and so could send any request."""
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        with plain if context is None else context.wrap_socket(plain) as client:
            client.sendall(HELLO)
            answer = client.recv(9)
    except (ConnectionError, ssl.SSLError):
        return False
    return len(answer) == 9 and answer[3] == SETTINGS


def trusting() -> ssl.SSLContext:
    """Make a client that accepts any server and has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def with_a_certificate_of_its_own() -> ssl.SSLContext:
    """Make a client whose certificate somebody else signed, under the same names."""
    context = trusting()
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(lambda: None, id="without TLS"),
        pytest.param(trusting, id="without a certificate"),
        pytest.param(with_a_certificate_of_its_own, id="with a foreign certificate"),
    ],
)
def test_the_repo_server_refuses_other_users(
    argo: ArgoCd, client: Callable[[], ssl.SSLContext | None]
) -> None:
    """A request names the program that renders, which runs as whoever started Argo CD."""
    assert not is_served(port_of(argo), client())


def test_the_repo_server_serves_whoever_can_read_its_folder(argo: ArgoCd) -> None:
    """Without this, the refusals would also be those of a server that is broken."""
    folder = argo.cluster.server.folder / "argocd" / "reposerver" / "tls"
    context = trusting()
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    assert is_served(port_of(argo), context)


def test_other_users_cannot_read_the_certificate(argo: ArgoCd) -> None:
    """Its key is all that the repo-server asks for."""
    assert argo.cluster.server.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("commands", [["KEYS *"], ["AUTH guessed", "KEYS *"]])
def test_redis_refuses_other_users(argo: ArgoCd, commands: list[str]) -> None:
    """Whoever changes its cache changes what Argo CD applies."""
    answers = answer_of_redis(argo, *commands)
    assert answers[-1].startswith("-NOAUTH")
    assert "+OK" not in answers


def test_argo_cd_uses_its_redis(argo: ArgoCd) -> None:
    """It would also run without, only slower and with errors in its log."""
    password = argo._environment["REDIS_PASSWORD"]  # noqa: SLF001 - nothing else may know it
    wait_until(
        lambda: answer_of_redis(argo, f"AUTH {password}", "DBSIZE")[1] not in {"", ":0"},
        programs=argo.programs,
        seconds=90,
        what="nothing was in Redis",
    )


def test_the_password_is_no_argument(argo: ArgoCd) -> None:
    """Every user can list those of all processes."""
    password = argo._environment["REDIS_PASSWORD"]  # noqa: SLF001 - nothing else may know it
    for program in argo.programs:
        assert password not in " ".join(arguments_of(argo, program.name))


def test_redis_does_not_start_without_a_password(assets: ControlPlaneAssets) -> None:
    """A forgotten variable would leave it open."""
    started = subprocess.run(
        [assets.redis, "127.0.0.1:0"],
        check=False,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode != 0
    assert "REDIS_PASSWORD is not set" in started.stderr
