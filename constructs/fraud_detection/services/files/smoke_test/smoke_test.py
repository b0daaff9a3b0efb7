"""Smoke test: one clear fraud must travel from payment-api all the way to alert-monitor.

It posts a transaction of a million and succeeds when the WebSocket of alert-monitor sends an alert
for it. Until the deadline it retries with a new transaction: a detector that has just started may
not read yet, and never sees earlier transactions. Each attempt opens a new connection, on which
alert-monitor replays its latest alerts, so that a missed alert still counts.

Environment variables:
    PAYMENT_API: host:port of payment-api.
    ALERT_MONITOR: host:port of alert-monitor.
    DEADLINE_SECONDS: When to give up. A request that is in progress then still ends by its own time
        limit, at most `REQUEST_SECONDS` later.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

ALERT_SECONDS = 15.0
"""How long to wait for an alert before posting the next transaction."""
REQUEST_SECONDS = 12.0
"""More than the 10 seconds for which payment-api itself waits for the broker."""
PAUSE_SECONDS = 2.0
"""Between a failed attempt and the next."""


class BrokenLinkError(Exception):
    """A part of the chain does not work; the message names it."""


def post_fraud(payment_api: str) -> str:
    """Post a transaction with a very unusual amount.

    Args:
        payment_api: host:port of payment-api.

    Returns:
        The unique id of the transaction.

    Raises:
        BrokenLinkError: If payment-api cannot be reached, does not answer or does not accept the
            transaction.
    """
    transaction_id = str(uuid.uuid4())
    transaction = {
        "transaction_id": transaction_id,
        # A user without a history, so that the verdict does not depend on earlier transactions.
        "user_id": f"smoke-test-{uuid.uuid4()}",
        "card_number": "0000-0000-0000-0000",
        "amount": 1_000_000,
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "merchant_id": "smoke-test",
        "location": "smoke-test",
    }
    request = Request(
        f"http://{payment_api}/transaction",
        data=json.dumps(transaction).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        urlopen(request, timeout=REQUEST_SECONDS).close()  # noqa: S310 -- always http
    except HTTPError as error:
        with error:
            reason = error.read().decode(errors="replace")
        raise BrokenLinkError(
            f"payment-api refused the transaction with status {error.code}: {reason}"
        ) from error
    except TimeoutError as error:
        # A timeout after the connection was accepted; before that it would be a URLError.
        raise BrokenLinkError(
            f"payment-api at {payment_api} did not answer in {REQUEST_SECONDS:g} s; it may be "
            "waiting for Redpanda"
        ) from error
    except (OSError, HTTPException) as error:
        raise BrokenLinkError(f"payment-api at {payment_api} is unreachable: {error}") from error
    return transaction_id


def await_alert(websocket: Connection, transactions: Sequence[str], seconds: float) -> str | None:
    """Read alerts until one of them is for one of the transactions.

    Args:
        websocket: The connection on which alert-monitor sends alerts, as JSON with the id.
        transactions: The ids of the transactions.
        seconds: The time limit.

    Returns:
        The id of the transaction, or None if no alert for any of them came in time.
    """
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            alert = str(websocket.recv(timeout=max(0.0, give_up_at - time.monotonic())))
        except TimeoutError:
            return None
        for transaction in transactions:
            if transaction in alert:
                return transaction


def attempt(payment_api: str, alert_monitor: str, posted: list[str], deadline: float) -> str:
    """Post one more transaction and wait for an alert for any of those posted so far.

    Args:
        payment_api: host:port of payment-api.
        alert_monitor: host:port of alert-monitor.
        posted: The ids of the transactions of earlier attempts; the new one is appended.
        deadline: When to stop waiting at the latest, on the clock of `time.monotonic`.

    Returns:
        The id of the transaction that caused an alert.

    Raises:
        BrokenLinkError: If a part of the chain does not work, or no alert came in time.
    """
    try:
        with connect(f"ws://{alert_monitor}/ws", open_timeout=REQUEST_SECONDS) as websocket:
            posted.append(post_fraud(payment_api))
            seconds = min(ALERT_SECONDS, deadline - time.monotonic())
            transaction = await_alert(websocket, posted, seconds)
    except (OSError, WebSocketException) as error:
        raise BrokenLinkError(
            f"alert-monitor at {alert_monitor} is unreachable: {error}"
        ) from error
    if transaction is None:
        raise BrokenLinkError(
            f"payment-api accepted {len(posted)} transactions, but alert-monitor showed no alert "
            "for any of them; the fault is in Redpanda, Flink or Redis"
        )
    return transaction


def main() -> None:
    """Retry until an alert comes or the deadline passes.

    Raises:
        SystemExit: If no alert came; the message names the broken link of the chain.
    """
    payment_api = os.environ["PAYMENT_API"]
    alert_monitor = os.environ["ALERT_MONITOR"]
    seconds = float(os.environ["DEADLINE_SECONDS"])
    start = time.monotonic()
    posted: list[str] = []
    while True:
        try:
            transaction = attempt(payment_api, alert_monitor, posted, start + seconds)
        except BrokenLinkError as error:  # noqa: PERF203 -- each round is an attempt
            if time.monotonic() + PAUSE_SECONDS >= start + seconds:
                sys.exit(f"The smoke test failed after {seconds:g} s: {error}")
            print(f"Not yet: {error}", flush=True)
            time.sleep(PAUSE_SECONDS)
        else:
            print(f"The alert for {transaction} came after {time.monotonic() - start:.1f} s.")
            return


if __name__ == "__main__":
    main()
