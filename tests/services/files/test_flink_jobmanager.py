"""The launcher of the JobManager, run with a Flink that only records its arguments."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from repository import SERVICE_FILES

LAUNCHER = SERVICE_FILES / "flink/jobmanager.sh"
OLD_JOB, NEW_JOB, OTHER_JOB = "a" * 32, "b" * 32, "0123456789abcdef" * 2
STARTS = 3
"""The number of starts from one checkpoint."""
WITHOUT_PRIVILEGES = (
    ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
)
"""Root may write everything, and Flink's user may not."""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the launcher runs in a Linux container"
)


@dataclass(frozen=True, kw_only=True)
class Start:
    """One run of the launcher.

    Attributes:
        status: Its exit status.
        output: Its standard output and standard error.
        arguments: Arguments of standalone-job.sh; None if it was not started.
    """

    status: int
    output: str
    arguments: list[str] | None

    @property
    def restored(self) -> str | None:
        """The checkpoint that Flink had to restore, as `job/chk-N`."""
        assert self.arguments is not None, self.output
        if "--fromSavepoint" not in self.arguments:
            return None
        path = self.arguments[self.arguments.index("--fromSavepoint") + 1]
        return "/".join(path.split("/")[-2:])


Launch = Callable[..., Start]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """An empty checkpoint volume."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path, volume: Path) -> dict[str, str]:
    """The environment of the launcher, with a Flink that records its arguments."""
    flink = tmp_path / "flink/bin/standalone-job.sh"
    write_program(flink, 'printf "%s\\0" "$@" >"$RECORD"')
    return {
        **os.environ,
        # Programs of a test replace the real ones.
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "FLINK_HOME": str(tmp_path / "flink"),
        "CHECKPOINTS_DIR": str(volume),
        "RECORD": str(tmp_path / "record"),
    }


@pytest.fixture
def launch(environment: dict[str, str]) -> Launch:
    """Run the launcher to its end."""
    record = Path(environment["RECORD"])

    def run(*options: str, **variables: str) -> Start:
        record.unlink(missing_ok=True)
        process = subprocess.run(
            [*WITHOUT_PRIVILEGES, "bash", LAUNCHER, *options],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Start(
            status=process.returncode,
            output=process.stdout + process.stderr,
            arguments=record.read_text().split("\0")[:-1] if record.exists() else None,
        )

    return run


def write_program(path: Path, body: str) -> None:
    """Write an executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def add_checkpoint(
    volume: Path, name: str, *, time: int = 0, file: str = "_metadata", content: str = "state"
) -> None:
    """Write a checkpoint as Flink does.

    Args:
        volume: The checkpoint volume.
        name: `job/chk-N`.
        time: When its last file was written; only the order matters.
        file: The name of that file, which tells whether the checkpoint is complete.
        content: Content of that file.
    """
    path = volume / name / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    os.utime(path, (1_700_000_000 + time, 1_700_000_000 + time))


def add_three_checkpoints(volume: Path) -> None:
    """Write chk-1, chk-2 and chk-3 of the old job."""
    for number in (1, 2, 3):
        add_checkpoint(volume, f"{OLD_JOB}/chk-{number}", time=number)


def restored_by(launch: Launch, starts: int) -> list[str | None]:
    """Return the restore point of each of several starts that make no checkpoint."""
    return [launch().restored for _ in range(starts)]


# Which checkpoint


def test_an_empty_volume_is_a_fresh_start(launch: Launch) -> None:
    """The very first start has nothing to resume from and must not wait."""
    start = launch()
    assert (start.status, start.restored) == (0, None)


def test_the_newest_checkpoint_is_restored(launch: Launch, volume: Path) -> None:
    """An older one would replay transactions that already caused alerts."""
    add_three_checkpoints(volume)
    assert launch().restored == f"{OLD_JOB}/chk-3"


def test_the_newest_checkpoint_of_any_job_is_restored(launch: Launch, volume: Path) -> None:
    """Every start is a new job: the state is in the folder of the one that ran last."""
    add_checkpoint(volume, f"{NEW_JOB}/chk-4", time=1)
    add_checkpoint(volume, f"{OLD_JOB}/chk-5", time=2)
    assert launch().restored == f"{OLD_JOB}/chk-5"


