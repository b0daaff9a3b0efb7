"""The images of dist/dev, made from packages.

The images have the very references that dist/dev names, so that it can be applied unchanged. They
are kept in a per-user cache, a part of them each under the hash of what it is made from.
"""

import inspect
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import yaml

from tests.runtime.cache import Cache
from tests.runtime.node import image as archives

FOLDER = Path(__file__).parent
DIST = FOLDER.parents[2] / "dist" / "dev"


class ImagesError(Exception):
    """The images cannot be built; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Debian:
    """A minimal Debian with a few packages more.

    Attributes:
        suite: Its code name.
        python: The version of its Python.
        packages: The packages.
    """

    suite: str
    python: str
    packages: tuple[str, ...]


BOOKWORM = Debian(
    suite="bookworm", python="3.11", packages=("curl", "python3", "redis-server", "redis-tools")
)
"""Its Redis is 7.0, the first with the append-only file in a folder of its own."""
BULLSEYE = Debian(
    suite="bullseye",
    python="3.9",
    packages=(
        "curl",
        "openjdk-11-jre-headless",
        "python3",
        "python3-crcmod",
        "python3-pkg-resources",
    ),
)
"""Has the newest Python that PyFlink's dependencies have wheels for, and Java 11 as Flink's image.

crcmod is among those dependencies, but has no wheel: it comes from Debian.
"""


WATCHING = Debian(
    suite="bookworm",
    python="3.11",
    packages=(
        "prometheus",
        "prometheus-alertmanager",
        "prometheus-redis-exporter",
        "python3",
    ),
)
"""Has Prometheus 2.42, Alertmanager 0.25 and the exporter 1.45."""


JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""Programs that live for a minute do not earn back what the second compiler costs two cores."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is made.

    Its folder below this one may hold `requirements.txt`, the Python packages by version and hash,
    and `pom.xml`, the jars by version.

    Attributes:
        debian: Debian that it is based on.
        folder: The folder's name; empty if there is none.
        programs: Files of that folder, by their path in the image.
        jars: Where the jars of `pom.xml` go.
        flink: Whether Flink moves from among the Python packages to /opt/flink.
        command: Default command.
        environment: Variables beside PATH.
        user: Default user; empty for root.
        working_directory: Where it runs.
    """

    debian: Debian
    folder: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)
    jars: str = ""
    flink: bool = False
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_directory: str = "/"


def _uvicorn(app: str, port: int) -> tuple[str, ...]:
    return ("python", "-m", "uvicorn", app, "--host", "0.0.0.0", "--port", str(port))  # noqa: S104 -- in a pod


