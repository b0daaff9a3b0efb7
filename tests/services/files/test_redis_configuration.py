"""The settings in the configuration of Redis that matter."""

from repository import SERVICE_FILES

CONFIGURATION = SERVICE_FILES / "redis/redis.conf"


def directives() -> dict[str, str]:
    """Return each directive with its value."""
    lines = CONFIGURATION.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_every_write_is_logged() -> None:
    """Snapshots alone lose the alerts of the last minutes."""
    assert directives()["appendonly"] == "yes"
    assert directives()["appendfsync"] == "everysec"


def test_a_half_written_log_does_not_keep_it_down() -> None:
    """After a crash it starts again without a manual repair of the file."""
    assert directives()["aof-load-truncated"] == "yes"


def test_snapshots_are_kept_beside_the_log() -> None:
    """An empty value would turn them off, and a damaged log would be the only copy."""
    assert directives()["save"] != '""'


def test_a_failed_snapshot_does_not_refuse_alerts() -> None:
    """Flink only logs a refused alert; the append-only file still holds every one."""
    assert directives()["stop-writes-on-bgsave-error"] == "no"


def test_no_alert_is_evicted() -> None:
    """Any other policy deletes the list of alerts when the memory is full."""
    assert directives()["maxmemory-policy"] == "noeviction"


def test_the_size_is_left_to_the_command_line() -> None:
    """The size depends on the pod, which the construct knows."""
    assert "maxmemory" not in directives()


def test_clients_without_a_password_are_served() -> None:
    """With a configuration file, protected mode and the loopback address are the defaults."""
    assert directives()["protected-mode"] == "no"
    assert directives()["bind"] == "* -::*"


def test_all_that_is_written_goes_to_the_volume() -> None:
    """All other folders of the container are read-only; the log goes to standard output."""
    assert directives()["dir"] == "/data"
    assert directives()["logfile"] == '""'


def test_it_stays_in_the_foreground() -> None:
    """As a daemon it would leave the container without its main process."""
    assert directives()["daemonize"] == "no"


def test_a_client_that_waits_for_an_alert_is_not_closed() -> None:
    """alert-monitor blocks on an empty list for hours."""
    assert directives()["timeout"] == "0"
