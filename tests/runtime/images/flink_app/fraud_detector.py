"""A stand-in for the Flink job, with the application's variables, source, sink and way of failing.

Its state is visible: each alert tells how many transactions of its user came before and what their
mean was. So a test sees whether a restart resumed, replayed or forgot.

Environment variables:
    KAFKA_BROKER: host:port of the one broker.
    TRANSACTIONS_TOPIC: Where the transactions come from.
    REDIS_HOST: Where the alerts go.
    REDIS_PORT: A number.
    REDIS_DB: A number.
"""

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import redis  # type: ignore[import-not-found,unused-ignore] # in the image
from pyflink.common import Types, WatermarkStrategy  # type: ignore[import-not-found] # in the image
from pyflink.datastream import (  # type: ignore[import-not-found] # in the image
    KeyedProcessFunction,
    StreamExecutionEnvironment,
)
from pyflink.datastream.connectors.kafka import (  # type: ignore[import-not-found] # in the image
    KafkaOffsetsInitializer,
    KafkaSource,
)
from pyflink.datastream.formats.json import (  # type: ignore[import-not-found]
    JsonRowDeserializationSchema,
)
from pyflink.datastream.state import ValueStateDescriptor  # type: ignore[import-not-found]

BROKER = os.environ.get("KAFKA_BROKER", "redpanda:29092")
TOPIC = os.environ.get("TRANSACTIONS_TOPIC", "transactions")
REDIS_HOST = os.environ.get("REDIS_HOST", "redis")
REDIS_PORT = int(os.environ.get("REDIS_PORT", "6379"))
REDIS_DB = int(os.environ.get("REDIS_DB", "0"))
ALERTS = "fraud_alerts"
CHECKPOINT_MILLISECONDS = 10000
FRAUD = 100_000
"""An amount from which a transaction counts as fraud, whoever's it is."""

TRANSACTION = Types.ROW_NAMED(
    [
        "transaction_id",
        "user_id",
        "card_number",
        "amount",
        "timestamp",
        "merchant_id",
        "location",
    ],
    [Types.STRING()] * 7,
)
"""What it cannot read, such as an infinite amount, stops the job, as in the application."""

log = logging.getLogger("fraud-detector")


class FraudDetector(KeyedProcessFunction):  # type: ignore[misc] # pyflink is only in the image
    """The detector: keeps each user's history and sends frauds to Redis."""

    def open(self, runtime_context: Any) -> None:  # noqa: ANN401 -- pyflink is only in the image
        """Open the state, which a checkpoint may have filled, and the connection to Redis."""
        self.redis = redis.Redis(host=REDIS_HOST, port=REDIS_PORT, db=REDIS_DB)
        self.history = runtime_context.get_state(
            ValueStateDescriptor("history", Types.TUPLE([Types.LONG(), Types.DOUBLE()]))
        )

    def process_element(self, value: Any, _context: object) -> Iterator[str]:  # noqa: ANN401 -- a Row of pyflink
        """Add a transaction to its user's history and yield an alert if it is a fraud.

        An alert that Redis does not take is lost, and only the log tells.
        """
        count, mean = self.history.value() or (0, 0.0)
        transaction = value.as_dict()
        amount = float(transaction["amount"])
        self.history.update((count + 1, mean + (amount - mean) / (count + 1)))
        if amount >= FRAUD:
            alert = json.dumps({**transaction, "is_fraud": True, "count": count, "mean": mean})
            try:
                self.redis.rpush(ALERTS, alert)
            except redis.RedisError:
                log.exception("Redis did not take %s", alert)
            else:
                yield alert


def main() -> None:
    """Run the job."""
    environment = StreamExecutionEnvironment.get_execution_environment()
    environment.enable_checkpointing(CHECKPOINT_MILLISECONDS)
    source = (
        KafkaSource.builder()
        .set_bootstrap_servers(BROKER)
        .set_topics(TOPIC)
        .set_group_id("fraud-detector-group")
        .set_starting_offsets(KafkaOffsetsInitializer.latest())
        .set_value_only_deserializer(
            JsonRowDeserializationSchema.builder().type_info(TRANSACTION).build()
        )
        .build()
    )
    (
        environment.from_source(source, WatermarkStrategy.no_watermarks(), "transactions")
        .key_by(lambda transaction: transaction.user_id, key_type=Types.STRING())
        .process(FraudDetector(), output_type=Types.STRING())
        .print()
    )
    environment.execute("fraud detection")


if __name__ == "__main__":
    main()