def test_time_decides_and_not_the_number(launch: Launch, volume: Path) -> None:
    """After a fallback the new job uses the number of the broken checkpoint again."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-10", time=1)
    add_checkpoint(volume, f"{NEW_JOB}/chk-9", time=2)
    assert launch().restored == f"{NEW_JOB}/chk-9"


@pytest.mark.parametrize("file", ["00b2fcd3-state", "._metadata.inprogress.5f2c"])
def test_a_half_written_checkpoint_is_skipped(launch: Launch, volume: Path, file: str) -> None:
    """A JobManager that is killed during a checkpoint leaves one, and Flink cannot read it."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1", time=1)
    add_checkpoint(volume, f"{OLD_JOB}/chk-2", time=2, file=file)
    assert launch().restored == f"{OLD_JOB}/chk-1"


def test_an_empty_metadata_file_is_skipped(launch: Launch, volume: Path) -> None:
    """A node that loses power can keep the name of a file and lose its content."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1", time=1)
    add_checkpoint(volume, f"{OLD_JOB}/chk-2", time=2, content="")
    assert launch().restored == f"{OLD_JOB}/chk-1"


def test_only_half_written_checkpoints_are_a_fresh_start(launch: Launch, volume: Path) -> None:
    """A crash before the very first complete checkpoint must not block the system for ever."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1", file="00b2fcd3-state")
    assert launch().restored is None


@pytest.mark.parametrize("search", ["-type d", "-type f"])
def test_a_volume_that_cannot_be_read_is_not_taken_for_an_empty_one(
    launch: Launch, volume: Path, tmp_path: Path, search: str
) -> None:
    """An empty start because of a read error would throw away the history of every user."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    write_program(
        tmp_path / "bin/find", f'[[ "$*" != *"{search}"* ]] && exec "{shutil.which("find")}" "$@"'
    )
    start = launch()
    assert start.status != 0
    assert start.arguments is None


def test_a_missing_volume_is_an_error(launch: Launch, tmp_path: Path) -> None:
    """Without its volume the job would run, and lose all its state with the pod."""
    start = launch(CHECKPOINTS_DIR=str(tmp_path / "nowhere"))
    assert start.status != 0
    assert start.arguments is None
    assert str(tmp_path / "nowhere") in start.output


# Falling back


def test_a_checkpoint_is_tried_several_times(launch: Launch, volume: Path) -> None:
    """One failed start may have any cause: a rollout, a full node, an absent broker."""
    add_three_checkpoints(volume)
    assert set(restored_by(launch, STARTS)) == {f"{OLD_JOB}/chk-3"}


def test_the_one_before_follows_when_a_checkpoint_keeps_failing(
    launch: Launch, volume: Path
) -> None:
    """Flink itself never falls back: one broken file would stop the detector for ever."""
    add_three_checkpoints(volume)
    restored_by(launch, STARTS)
    assert launch().restored == f"{OLD_JOB}/chk-2"


def test_every_candidate_has_its_turn_and_then_the_newest_again(
    launch: Launch, volume: Path
) -> None:
    """If all three fail, the cause is elsewhere, and once it is fixed the newest is the best."""
    add_three_checkpoints(volume)
    turns = [f"{OLD_JOB}/chk-{number}" for number in (3, 2, 1, 3)]
    assert restored_by(launch, 4 * STARTS) == [turn for turn in turns for _ in range(STARTS)]


def test_a_lone_broken_checkpoint_is_retried_rather_than_forgotten(
    launch: Launch, volume: Path
) -> None:
    """An empty start would silently lose its state, though a new image might read it."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    assert set(restored_by(launch, 2 * STARTS)) == {f"{OLD_JOB}/chk-1"}


def test_failed_starts_are_forgotten_when_a_newer_checkpoint_appears(
    launch: Launch, volume: Path
) -> None:
    """Otherwise the restarts of many good weeks would add up to a fallback."""
    add_three_checkpoints(volume)
    restored_by(launch, STARTS)
    add_checkpoint(volume, f"{NEW_JOB}/chk-3", time=4)
    assert set(restored_by(launch, STARTS)) == {f"{NEW_JOB}/chk-3"}


@pytest.mark.parametrize("number", ["", "0", "08", "100", "-1", "x[$(touch hacked)]", "\0"])
def test_a_damaged_record_of_attempts_is_ignored(launch: Launch, volume: Path, number: str) -> None:
    """It is only an aid, and an arithmetic error in bash could end in an empty start."""
    add_three_checkpoints(volume)
    (volume / ".attempts").write_text(f"{number} {volume}/{OLD_JOB}/chk-3\n")
    assert restored_by(launch, 2) == [f"{OLD_JOB}/chk-3"] * 2


