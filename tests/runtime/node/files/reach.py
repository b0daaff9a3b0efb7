"""Prints which of the addresses in its arguments, HOST:PORT, answer to TCP; a refusal is an answer.

Run in the network of a pod: what a NetworkPolicy forbids is dropped, so nothing answers.
"""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

_SECONDS = 3
"""A dropped packet is sent again after one, so that a hiccup does not count."""


def answers(address: str) -> bool:
    """Return whether an address answers."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except ConnectionRefusedError:
        pass
    except OSError:
        return False
    return True


if __name__ == "__main__":
    addresses = sys.argv[1:]
    with ThreadPoolExecutor(len(addresses)) as threads:
        answered = list(threads.map(answers, addresses))
    found = (each for each, answer in zip(addresses, answered, strict=True) if answer)
    sys.stdout.write("\n".join(found))
