"""Readiness probe: succeed when the one job of the JobManager runs with all its tasks.

The REST API answers, and reports the job as running, long before the tasks run. The script needs
only the Python of the Flink image and its standard library.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any

REST_PORT = 8081
TIMEOUT = 3
"""In seconds; shorter than the timeout of the probe, which would end this script silently."""


def fetch_overview() -> dict[str, Any]:
    """Fetch the list of jobs from Flink.

    Raises:
        OSError: If there is no answer in time.
        http.client.HTTPException: If the answer is not HTTP.
        ValueError: If the answer is not JSON.
    """
    connection = http.client.HTTPConnection("127.0.0.1", REST_PORT, timeout=TIMEOUT)
    try:
        connection.request("GET", "/jobs/overview")
        overview: dict[str, Any] = json.load(connection.getresponse())
        return overview
    finally:
        connection.close()


def find_problem(overview: dict[str, Any]) -> str | None:
    """Return why the job is not ready, or None if all its tasks run.

    Args:
        overview: The answer to `/jobs/overview`.

    Raises:
        LookupError: If the answer lacks a field.
        TypeError: If a field has an unexpected type.
    """
    jobs = overview["jobs"]
    if len(jobs) != 1:
        return f"{len(jobs)} jobs instead of 1"
    state, tasks = jobs[0]["state"], jobs[0]["tasks"]
    if state != "RUNNING":
        return f"the job is {state}"
    if not 0 < tasks["running"] == tasks["total"]:
        return f"{tasks['running']} of {tasks['total']} tasks are running"
    return None


def main() -> int:
    """Print one line and return the exit status: 0 when ready, 1 otherwise."""
    try:
        problem = find_problem(fetch_overview())
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        problem = f"no usable answer: {error!r}"
    print("ready" if problem is None else f"not ready: {problem}")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
