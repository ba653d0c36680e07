#!/usr/bin/env python3
"""Prints the paths of programs, a line each, in the order in which they are named: `debian.py chromium chromedriver`.

Taken are those on the PATH; else Debian's packages are installed, which wants its administrator. Nothing but the paths goes to
stdout.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
SECONDS = 600
# Where the package is called otherwise than its program.
PACKAGES = {"chromedriver": "chromium-driver", "node": "nodejs", "systemd-analyze": "systemd"}


def install(programs: list[str]) -> None:
    packages = [PACKAGES.get(program, program) for program in programs]
    print(f"installing Debian's {', '.join(packages)} (once)", file=sys.stderr)
    subprocess.run(["apt-get", "update", "-qq"], stdout=sys.stderr, timeout=SECONDS, check=False)
    words = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages]
    subprocess.run(words, stdout=sys.stderr, timeout=SECONDS, check=False)


def missing(programs: list[str]) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]


def main(programs: list[str]) -> int:
    try:
        TOOLS.mkdir(exist_ok=True)
        with open(TOOLS / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may have been quicker
            if missing(programs):
                install(missing(programs))
    except (OSError, subprocess.TimeoutExpired) as wrong:
        print(f"{', '.join(programs)} could not be had: {wrong}", file=sys.stderr)
    if missing(programs):
        print(f"there is no {', '.join(missing(programs))}; put it on the PATH", file=sys.stderr)
        return 1
    print("\n".join(str(shutil.which(program)) for program in programs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
