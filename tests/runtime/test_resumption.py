"""dist/dev, really run: the job resumes from its checkpoints, however often and whatever they are.

It takes as long as all others together, so it has a node of its own, beside theirs.
"""

import time

import pytest

from runtime.system import System, transaction

pytestmark = pytest.mark.xdist_group("resumption")


def test_a_corrupt_checkpoint_is_left_behind(system: System) -> None:
    """Flink itself would try the same one for ever."""
    user = f"corrupt-{time.monotonic_ns()}"
    system.accept(transaction(user, 1.0))
    marker = transaction(user)
    system.accept(marker)
    assert system.wait_for_alert(marker)["count"] == 1
    seen = system.checkpoints()
    system.wait(lambda: len(set(system.checkpoints()) - set(seen)) > 2, "no further checkpoints")
    system.checkpoints()[-1].joinpath("_metadata").write_bytes(b"broken")
    system.delete_pod("flink-jobmanager")
    system.wait_until_ready()
    system.wait_for_history(user, posted=2)


def test_the_disk_of_the_checkpoints_is_bounded(system: System) -> None:
    """Each start of the JobManager leaves checkpoints behind; a full disk would stop the job."""
    for _ in range(30):
        system.delete_pod("flink-jobmanager")
        system.wait_until_ready()
        seen = system.checkpoints()
        system.wait(lambda seen=seen: system.checkpoints() != seen, "no checkpoint")  # type: ignore[misc]
    jobs = {checkpoint.parent for checkpoint in system.checkpoints()}
    assert len(jobs) <= 4
