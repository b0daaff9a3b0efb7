"""Init container: wait until the broker answers and the topic exists.

payment-api tries the broker for about a minute only, and then refuses every transaction until it is
restarted. It also creates a missing topic, with one partition on one broker. Once this script has
succeeded, neither can happen.

Environment variables:
    KAFKA_BROKER: host:port of the broker.
    TRANSACTIONS_TOPIC: The topic.
"""

import os
import signal
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
    """Return once the topic exists; log each new reason to wait."""
    broker = os.environ["KAFKA_BROKER"]
    topic = os.environ["TRANSACTIONS_TOPIC"]
    signal.signal(signal.SIGALRM, _time_out)
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
            return
        time.sleep(POLL_SECONDS)


def _time_out(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {ATTEMPT_SECONDS} s")


if __name__ == "__main__":
    main()
