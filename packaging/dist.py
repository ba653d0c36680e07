#!/usr/bin/env python3
"""Makes what is given to others, in target/dist: `python3 packaging/dist.py [BINARY]`.

A tarball with the program, manual pages, completions, the schema for editors, licences, a bill of materials, the example policies
and the deployment files; and its SHA-256. The same sources, compiler and C library give the same bytes: paths of this machine
are mapped away, files are sorted, and all times are that of the last commit, or $SOURCE_DATE_EPOCH.

Without BINARY the program is built, with flags of its own.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

sys.dont_write_bytecode = True
import materials  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO") or "cargo"
SHELLS = {"bash": "bash-completion/completions/spillway", "zsh": "zsh/site-functions/_spillway"}
SHELLS["fish"] = "fish/vendor_completions.d/spillway.fish"


def main(arguments: List[str]) -> int:
    os.chdir(ROOT)
    metadata = materials.metadata(CARGO)
    package = materials.program(metadata)
    name = f"spillway-{package['version']}-{platform.machine()}-linux-gnu"
    epoch = time_of_sources()
    binary = Path(arguments[0]) if arguments else build(epoch)
    target = Path(os.environ.get("DIST") or "target/dist")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / name
        fill(root, binary, metadata, epoch)
        tarball = target / f"{name}.tar.gz"
        tarball.write_bytes(packed(root, epoch))
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    (target / f"{name}.tar.gz.sha256").write_text(f"{digest}  {tarball.name}\n", encoding="utf-8")
    print(f"{tarball}: {tarball.stat().st_size / 1e6:.1f} MB, sha256 {digest}")
    return 0


def time_of_sources() -> int:
    """Seconds since 1970."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    return int(told or said("git", "log", "-1", "--format=%ct"))


def build(epoch: int) -> Path:
    """A stripped binary in which no path of this machine is."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    places = [(str(ROOT), "/spillway"), (str(home), "/cargo")]
    rust = " ".join(f"--remap-path-prefix={place}={name}" for place, name in places)
    c = " ".join(f"-ffile-prefix-map={place}={name}" for place, name in places)
    flags = {"RUSTFLAGS": rust, "CFLAGS": c, "CXXFLAGS": c, "CARGO_PROFILE_RELEASE_STRIP": "symbols"}
    environment = {**os.environ, **flags, "SOURCE_DATE_EPOCH": str(epoch)}
    words = [CARGO, "build", "--release", "--locked", "--bin", "spillway"]
    subprocess.run(words, env=environment, check=True)
    return ROOT / "target" / "release" / "spillway"


def fill(root: Path, binary: Path, metadata: Dict[str, Any], epoch: int) -> None:
    share = root / "share"
    for folder in ("bin", "share/doc/spillway", "share/spillway", "share/man/man1"):
        (root / folder).mkdir(parents=True)
    program = root / "bin" / "spillway"
    shutil.copy(binary, program)
    # For deployments of envoyproxy/ratelimit.
    (root / "bin" / "ratelimit").symlink_to("spillway")
    said(str(program), "man", str(share / "man" / "man1"))
    for shell, place in SHELLS.items():
        file = share / place
        file.parent.mkdir(parents=True)
        file.write_text(said(str(program), "completions", shell), encoding="utf-8")
    (share / "spillway" / "spillway.schema.json").write_text(said(str(program), "schema"), encoding="utf-8")
    tracked = said("git", "ls-files", "config", "envoy").splitlines()
    for path in tracked:
        file = share / "spillway" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, file)
    documents = share / "doc" / "spillway"
    for path in ("LICENSE", "README.md", "CHANGELOG.md"):
        shutil.copy(path, documents / path)
    (documents / "THIRD-PARTY-LICENSES.txt").write_text(materials.licences(metadata), encoding="utf-8")
    bill = materials.bill(metadata, epoch)
    (documents / "sbom.cdx.json").write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def packed(root: Path, epoch: int) -> bytes:
    """A tarball of what is in `root`, which says nothing of who made it, where and when."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, name in files(root):
            entry = tar.gettarinfo(str(path), name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = epoch
            entry.mode = 0o755 if entry.isdir() or entry.issym() or entry.mode & 0o100 else 0o644
            if entry.isreg():
                with open(path, "rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
    outer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=outer, mode="wb", compresslevel=9, mtime=epoch) as file:
        file.write(inner.getvalue())
    return outer.getvalue()


def files(root: Path) -> Iterator[Tuple[Path, str]]:
    """In the order of their names, wherever the file system has them."""
    for path in sorted([root, *root.rglob("*")]):
        yield path, str(path.relative_to(root.parent))


def said(*words: str) -> str:
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
