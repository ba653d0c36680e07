#!/usr/bin/env python3
"""Prints the path of `promtool`, which checks what /metrics says, or of the other program that is named: `prometheus`.

Taken is the one on the PATH, and else that of Debian's package `prometheus`, which is unpacked into .tools/ of this
project, once. Nothing but the path goes to stdout.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
SECONDS = 120


def installed() -> Path:
    """Debian's, which is unpacked when it is not there yet."""
    promtool = TOOLS / "prometheus" / "usr" / "bin" / "promtool"
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may have been quicker
        if not promtool.exists():
            unpack(promtool)
    return promtool


def unpack(promtool: Path) -> None:
    """Last of all the directory gets its name, so that half of it is none."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        print("downloading Debian's prometheus into .tools (19 MB, once)", file=sys.stderr)
        run("apt-get", "download", "prometheus", directory=scratch)
        (package,) = Path(scratch).glob("prometheus_*.deb")
        run("dpkg-deb", "-x", str(package), str(Path(scratch) / "unpacked"), directory=scratch)
        home = promtool.parent.parent.parent
        shutil.rmtree(home, ignore_errors=True)
        (Path(scratch) / "unpacked").rename(home)


def run(*words: str, directory: str) -> None:
    done = subprocess.run(words, cwd=directory, stdout=sys.stderr, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise OSError(f"`{' '.join(words)}` failed")


def main() -> int:
    program = sys.argv[1] if len(sys.argv) > 1 else "promtool"
    try:
        print(shutil.which(program) or installed().with_name(program))
        return 0
    except (OSError, ValueError, subprocess.TimeoutExpired) as wrong:
        print(f"there is no {program}, and it could not be had: {wrong}; put one on the PATH", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
