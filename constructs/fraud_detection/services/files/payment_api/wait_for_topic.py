"""Wait until the broker answers and the topic exists; then become the server.

payment-api tries the broker for about a minute only, and then refuses every transaction until it is
restarted. It also creates a missing topic, with one partition on one broker. Once this script has
waited, neither can happen. It is not an init container, as these are not repeated when the
container is restarted.

The arguments are the command of the server.

Environment variables:
    KAFKA_BROKER: host:port of the broker.
    TRANSACTIONS_TOPIC: The topic.
"""

import os
import signal
import sys
import time
from types import FrameType

import kafka  # type: ignore[import-not-found] # only payment-api's image has it
from kafka.errors import KafkaError  # type: ignore[import-not-found] # as above

POLL_SECONDS = 2
ATTEMPT_SECONDS = 20
"""Some calls of the client wait for ever when the broker disappears meanwhile."""


def list_topics(broker: str) -> set[str]:
    """List all topics of the broker.

    A request for one topic could create it, on a broker that creates topics automatically.

    Args:
        broker: host:port of the broker.

    Raises:
        KafkaError: If the broker does not answer.
        OSError: If it cannot be reached, or does not answer within `ATTEMPT_SECONDS`.
    """
    signal.alarm(ATTEMPT_SECONDS)
    try:
        consumer = kafka.KafkaConsumer(bootstrap_servers=[broker])
        try:
            return set(consumer.topics())
        finally:
            consumer.close()
    finally:
        signal.alarm(0)


def main() -> None:
    """Start the server once the topic exists; log each new reason to wait."""
    broker = os.environ["KAFKA_BROKER"]
    topic = os.environ["TRANSACTIONS_TOPIC"]
    signal.signal(signal.SIGALRM, _time_out)
    # The first process of a container otherwise ignores the signal.
    signal.signal(signal.SIGTERM, _stop)
    state = ""
    while True:
        try:
            found = topic in list_topics(broker)
            now = f"The topic {topic} " + ("exists." if found else "does not exist yet.")
        except (KafkaError, OSError) as error:
            found = False
            now = f"The broker {broker} does not answer yet: {error!r}"
        if now != state:
            print(now, flush=True)
            state = now
        if found:
            os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 -- the program of the image
        time.sleep(POLL_SECONDS)


def _time_out(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {ATTEMPT_SECONDS} s")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(1)


if __name__ == "__main__":
    main()