RECIPES: Mapping[str, Recipe] = {
    "redis": Recipe(debian=BOOKWORM, command=("redis-server",)),
    "payment-api": Recipe(
        debian=BOOKWORM,
        folder="payment_api",
        programs={"app/main.py": "main.py"},
        command=_uvicorn("main:app", 8000),
        working_directory="/app",
    ),
    "alert-monitor": Recipe(
        debian=BOOKWORM,
        folder="alert_monitor",
        programs={"app/monitor.py": "monitor.py"},
        command=_uvicorn("monitor:app", 8080),
        working_directory="/app",
    ),
    "redpanda": Recipe(
        debian=BULLSEYE,
        folder="redpanda",
        programs={"usr/local/bin/rpk": "rpk.py"},
        jars="opt/kafka",
        command=("rpk",),
        environment=JAVA,
        user="101",
    ),
    "flink-app": Recipe(
        debian=BULLSEYE,
        folder="flink_app",
        programs={"opt/flink/usrlib/fraud_detector.py": "fraud_detector.py"},
        jars="opt/flink/lib",
        flink=True,
        command=("taskmanager.sh", "start-foreground"),
        environment={
            "FLINK_HOME": "/opt/flink",
            "JAVA_HOME": "/usr/lib/jvm/default-java",
            **JAVA,
            "PATH": "/opt/flink/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        },
        user="9999",
    ),
}
"""Recipes by the last part of the image's repository in dist."""

MONITORING = Recipe(debian=WATCHING, command=("prometheus-redis-exporter",))
"""What runs in addition where an environment is monitored."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that is built.

    Attributes:
        reference: Image reference in dist.
        root: Its files; not to be changed.
        archive: A docker-archive.
    """

    reference: str
    root: Path
    archive: Path


def build(log: TextIO) -> dict[str, Image]:
    """Build everything that is missing; may be interrupted, and run twice at the same time.

    Needs root, `debootstrap`, `mvn` and `uv`, and their registries where something is not built.

    Args:
        log: Gets a line for each part that is built.

    Returns:
        The images by the name of their recipe.

    Raises:
        ImagesError: If a recipe is missing or unused, or a program is missing or fails.
    """
    references = read_references()
    if references.keys() != RECIPES.keys():
        raise ImagesError(f"dist/dev runs {sorted(references)}; RECIPES has {sorted(RECIPES)}.")
    with Cache("runtime-images", log).locked() as cache:
        return {
            name: _build_image(cache, name, recipe, references[name])
            for name, recipe in RECIPES.items()
        }


def build_monitoring(log: TextIO, reference: str) -> Image:
    """Build the image of `MONITORING` as `build` does."""
    with Cache("runtime-images", log).locked() as cache:
        return _build_image(cache, "monitoring", MONITORING, reference)


def read_references() -> dict[str, str]:
    """Read the images of dist/dev, by the last part of their repository."""
    references = {}
    for file in sorted(DIST.glob("*.yaml")):
        for manifest in yaml.load_all(file.read_bytes(), yaml.CSafeLoader):
            pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
            for container in pod.get("initContainers", []) + pod.get("containers", []):
                repository, _, _ = container["image"].partition("@")[0].rpartition(":")
                references[repository.rpartition("/")[2]] = container["image"]
    return references


def _build_image(cache: Cache, name: str, recipe: Recipe, reference: str) -> Image:
    parts = {"debian": _debian(cache, recipe.debian)}
    folder = FOLDER / recipe.folder
    if recipe.folder and (requirements := folder / "requirements.txt").exists():
        parts["python"] = _python_packages(cache, name, requirements, recipe.debian.python)
    if recipe.jars:
        parts["jars"] = _jars(cache, name, folder / "pom.xml")
    programs = {
        path: (folder / source).read_text(encoding="utf-8")
        for path, source in recipe.programs.items()
    }
    made_from = (Path(__file__).read_text(encoding="utf-8"), parts, programs)
    root = cache.get(f"{name}-root", made_from, lambda made: _fill(made, recipe, parts, programs))
    archive = cache.get(
        f"{name}.tar",
        (made_from, inspect.getsource(archives), reference),
        lambda made: archives.write_image(
            root,
            reference=reference,
            target=made,
            command=recipe.command,
            environment=recipe.environment,
            user=recipe.user,
            working_directory=recipe.working_directory,
        ),
    )
    return Image(reference=reference, root=root, archive=archive)


def _debian(cache: Cache, debian: Debian) -> Path:
    def make(made: Path) -> None:
        include = f"--include={','.join(debian.packages)}"
        arguments = ("--variant=minbase", include, debian.suite, str(made), *_mirror())
        # What it mounts goes with the namespace, also when it is killed.
        _run("unshare", "--mount", "debootstrap", *arguments)
        for unused in ("usr/share/doc", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(made / unused)

    return cache.get(debian.suite, debian, make)


def _mirror() -> list[str]:
    """Return this machine's Debian mirror; without one, debootstrap uses its own."""
    if shutil.which("apt-get") is None:
        return []
    asked = ("--format", "$(REPO_URI)", "Label: Debian", "Created-By: Packages")
    return sorted(set(_run("apt-get", "indextargets", *asked).split()))[:1]


def _python_packages(cache: Cache, name: str, requirements: Path, python: str) -> Path:
    """Install a lock file for the image's Python, not the one that runs this program."""
    return cache.get(
        f"{name}-python",
        (requirements.read_text(), python),
        lambda made: _run(
            *("uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
            *("--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu"),
            *("--link-mode", "copy", "--target", str(made), "-r", str(requirements)),
        ),
    )


def _jars(cache: Cache, name: str, pom: Path) -> Path:
    return cache.get(
        f"{name}-jars",
        pom.read_text(),
        lambda made: _run(
            *("mvn", "--quiet", "--batch-mode", "--file", str(pom)),
            *("dependency:copy-dependencies", "-DincludeScope=runtime"),
            f"-DoutputDirectory={made}",
        ),
    )


def _fill(
    root: Path, recipe: Recipe, parts: Mapping[str, Path], programs: Mapping[str, str]
) -> None:
    """Assemble an image from its parts, as hard links."""
    _link(parts["debian"], root)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    if "python" in parts:
        packages = root / f"usr/local/lib/python{recipe.debian.python}/dist-packages"
        _link(parts["python"], packages)
        if recipe.flink:
            (root / "opt/flink").mkdir()
            for part in ("bin", "conf", "lib", "opt", "plugins"):
                (packages / "pyflink" / part).rename(root / "opt/flink" / part)
            # Where the Python workers look for their start script.
            (packages / "pyflink/bin").symlink_to("/opt/flink/bin")
    if recipe.jars:
        _link(parts["jars"], root / recipe.jars)
    for path, text in programs.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        (root / path).chmod(0o755)
    # A container cannot keep what Python compiles, and would find this stale by the times of its
    # files, as those of an image have none.
    compiled = ("-q", "-f", "--invalidation-mode", "unchecked-hash")
    folders = (f"/usr/lib/python{recipe.debian.python}", "/usr/lib/python3", "/usr/local/lib")
    _run("chroot", str(root), "python3", "-m", "compileall", *compiled, *folders)


def _link(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _run("cp", "--archive", "--link", f"{source}/.", str(target))


def _run(program: str, *arguments: str) -> str:
    """Run a program and return its output.

    Raises:
        ImagesError: If there is no such program, or it fails.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise ImagesError(f"There is no {program}: run `make node-packages`.") from None
    except subprocess.CalledProcessError as error:
        last_lines = "\n".join(error.stdout.splitlines()[-15:])
        raise ImagesError(f"`{program}` failed:\n{last_lines}") from error
    return done.stdout
