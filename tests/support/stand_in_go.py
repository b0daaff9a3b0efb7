"""A stand-in for Go that records how it is called."""

import time
from pathlib import Path

# As a real one from 1.21 on it becomes the version that is asked for; `version` names an older
# one. Builds programs that contain the name of their package, and finds every module in
# `modules`. The files `hang` and `fail` name a program whose build hangs or fails halfway, the
# latter as soon as the former hangs.
_PROGRAM = """\
#!/bin/sh
here=${0%/*}
echo "$GOTOOLCHAIN $CGO_ENABLED $GOWORK $GOFLAGS $GOCACHE|$PWD|$*" >> "$here/calls"
case $1 in
version) read -r old < "$here/version"; echo "go version ${old:-$GOTOOLCHAIN} linux/amd64" ;;
mod) echo "{\\"Dir\\": \\"$here/modules\\"}" ;;
build)
    printf 'half of ' > "$3"
    read -r name < "$here/hang"
    if [ "$name" = "${3##*/}" ]; then
        echo $$ > "$here/pid.new" && mv "$here/pid.new" "$here/pid"
        exec sleep 60
    fi
    read -r name < "$here/fail"
    if [ "$name" = "${3##*/}" ]; then
        while [ -n "$(cat "$here/hang")" ] && [ ! -e "$here/pid" ]; do sleep 0.01; done
        echo "checksum mismatch" >&2
        exit 1
    fi
    echo "$5" > "$3"
esac
"""


class Go:
    """A stand-in for Go.

    Args:
        folder: Folder for it, on the PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules = folder / "modules"
        self.modules.mkdir()
        (folder / "go").write_text(_PROGRAM, encoding="utf-8")
        (folder / "go").chmod(0o755)
        (folder / "calls").touch()
        for name in ("version", "hang", "fail"):
            self.set(name, "")

    def set(self, name: str, value: str) -> None:
        """Change its behaviour."""
        (self.folder / name).write_text(f"{value}\n", encoding="utf-8")

    def calls(self, command: str) -> list[tuple[str, str, str]]:
        """Return its calls with a command: the variables, the folder, and the arguments."""
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        calls = [line.split("|", maxsplit=2) for line in lines]
        return [(call[0], call[1], call[2]) for call in calls if call[2].split()[0] == command]

    def built(self) -> list[str]:
        """Return the names of the programs that it began to build, in their order."""
        return [Path(arguments.split()[2]).name for _, _, arguments in self.calls("build")]

    def pid(self) -> int:
        """Wait for the build that hangs, and return its process id."""
        deadline = time.monotonic() + 60
        file = self.folder / "pid"
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return int(file.read_text(encoding="utf-8"))
