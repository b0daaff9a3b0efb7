"""Downloads of the control plane: only what has its sum gets in, and no fault costs more than one.

The mirror is a web server on loopback.
"""

import socket
import ssl
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from subprocess import Popen

import pytest
import trustme
from rich.console import Console

from delivery.control_plane import fetch as module
from delivery.control_plane.cache import Cache
from delivery.control_plane.fetch import fetch
from delivery.control_plane.parts import API_SERVER, PARTS, Part
from mirrors import LARGE, Mirror, content, mirror, part_named, proxy, write_mirror

pytestmark = pytest.mark.slow

KUBECTL = part_named("kubectl")

Start = Callable[..., Popen[str]]
Take = Callable[..., list[Part]]


@pytest.fixture
def take(machine: Path, console: Console) -> Take:
    """Takes parts from an address, and returns what the cache then lacks."""
    del machine
    Cache.of_pins().folder.mkdir(parents=True)

    def take(address: str, *parts: Part) -> list[Part]:
        cache = Cache.of_pins()
        fetch(parts, address, cache, console)
        return cache.lacking(parts)

    return take


@pytest.fixture
def large(served: Mirror) -> Mirror:
    """A mirror whose kubectl takes more than one packet."""
    write_mirror(served.folder, {"kubectl": LARGE})
    return served


def partial_file() -> Path:
    """Return where the unfinished download of kubectl is kept."""
    return Cache.of_pins().folder / f".partial-{KUBECTL.packed()}"


def keep_partial(data: bytes) -> None:
    """Pretend that an earlier run was killed in the middle of kubectl."""
    partial_file().write_bytes(data)


def packed(served: Mirror) -> bytes:
    """Return the compressed kubectl."""
    return (served.folder / KUBECTL.packed()).read_bytes()


def test_everything_is_taken(take: Take, served: Mirror) -> None:
    """No Go is needed for any of it."""
    assert take(served.url, *PARTS) == []
    folder = Cache.of_pins().folder
    assert {part: (folder / part.name).read_bytes() for part in PARTS} == {
        part: content(part) for part in PARTS
    }


def test_programs_can_be_run(take: Take, served: Mirror) -> None:
    """A download has no mode."""
    take(served.url, KUBECTL)
    assert (Cache.of_pins().folder / "kubectl").stat().st_mode & 0o777 == 0o755


def test_a_folder_is_a_mirror(take: Take, served: Mirror) -> None:
    """Such as a disk that all machines mount."""
    assert take(served.folder.as_uri(), *PARTS) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (404, "HTTP 404"),
        (500, "HTTP 500"),
        ("truncated", "the file ends early"),
        ("silent", "silent in the middle of a file"),
    ],
)
def test_a_fault_costs_one_part_and_one_sentence(
    take: Take,
    large: Mirror,
    output: StringIO,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fault: int | str,
    reason: str,
) -> None:
    """The next source is asked for just that."""
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    large.faults["kubectl"] = fault
    assert take(large.url, *API_SERVER) == [KUBECTL]
    [line] = [line for line in output.getvalue().splitlines() if "kubectl" in line]
    assert line == f"{large.url}: {reason} (kubectl): trying the next source"


def test_a_wrong_sum_never_gets_in(take: Take, served: Mirror, output: StringIO) -> None:
    """A mirror may be attacked, or hold what another version of zstd has packed."""
    (served.folder / KUBECTL.packed()).write_bytes(b"something else")
    assert take(served.url, *API_SERVER) == [KUBECTL]
    assert f"{served.url}: wrong SHA-256 sum (kubectl): trying" in output.getvalue()
    assert not (Cache.of_pins().folder / "kubectl").exists()
    assert not partial_file().exists()


def test_a_file_that_is_missing_in_a_folder_is_named(
    take: Take, served: Mirror, output: StringIO
) -> None:
    """It is no reason to doubt the others."""
    (served.folder / KUBECTL.packed()).unlink()
    assert take(served.folder.as_uri(), *API_SERVER) == [KUBECTL]
    assert ": no such file (kubectl): trying the next source" in output.getvalue()


def test_one_reason_is_one_sentence(take: Take, served: Mirror, output: StringIO) -> None:
    """Twenty sentences would hide what comes after them."""
    served.faults = dict.fromkeys(("etcd", "kubectl"), 500)
    take(served.url, *API_SERVER)
    [line] = [line for line in output.getvalue().splitlines() if "500" in line]
    assert "etcd" in line
    assert "kubectl" in line


def test_a_source_that_does_not_answer_is_asked_once(
    take: Take, monkeypatch: pytest.MonkeyPatch, output: StringIO
) -> None:
    """Its silence would be waited for with every part."""
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert take(address, *PARTS) == list(PARTS)
        # 0.5 s with each of the twenty.
        assert time.monotonic() - started < 8
    [line] = output.getvalue().splitlines()
    assert "no answer (timed out) (" in line
    assert f", {len(PARTS) - 3} more): trying the next source" in line


