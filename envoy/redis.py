#!/usr/bin/env python3
"""Prints how Debian's `redis-server` is run, which has TLS: the directory of its libraries, and its path, a line each.

Taken are the packages `redis-tools`, which holds the server, and what it needs, by apt; they are unpacked into .tools/ of this
project, once, and nothing is installed. Nothing else goes to stdout.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from valkey import TOOLS, NotFound, once

PACKAGES = ["redis-tools", "liblzf1", "libjemalloc2"]
SECONDS = 120


def installed() -> Path:
    """The directory that the packages were unpacked to."""
    try:
        return once(TOOLS / "redis-debian" / "redis-server", unpack).parent
    except (OSError, subprocess.SubprocessError) as wrong:
        raise NotFound(f"there is no redis-server, and it could not be had: {wrong}") from wrong


def unpack(server: Path) -> None:
    """Last of all the directory gets its name, so that half of it is none."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        print("downloading Debian's redis-server into .tools (1 MB, once)", file=sys.stderr)
        if download(scratch) != 0:  # the lists of packages may be old, or not there yet
            subprocess.run(["apt-get", "update", "-qq"], stdout=sys.stderr, timeout=SECONDS, check=False)
            if download(scratch) != 0:
                raise OSError(f"`apt-get download {' '.join(PACKAGES)}` failed")
        unpacked = Path(scratch) / "unpacked"
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, unpacked], stdout=sys.stderr, timeout=SECONDS, check=True)
        kept = Path(scratch) / "kept"
        kept.mkdir()
        for library in unpacked.glob("usr/lib/*/*.so*"):
            shutil.copy(library, kept / library.name)
        # One program, which is what it is called.
        shutil.copy(unpacked / "usr" / "bin" / "redis-check-rdb", kept / "redis-server")
        shutil.rmtree(server.parent, ignore_errors=True)
        kept.rename(server.parent)


def download(scratch: str) -> int:
    words = ["apt-get", "download", "-qq", *PACKAGES]
    return subprocess.run(words, cwd=scratch, stdout=sys.stderr, timeout=SECONDS, check=False).returncode


def main() -> int:
    try:
        directory = installed()
        print(directory)
        print(directory / "redis-server")
        return 0
    except NotFound as wrong:
        print(wrong, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
