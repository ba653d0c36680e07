"""What the program is made of: its bill of materials in CycloneDX, and the licences of its dependencies."""

import json
import subprocess
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List

TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
LICENCE_FILES = ("license", "licence", "copying", "copyright", "notice", "unlicense")


def metadata(cargo: str) -> Dict[str, Any]:
    import platform

    words = [cargo, "metadata", "--format-version", "1", "--locked"]
    target = TARGETS.get(platform.machine())
    words += ["--filter-platform", target] if target else []
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)


def program(of: Dict[str, Any]) -> Dict[str, Any]:
    """The package that is built."""
    (package,) = [package for package in of["packages"] if package["id"] == of["resolve"]["root"]]
    return package


def dependencies(of: Dict[str, Any]) -> Dict[str, List[str]]:
    """What each package that is in the program, or builds it, depends on; what only tests need is not there."""
    nodes = {node["id"]: node for node in of["resolve"]["nodes"]}
    found: Dict[str, List[str]] = {}
    waiting = [of["resolve"]["root"]]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        kept = [one["pkg"] for one in nodes[at]["deps"] if any(kind["kind"] != "dev" for kind in one["dep_kinds"])]
        found[at] = sorted(kept)
        waiting += kept
    return found


def bill(of: Dict[str, Any], epoch: int) -> Dict[str, Any]:
    """A bill of materials, CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>)."""
    packages = {package["id"]: package for package in of["packages"]}
    depends = dependencies(of)
    root = program(of)
    sums = checksums()
    parts = [component(packages[one], sums) for one in sorted(depends) if one != root["id"]]
    edges = [{"ref": url(packages[one]), "dependsOn": [url(packages[on]) for on in depends[one]]} for one in sorted(depends)]
    main = {**component(root, sums), "type": "application"}
    when = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    # The same for the same parts.
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([parts, edges, when]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"timestamp": when, "component": main},
        "components": parts,
        "dependencies": edges,
    }


def component(package: Dict[str, Any], sums: Dict[str, str]) -> Dict[str, Any]:
    made: Dict[str, Any] = {
        "type": "library",
        "bom-ref": url(package),
        "name": package["name"],
        "version": package["version"],
        "purl": url(package),
    }
    if package.get("license"):
        # Cargo's old way to write OR.
        made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    elif package.get("license_file"):
        made["licenses"] = [{"license": {"name": f"as its {Path(package['license_file']).name} says"}}]
    checksum = sums.get(f"{package['name']} {package['version']}")
    if checksum:
        made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return made


def url(package: Dict[str, Any]) -> str:
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def checksums() -> Dict[str, str]:
    """Those of Cargo.lock, by name and version."""
    found: Dict[str, str] = {}
    name = version = ""
    for line in Path("Cargo.lock").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(" = ")
        value = value.strip('"')
        if key == "name":
            name = value
        elif key == "version":
            version = value
        elif key == "checksum":
            found[f"{name} {version}"] = value
    return found


def licences(of: Dict[str, Any]) -> str:
    """The licences of all that is in the program, each text once, with those that have it."""
    packages = {package["id"]: package for package in of["packages"]}
    root = program(of)["id"]
    listed: List[str] = []
    texts: Dict[str, List[str]] = {}
    for one in sorted(dependencies(of)):
        package = packages[one]
        if one == root:
            continue
        name = f"{package['name']} {package['version']}"
        folder = Path(package["manifest_path"]).parent
        files = [file for file in sorted(folder.iterdir()) if file.name.lower().startswith(LICENCE_FILES) and file.is_file()]
        listed.append(f"{name}: {package.get('license') or ', '.join(file.name for file in files)}")
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            names = texts.setdefault(text, [])
            if name not in names:
                names.append(name)
    parts = ["The program has parts of these, under the licences named and shown below.", "\n".join(listed)]
    parts += [f"{'=' * 72}\n{', '.join(names)}\n{'=' * 72}\n\n{text}" for text, names in texts.items()]
    return "\n\n".join(parts) + "\n"
