"""One connection, and the verdict on it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from delivery.network.workload import Workload


class Verdict(Enum):
    """Result of the proof for one address or permission."""

    REACHABLE = "reachable"
    BLOCKED = "blocked"
    DANGLING = "dangling"
    FOREIGN = "foreign"
    UNUSED = "unused permission"
    UNENCRYPTED = "unencrypted credentials"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One address or one permission, and the verdict on it.

    Attributes:
        client: Workload that is given the address; the policy of a permission, the name of a
            Service.
        source: Place where it is given: variable, argument, file, or the rule of a policy.
        address: The address as it is written; the port of a permission.
        servers: Names of the workloads that it leads to.
        port: Port of their pods; None if it leads nowhere.
        reason: Why; empty if it is reachable.
    """

    environment: str
    client: str
    source: str
    address: str
    servers: tuple[str, ...] = ()
    port: int | None = None
    verdict: Verdict = Verdict.REACHABLE
    reason: str = ""

    def finding(self, reason: str, verdict: Verdict = Verdict.DANGLING) -> "Connection":
        """Return it with a verdict against it."""
        return replace(self, verdict=verdict, reason=reason)


class UnreachableError(Exception):
    """An address leads nowhere, or where it must not; the message says why."""

    def __init__(self, reason: str, verdict: Verdict = Verdict.DANGLING) -> None:
        super().__init__(reason)
        self.verdict = verdict

    def judge(self, row: Connection) -> Connection:
        """Return a connection with this verdict."""
        return row.finding(str(self), self.verdict)


def given(client: Workload, source: str, address: str) -> Connection:
    """Return the connection for an address that a workload is given in some place."""
    return Connection(
        environment=client.environment, client=client.name, source=source, address=address
    )


def require_listening(workload: Workload, port: int | None, protocol: str = "TCP") -> None:
    """Raise UnreachableError unless a container of the workload lists the port."""
    if (protocol, port) not in workload.listening:
        raise UnreachableError(f"no container of {workload.name} lists the port {protocol} {port}")


def unless_listening(
    row: Connection, workload: Workload, port: int | None, protocol: str = "TCP"
) -> Iterator[Connection]:
    """Return a finding if no container of a workload lists a port."""
    try:
        require_listening(workload, port, protocol)
    except UnreachableError as error:
        yield error.judge(row)