def test_a_record_that_was_left_half_written_changes_nothing(launch: Launch, volume: Path) -> None:
    """A temporary file that a crash left must not get into the record."""
    add_three_checkpoints(volume)
    restored_by(launch, STARTS)
    (volume / ".attempts.new").write_text("2 some")
    assert restored_by(launch, 2) == [f"{OLD_JOB}/chk-2"] * 2


def test_a_crash_while_the_record_is_written_leaves_the_one_before(
    launch: Launch, volume: Path, tmp_path: Path
) -> None:
    """A truncated record would reset the count, and a crash loop would never fall back."""
    add_three_checkpoints(volume)
    launch()
    before = (volume / ".attempts").read_text()
    write_program(tmp_path / "bin/mv", "exit 1")
    launch()
    assert (volume / ".attempts").read_text() == before


def test_the_record_of_attempts_does_not_grow(launch: Launch, volume: Path) -> None:
    """A crash loop over a weekend must not fill the volume."""
    add_three_checkpoints(volume)
    launch()
    size = (volume / ".attempts").stat().st_size
    restored_by(launch, 4 * STARTS)
    assert (volume / ".attempts").stat().st_size == size


# A damaged volume


def fill(environment: dict[str, str], volume: Path) -> None:
    """Let the launcher write to no file, as on a full volume; Flink's record is elsewhere."""
    limit = volume.parent / "limit.sh"
    limit.write_text(
        """if [[ $0 == *jobmanager.sh ]]; then
            trap '' XFSZ; ulimit -S -f 0
        else
            ulimit -S -f unlimited
        fi"""
    )
    environment["BASH_ENV"] = str(limit)


def make_read_only(_environment: dict[str, str], volume: Path) -> None:
    """Let nobody write, as after an error of the disk."""
    volume.chmod(0o555)


def take(name: str) -> Callable[[dict[str, str], Path], None]:
    """Return a damage: a file that somebody else owns, as a shell of root leaves it."""

    def damage(_environment: dict[str, str], volume: Path) -> None:
        (volume / name).write_text("")
        (volume / name).chmod(0)

    return damage


def make_folder(name: str) -> Callable[[dict[str, str], Path], None]:
    """Return a damage: a folder with content in place of a file."""

    def damage(_environment: dict[str, str], volume: Path) -> None:
        (volume / name / "inside").mkdir(parents=True)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(fill, id="full"),
        pytest.param(make_read_only, id="read-only"),
        *(
            pytest.param(how(name), id=f"{name} {id}")
            for name in (".attempts", ".attempts.new", ".lock")
            for how, id in ((take, "of somebody else"), (make_folder, "is a folder"))
        ),
    ],
)
def test_the_launcher_s_own_files_never_prevent_a_start(
    launch: Launch,
    environment: dict[str, str],
    volume: Path,
    damage: Callable[[dict[str, str], Path], None],
) -> None:
    """Measured: the job itself survives a full volume, and then the launcher crashed for ever."""
    add_three_checkpoints(volume)
    damage(environment, volume)
    start = launch()
    assert start.status == 0, start.output
    assert start.restored == f"{OLD_JOB}/chk-3"


@pytest.mark.parametrize("damage", [take(".attempts.new"), make_folder(".attempts.new")])
def test_a_damaged_temporary_record_is_replaced(
    launch: Launch,
    environment: dict[str, str],
    volume: Path,
    damage: Callable[[dict[str, str], Path], None],
) -> None:
    """While nothing can be recorded, nothing falls back past a checkpoint that keeps failing."""
    add_three_checkpoints(volume)
    damage(environment, volume)
    restored_by(launch, STARTS)
    assert launch().restored == f"{OLD_JOB}/chk-2"


