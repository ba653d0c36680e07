#!/usr/bin/env python3
"""Prints the paths of `chromium` and of `chromedriver`, a line each: the browser that tests open the page of the admin port in.

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


def found() -> list[str]:
    return [path for path in (shutil.which("chromium"), shutil.which("chromedriver")) if path]


def install() -> None:
    print("installing Debian's chromium and chromium-driver (290 MB, once)", file=sys.stderr)
    words = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium", "chromium-driver"]
    subprocess.run(["apt-get", "update"], stdout=sys.stderr, timeout=SECONDS, check=False)
    subprocess.run(words, stdout=sys.stderr, timeout=SECONDS, check=False)


def main() -> int:
    try:
        TOOLS.mkdir(exist_ok=True)
        with open(TOOLS / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may have been quicker
            if len(found()) < 2:
                install()
    except (OSError, subprocess.TimeoutExpired) as wrong:
        print(f"Chromium could not be had: {wrong}", file=sys.stderr)
    if len(found()) < 2:
        print("there is no chromium with chromedriver; put both on the PATH", file=sys.stderr)
        return 1
    print("\n".join(found()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