def test_a_refused_connection_is_named(take: Take, output: StringIO) -> None:
    """The usual reason is a wrong port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert take(f"http://127.0.0.1:{port}", KUBECTL) == [KUBECTL]
    assert "Connection refused" in output.getvalue()


def test_an_address_that_is_none_is_named(take: Take, output: StringIO) -> None:
    """As typed into CONTROL_PLANE_MIRROR."""
    assert take("htp://somewhere", KUBECTL) == [KUBECTL]
    assert "htp" in output.getvalue()


def test_a_broken_connection_goes_on_where_it_was(take: Take, large: Mirror) -> None:
    """52 MB over a bad network would never arrive otherwise."""
    large.faults["kubectl"] = "drops"
    assert take(large.url, KUBECTL) == []
    assert large.requests == [("kubectl", 0), ("kubectl", len(packed(large)) // 2)]


@pytest.mark.parametrize("fault", ["none", "ignores ranges"])
def test_a_download_is_resumed(take: Take, large: Mirror, fault: str) -> None:
    """A run that was killed leaves a part; not every server can start in the middle."""
    large.faults["kubectl"] = fault
    keep_partial(packed(large)[:1000])
    assert take(large.url, KUBECTL) == []
    assert large.requests == [("kubectl", 1000)]
    assert not partial_file().exists()


def test_a_complete_download_is_not_repeated(take: Take, large: Mirror) -> None:
    """The run was killed just before it unpacked it."""
    keep_partial(packed(large))
    assert take(large.url, KUBECTL) == []
    assert large.requests == [("kubectl", len(packed(large)))]


@pytest.mark.parametrize("length", [1000, 1_000_000])
def test_what_another_source_began_is_begun_again(take: Take, large: Mirror, length: int) -> None:
    """Its bytes may be wrong, and then every source would seem to be."""
    keep_partial(b"x" * length)
    assert take(large.url, KUBECTL) == []
    assert large.requests == [("kubectl", length), ("kubectl", 0)]


def test_a_source_that_drips_is_given_up(
    take: Take, large: Mirror, output: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte ends the silence, so that no timeout of a socket does."""
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_SLOWEST", 1 << 50)
    assert take(large.url, KUBECTL) == [KUBECTL]
    assert "too slow (kubectl)" in output.getvalue()


def test_a_slow_source_is_waited_for(
    take: Take, large: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's network is slower than this one."""
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_SLOWEST", 0)
    assert take(large.url, KUBECTL) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error_of_this_machine(take: Take, served: Mirror) -> None:
    """The next source, or a build, would fill it no less."""
    partial_file().symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        take(served.url, KUBECTL)


def test_downloads_run_side_by_side(take: Take, served: Mirror) -> None:
    """One connection alone rarely gets all of a network."""
    served.faults = dict.fromkeys(("etcd", "kube-apiserver"), "held")
    served.faults["kubectl"] = "releases"
    assert take(served.url, *API_SERVER) == []


def test_a_proxy_leads_to_an_encrypted_mirror(
    take: Take, served: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HTTPS_PROXY is the only way out of many a company's network."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mirror.test").configure_cert(context)
    with mirror(served.folder, context=context) as encrypted:
        port = int(encrypted.url.rpartition(":")[2])
        with proxy(port) as (address, hosts):
            monkeypatch.setenv("HTTPS_PROXY", address)
            assert take("https://mirror.test", *API_SERVER) == []
    assert set(hosts) == {"mirror.test:443"}


def test_a_terminal_shows_how_far_it_is(take: Take, served: Mirror) -> None:
    """Somebody is waiting for it."""
    del take
    text = StringIO()
    terminal = Console(file=text, force_terminal=True, width=100)
    fetch([KUBECTL], served.url, Cache.of_pins(), terminal)
    assert "bytes" in text.getvalue()


def wait_for_partial(size: int) -> None:
    """Wait until a part of kubectl is on the disk."""
    deadline = time.monotonic() + 60
    while not partial_file().exists() or partial_file().stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_download_is_resumed(large: Mirror, start: Start) -> None:
    """Whatever ended it: nothing that arrived is asked for again."""
    large.faults["kubectl"] = "held"
    process = start()
    wait_for_partial(1000)
    process.kill()
    process.communicate()
    arrived = partial_file().stat().st_size
    del large.faults["kubectl"]
    output, _ = start().communicate()
    assert f"kubectl: from {large.url}\n" in output
    assert [each for each in large.requests if each[0] == "kubectl"][1:] == [("kubectl", arrived)]
    assert Cache.of_pins().lacking(PARTS) == []


def test_an_interrupted_download_ends_at_once(large: Mirror, start: Start) -> None:
    """Although more arrives all the time."""
    large.faults["kubectl"] = "endless"
    process = start()
    wait_for_partial(1000)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == "Interrupted."


def test_two_runs_at_once_take_everything_once(large: Mirror, start: Start) -> None:
    """Two clones may start at the same time."""
    large.faults["kubectl"] = "held"
    first = start()
    wait_for_partial(1000)
    second = start()
    assert second.stdout is not None
    assert second.stdout.readline().startswith("another run is getting the control plane")
    large.release.set()
    assert [first.wait(), second.wait()] == [0, 0]
    assert large.asked_for() == sorted(part.name for part in PARTS)
