"""A stand-in for payment-api, with the application's variables, API and way of failing.

Environment variables:
    KAFKA_BROKER: host:port of the one broker.
    TRANSACTIONS_TOPIC: Where the transactions go.
"""

import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException  # type: ignore[import-not-found] # in the image
from kafka import KafkaAdminClient, KafkaProducer  # type: ignore[import-not-found] # in the image
from kafka.admin import NewTopic  # type: ignore[import-not-found] # in the image
from kafka.errors import (  # type: ignore[import-not-found] # in the image
    KafkaError,
    TopicAlreadyExistsError,
)
from pydantic import BaseModel, Field  # type: ignore[import-not-found] # in the image

BROKER = os.environ.get("KAFKA_BROKER", "redpanda:29092")
TOPIC = os.environ.get("TRANSACTIONS_TOPIC", "transactions")
TRIES = 10
PAUSE_SECONDS = 6
SEND_SECONDS = 10

logging.basicConfig(level=logging.INFO)
log = logging.getLogger("payment-api")


class Transaction(BaseModel):  # type: ignore[misc] # pydantic is only in the image
    """The body of a request."""

    transaction_id: str
    user_id: str
    card_number: str
    amount: float = Field(gt=0)
    timestamp: str
    merchant_id: str
    location: str


def create_topic() -> bool:
    """Try to create the topic until it exists; return whether it does.

    It blocks, and with it the whole program, which does not listen yet.
    """
    for attempt in range(1, TRIES + 1):
        try:
            admin = KafkaAdminClient(bootstrap_servers=BROKER)
            try:
                admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
            finally:
                admin.close()
        except TopicAlreadyExistsError:  # noqa: PERF203 -- each round is an attempt
            return True
        except KafkaError as error:
            log.warning("No topic yet, attempt %d of %d: %r", attempt, TRIES, error)
            time.sleep(PAUSE_SECONDS)
        else:
            return True
    log.error("No topic after %d attempts: every transaction will be refused", TRIES)
    return False


def connect() -> KafkaProducer | None:
    """Connect to the broker; return None, for the life of the program, if that fails."""
    if not create_topic():
        return None
    try:
        return KafkaProducer(bootstrap_servers=[BROKER])
    except KafkaError:
        log.exception("No producer: every transaction will be refused")
        return None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect before the first request and disconnect after the last one."""
    app.state.producer = connect()
    yield
    if app.state.producer is not None:
        app.state.producer.close()


def post_transaction(transaction: Transaction) -> dict[str, str]:
    """Send a transaction to the broker and wait for its acknowledgement.

    Raises:
        HTTPException: 503 if there is no producer, 500 if the broker does not take it.
    """
    if app.state.producer is None:
        raise HTTPException(503, "There is no connection to the broker.")
    message = json.dumps(transaction.model_dump()).encode()
    try:
        app.state.producer.send(TOPIC, message).get(timeout=SEND_SECONDS)
    except KafkaError as error:
        log.exception("The broker did not take %s", transaction.transaction_id)
        raise HTTPException(500, "The broker did not take the transaction.") from error
    return {"status": "accepted", "transaction_id": transaction.transaction_id}


def health() -> dict[str, str]:
    """Always answer 200; the reported broker status is unreliable.

    A healthy producer that moved on from its bootstrap connection counts as disconnected.
    """
    producer = app.state.producer
    connected = producer is not None and producer.bootstrap_connected()
    return {"api_status": "ok", "kafka_status": "connected" if connected else "disconnected"}


app = FastAPI(lifespan=lifespan)
app.add_api_route("/transaction", post_transaction, methods=["POST"], status_code=202)
app.add_api_route("/health", health)
