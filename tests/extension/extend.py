"""Edits by which a newcomer adds a service and an environment, applied to a copy of this tree."""

import re
import shutil
from pathlib import Path

_HERE = Path(__file__).parent
_CONSTRUCTS = "constructs/fraud_detection"
CALLER = "docs/application-repository/audit-log.yml"
"""The workflow that delivers it from the application repository."""
STAND_INS = "tests/runtime/images/build.py"
"""Where the runtime tests look for an image of it."""


def add_service(tree: Path) -> None:
    """Add audit-log in the four places, with its own test.

    Args:
        tree: Root of the copy.
    """
    with (tree / "images.yaml").open("a", encoding="utf-8") as images:
        images.write(
            f'\naudit-log:\n  repository: ghcr.io/mordris/audit-log\n  tag: "{"0" * 39}1"\n'
        )
    _insert(
        tree / _CONSTRUCTS / "images.py",
        after=r"    alert_monitor: Image = .*\n",
        text="    audit_log: Image = field(metadata={_TAG: COMMIT})\n",
    )
    shutil.copy2(_HERE / "audit_log.py", tree / _CONSTRUCTS / "services" / "audit_log.py")
    environments = tree / _CONSTRUCTS / "environments.py"
    imported = "from fraud_detection.services.audit_log import AuditLog"
    _insert(
        environments,
        after=r"from fraud_detection\.services\.alert_monitor import .*\n",
        text=f"{imported}Settings\n",
    )
    _insert(
        environments,
        after=r"    alert_monitor: AlertMonitorSettings\n",
        text="    audit_log: AuditLogSettings\n",
    )
    _insert(
        environments,
        after=r"    alert_monitor=AlertMonitorSettings\(.*\),\n",
        text=(
            "    audit_log=AuditLogSettings("
            "resources=Resources(cpu=50, cpu_limit=100, memory=128)),\n"
        ),
    )
    system = tree / _CONSTRUCTS / "system.py"
    _insert(
        system,
        after=r"from fraud_detection\.services\.alert_monitor import .*\n",
        text=f"{imported}\n",
    )
    _insert(
        system,
        after=r"        redpanda = Redpanda\(\n(?: {12}.*\n)*        \)\n",
        text="""\
        AuditLog(
            chart("audit-log"),
            "audit-log",
            network=network,
            image=images.audit_log,
            broker=redpanda.kafka,
            settings=environment.audit_log,
        )
""",
    )
    shutil.copy2(_HERE / "audit_log_tests.py", tree / "tests" / "services" / "test_audit_log.py")


def add_caller(tree: Path) -> None:
    """Add the workflow that builds audit-log, as a copy of another one.

    Args:
        tree: Root of the copy.
    """
    model = tree / CALLER.replace("audit-log", "alert-monitor")
    text = model.read_text(encoding="utf-8")
    for old, new in (("alert-monitor", "audit-log"), ("alert_monitor", "audit_log")):
        text = text.replace(old, new)
    (tree / CALLER).write_text(text, encoding="utf-8")


def add_stand_in(tree: Path) -> None:
    """Add an image of audit-log for the runtime tests.

    Args:
        tree: Root of the copy.
    """
    _insert(
        tree / STAND_INS,
        after=r'    "redis": Recipe\(debian=BOOKWORM, .*\n',
        text='    "audit-log": Recipe(debian=BOOKWORM, command=_uvicorn("log:app", 8090)),\n',
    )


def add_environment(tree: Path) -> None:
    """Add production behind staging, in the one place.

    Args:
        tree: Root of the copy.
    """
    environments = tree / _CONSTRUCTS / "environments.py"
    _insert(environments, after=r"from dataclasses import dataclass", text=", replace")
    text = environments.read_text(encoding="utf-8")
    chain = "ENVIRONMENTS = (DEV, STAGING"
    assert text.count(f"{chain})") == 1
    environments.write_text(
        text.replace(
            f"{chain})",
            f"""\
PRODUCTION = replace(
    STAGING,
    name="production",
    application="fraud-detection-system-production",
    branch="production",
    namespace="fraud-detection-prod",
)

{chain}, PRODUCTION)""",
        ),
        encoding="utf-8",
    )


def _insert(file: Path, *, after: str, text: str) -> None:
    """Insert a text behind each match of an anchor, of which there must be one."""
    content, count = re.subn(after, lambda match: match[0] + text, file.read_text(encoding="utf-8"))
    assert count, f"{file}: nothing matches {after!r}"
    file.write_text(content, encoding="utf-8")