@pytest.mark.parametrize("damage", [fill, make_read_only])
def test_a_start_that_is_not_recorded_is_logged(
    launch: Launch,
    environment: dict[str, str],
    volume: Path,
    damage: Callable[[dict[str, str], Path], None],
) -> None:
    """Somebody has to free the space, and only the log tells."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    damage(environment, volume)
    assert f"cannot record this start in {volume}/.attempts" in launch().output


# Bounding the disk


def test_jobs_without_a_candidate_are_deleted(launch: Launch, volume: Path) -> None:
    """Each start leaves the folder of the previous job, and nothing else frees that space."""
    for number, job in enumerate(("c" * 32, "d" * 32, OLD_JOB, NEW_JOB, OTHER_JOB)):
        add_checkpoint(volume, f"{job}/chk-1", time=number)
    launch()
    jobs = {folder.name for folder in volume.iterdir() if folder.is_dir()}
    assert jobs == {OLD_JOB, NEW_JOB, OTHER_JOB}


def test_jobs_that_never_made_a_checkpoint_are_deleted(launch: Launch, volume: Path) -> None:
    """A job that fails before its first checkpoint leaves a folder at every start."""
    (volume / OLD_JOB / "shared").mkdir(parents=True)
    launch()
    assert not (volume / OLD_JOB).exists()


def test_every_checkpoint_to_fall_back_to_stays(launch: Launch, volume: Path) -> None:
    """They may be in the folders of three jobs, after two restarts in a row."""
    names = [f"{job}/chk-{number}" for number, job in enumerate((OLD_JOB, NEW_JOB, OTHER_JOB))]
    for number, name in enumerate(names):
        add_checkpoint(volume, name, time=number)
    assert set(restored_by(launch, 3 * STARTS)) == set(names)


@pytest.mark.parametrize(
    "name", ["lost+found", "savepoint-1", "A" * 32, "a" * 31, "a" * 33, "my backup"]
)
def test_what_is_not_a_job_is_left_alone(launch: Launch, volume: Path, name: str) -> None:
    """The volume also holds files of the file system and of people."""
    add_checkpoint(volume, f"{name}/chk-1", time=9)
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    assert launch().restored == f"{OLD_JOB}/chk-1"
    assert (volume / name / "chk-1/_metadata").exists()


def test_a_copy_of_a_job_is_left_alone(launch: Launch, volume: Path) -> None:
    """Somebody kept it on purpose, perhaps from before an incident."""
    copy = f"my backup/{NEW_JOB}/chk-1"
    add_checkpoint(volume, copy)
    assert launch().restored is None
    assert (volume / copy).exists()


def test_a_file_named_like_a_job_is_left_alone(launch: Launch, volume: Path) -> None:
    """Flink creates folders, so this file is not from Flink."""
    (volume / NEW_JOB).write_text("a note")
    launch()
    assert (volume / NEW_JOB).exists()


def test_a_folder_that_cannot_be_deleted_does_not_keep_flink_from_starting(
    launch: Launch, volume: Path, tmp_path: Path
) -> None:
    """On a network file system a TaskManager that still reads keeps its files open."""
    (volume / OLD_JOB).mkdir()
    write_program(tmp_path / "bin/rm", "exit 1")
    assert launch().arguments is not None


# One JobManager at a time


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for an event; the timeout of the test ends a wait in vain."""
    while not condition():
        time.sleep(0.01)


def test_a_second_jobmanager_waits_for_the_first_to_end(
    environment: dict[str, str], volume: Path
) -> None:
    """A deleted pod is replaced while it still stops: two JobManagers would duplicate alerts."""
    record, lock = Path(environment["RECORD"]), volume / ".lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with subprocess.Popen(["bash", LAUNCHER], env=environment) as second:
            waiting = f":{lock.stat().st_ino} "
            wait_until(
                lambda: any(
                    "->" in line and waiting in line
                    for line in Path("/proc/locks").read_text().splitlines()
                )
            )
            assert not record.exists()
            fcntl.flock(held, fcntl.LOCK_UN)
            second.wait()
    assert record.exists()


def test_a_jobmanager_that_waits_in_vain_says_so_and_ends(launch: Launch, tmp_path: Path) -> None:
    """Its container then restarts visibly and waits again."""
    write_program(tmp_path / "bin/flock", "exit 1")
    start = launch()
    assert start.status != 0
    assert start.arguments is None
    assert "another JobManager" in start.output


def test_a_volume_that_cannot_be_written_is_locked_all_the_same(
    launch: Launch, tmp_path: Path, volume: Path
) -> None:
    """Two JobManagers would send each alert twice, whatever happened to the disk."""
    volume.chmod(0o555)
    write_program(
        tmp_path / "flink/bin/standalone-job.sh",
        'flock --nonblock "$CHECKPOINTS_DIR" true && echo free || echo held',
    )
    assert "held" in launch().output.splitlines()


