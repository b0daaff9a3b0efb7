"""dist/dev, really run: the job resumes from its checkpoints, however often it restarts.

It restarts Flink a dozen times, so it has a node of its own, beside that of the others.
"""

import time
from pathlib import Path

import pytest

from tests.runtime.system import System, transaction

pytestmark = pytest.mark.xdist_group("resumption")

STARTS = 12
JOBS = 4
"""The running one, and those of the three checkpoints that the launcher may fall back to."""


def jobs(system: System) -> set[Path]:
    """Return the folders of all jobs with a complete checkpoint: one for each JobManager."""
    return {checkpoint.parent for checkpoint in system.checkpoints()}


def restart_jobmanager(system: System) -> None:
    """Replace the JobManager, and wait for its first checkpoint."""
    before = jobs(system)
    system.delete_pod("flink-jobmanager")
    system.wait(lambda: bool(jobs(system) - before), "no checkpoint of a new job")


def test_a_corrupt_checkpoint_is_left_behind(system: System) -> None:
    """Flink itself would retry it for ever."""
    user = f"corrupt-{time.monotonic_ns()}"
    system.accept(transaction(user, 1.0))
    posted = system.wait_for_history(user, posted=1)
    seen = system.checkpoints()
    system.wait(lambda: len(set(system.checkpoints()) - set(seen)) > 2, "no further checkpoints")
    system.checkpoints()[-1].joinpath("_metadata").write_bytes(b"broken")
    restart_jobmanager(system)
    system.wait_for_history(user, posted=posted)


def test_the_disk_of_the_checkpoints_is_bounded(system: System) -> None:
    """Each start of the JobManager leaves checkpoints behind; a full disk would stop the job.

    Nothing that a later start needs may be deleted: no transaction may be forgotten.
    """
    user = f"restarts-{time.monotonic_ns()}"
    for _ in range(STARTS):
        system.accept(transaction(user, 1.0))
        restart_jobmanager(system)
    assert len(jobs(system)) <= JOBS
    system.wait_for_history(user, posted=STARTS)