def test_a_volume_without_locks_does_not_prevent_a_start(launch: Launch, tmp_path: Path) -> None:
    """Some network file systems have none, and Kubernetes already runs one JobManager at a time."""
    write_program(tmp_path / "bin/flock", "exit 71")
    start = launch()
    assert start.arguments is not None
    assert "cannot lock" in start.output


def test_flink_itself_holds_the_lock(launch: Launch, tmp_path: Path, volume: Path) -> None:
    """The launcher has been replaced by then; its own lock would protect nothing."""
    write_program(
        tmp_path / "flink/bin/standalone-job.sh",
        'flock --nonblock "$CHECKPOINTS_DIR/.lock" true && echo free || echo held',
    )
    assert "held" in launch().output.splitlines()
    assert (volume / ".lock").exists()


# How Flink is started


def test_the_job_runs_in_the_foreground_with_the_python_driver(launch: Launch) -> None:
    """In Application mode the JobManager is the job, and ends with it."""
    assert launch().arguments == [
        "start-foreground",
        "--job-classname",
        "org.apache.flink.client.python.PythonDriver",
        "-py",
        "/opt/flink/usrlib/fraud_detector.py",
    ]


def test_options_come_before_the_script(launch: Launch, volume: Path) -> None:
    """Flink passes all arguments after `-py` to the script and would ignore its own there."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    arguments = launch("-Djobmanager.rpc.address=flink", "-Dparallelism.default=1").arguments
    assert arguments is not None
    script = arguments.index("-py")
    for option in ("--fromSavepoint", "-Djobmanager.rpc.address=flink", "-Dparallelism.default=1"):
        assert arguments.index(option) < script


def test_the_restore_point_is_a_file_url(launch: Launch, volume: Path) -> None:
    """Flink reads a bare path on its default file system, which may not be the local one."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    assert f"file://{volume}/{OLD_JOB}/chk-1" in (launch().arguments or [])


@pytest.mark.parametrize(
    "option", ["--restoreMode", "CLAIM", "-D", "-Dkey", "-D=value", "--job-id", ""]
)
def test_an_option_of_another_form_is_refused(launch: Launch, option: str) -> None:
    """Measured: `--restoreMode CLAIM` swallows --fromSavepoint, and the job starts empty."""
    start = launch("-Dkey=value", option)
    assert start.status != 0
    assert start.arguments is None


@pytest.mark.parametrize("option", ["--job-id", "--restoreMode", "--allowNonRestoredState"])
def test_flink_is_left_its_safe_defaults(launch: Launch, volume: Path, option: str) -> None:
    """A random job id, NO_CLAIM, and no silent loss of state that a new job does not know."""
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    assert option not in (launch().arguments or [])


def test_names_with_spaces_stay_whole(launch: Launch, tmp_path: Path) -> None:
    """Word splitting would restore or delete something else."""
    volume = tmp_path / "a volume *"
    add_checkpoint(volume, f"{OLD_JOB}/chk-1")
    start = launch("-Dkey=a value", CHECKPOINTS_DIR=str(volume), JOB_SCRIPT="/a job.py")
    assert start.arguments is not None
    assert start.arguments[-5:] == [
        "--fromSavepoint",
        f"file://{volume}/{OLD_JOB}/chk-1",
        "-Dkey=a value",
        "-py",
        "/a job.py",
    ]


def test_flink_takes_the_place_of_the_launcher(environment: dict[str, str], tmp_path: Path) -> None:
    """Kubernetes signals only the first process: Flink would be killed without a clean stop."""
    write_program(tmp_path / "flink/bin/standalone-job.sh", "echo $$")
    with subprocess.Popen(
        ["bash", LAUNCHER], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate()
    assert output.splitlines()[-1] == str(process.pid)


@pytest.mark.parametrize(
    ("checkpoints", "expected"),
    [
        ([], "no complete checkpoint"),
        ([f"{OLD_JOB}/chk-7"], f"{OLD_JOB}/chk-7, start 1 of 3"),
    ],
)
def test_one_line_tells_the_restore_point(
    launch: Launch, volume: Path, checkpoints: Sequence[str], expected: str
) -> None:
    """The first question after an incident is from which state the job resumed."""
    for name in checkpoints:
        add_checkpoint(volume, name)
    [line] = launch().output.splitlines()
    assert expected in line
