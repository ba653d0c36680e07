#!/usr/bin/env python3
"""Checks every deployment file by a real checker: `python3 tests/deploy/check.py SPILLWAY`, a binary of it.

    Dockerfile      hadolint; buildah builds the image from the binary and runs it
    kubernetes      kubernetes-validate --strict, against the schemas of Kubernetes
    helm            Helm's lint and rendering; what is rendered as above; by default it is what envoy/kubernetes has
    istio           schemas of the resources; the patches in a real Envoy's `--mode validate`, and in `spillway check --envoy`
    gateway         the schema of BackendTrafficPolicy, where CRDS names a directory with Envoy Gateway's CRDs
    systemd         systemd-analyze verify and security, whose exposure level is held
    compose.yaml    the schema of Compose files
    packaging       the tarball made twice, to the same bytes; mandoc's lint; the schema of CycloneDX

What the flags and variables in them mean to the binary, tests/it/deploy.rs checks.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

sys.dont_write_bytecode = True
import tools  # noqa: E402

ROOT = tools.ROOT
ENVOY = ROOT / "envoy"
SECONDS = 120
# The most that `systemd-analyze security` may say of the unit: 0 is locked up, 10 is open.
EXPOSURE = 1.5
# Of Kubernetes itself; the oldest that the chart promises, and the newest that there are schemas of.
KUBERNETES = ("1.25", "1.37")
CUSTOM = ("networking.istio.io/", "monitoring.coreos.com/", "gateway.envoyproxy.io/")


class Wrong(Exception):
    """What a checker found."""


def main(spillway: Path) -> int:
    home = tools.home()
    python = home / "bin" / "python"
    if Path(sys.prefix).resolve() != home.resolve():
        # Once more, where the checkers that are libraries can be imported.
        return subprocess.run([python, Path(__file__).resolve(), spillway], check=False).returncode
    checks: list[tuple[str, Callable[[], None]]] = [
        ("envoy/docker/Dockerfile", lambda: dockerfile(home)),
        ("envoy/docker/Dockerfile, built and run", lambda: image(spillway)),
        ("envoy/kubernetes", lambda: manifests(sorted((ENVOY / "kubernetes").rglob("*.yaml")))),
        ("envoy/helm/spillway", chart),
        ("envoy/istio", lambda: istio(spillway)),
        ("envoy/gateway", gateway),
        ("envoy/systemd/spillway.service", lambda: unit(spillway)),
        ("envoy/compose.yaml", compose),
        ("packaging", lambda: tarball(spillway)),
    ]
    failed = 0
    for name, check in checks:
        try:
            check()
            print(f"ok      {name}", flush=True)
        except (Wrong, subprocess.TimeoutExpired) as wrong:
            failed += 1
            print(f"FAILED  {name}\n{wrong}", flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


# === Containers ===


def dockerfile(home: Path) -> None:
    run(str(home / "bin" / "hadolint"), str(ENVOY / "docker" / "Dockerfile"))


def image(spillway: Path) -> None:
    """The stage that takes a binary; the other one only compiles it first."""
    (buildah,) = tools.debian("buildah")
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        stripped = here / "spillway"
        run("strip", "-o", str(stripped), str(spillway))
        run(str(ENVOY / "docker" / "rootfs.sh"), str(stripped), str(here / "context" / "rootfs"))
        base = [buildah, "--root", str(here / "root"), "--runroot", str(here / "run"), "--storage-driver", "vfs"]
        file = ["--file", str(ENVOY / "docker" / "Dockerfile"), str(here / "context")]
        run(*base, "bud", "--isolation", "chroot", "--target", "prebuilt", "--tag", "spillway", *file)
        told = json.loads(run(*base, "inspect", "--type", "image", "spillway"))["OCIv1"]["config"]
        same(told["User"], "65534:65534", "user")
        same(told["Entrypoint"] + told["Cmd"], ["/bin/spillway", "serve"], "what it runs")
        same(sorted(told["ExposedPorts"]), ["6070/tcp", "8080/tcp", "8081/tcp"], "ports")
        container = run(*base, "from", "spillway").strip().splitlines()[-1]
        inside = [*base, "run", "--isolation", "chroot", container, "--"]
        for program in ("/bin/spillway", "/bin/ratelimit"):
            same(run(*inside, program, "--version").split()[0], "spillway", program)
        run(*base, "rm", container)


# === Kubernetes ===


def manifests(files: list[Path]) -> None:
    found = [document for file in files for document in documents(file.read_text(encoding="utf-8"))]
    validate(found)


def validate(resources: list[Any]) -> None:
    import kubernetes_validate

    own = [resource for resource in resources if not resource["apiVersion"].startswith(CUSTOM)]
    for resource in own:
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(map(str, error.path))
                name = resource["metadata"]["name"]
                raise Wrong(f"{resource['kind']} {name}, {version}: {where}: {error.message}") from error
    schemas([resource for resource in resources if resource not in own])


def schemas(resources: list[Any]) -> None:
    """Of resources that Kubernetes itself does not know; of those of Envoy Gateway, see `gateway`."""
    (node,) = tools.debian("node")
    modules = Path(sys.prefix) / "node" / "node_modules"
    words = [node, str(ROOT / "tests" / "deploy" / "custom.mjs"), str(modules)]
    said = run(*words, given=json.dumps(resources))
    if said:
        raise Wrong(said)


EVERYTHING = {
    "imagePullSecrets": [{"name": "registry"}],
    "subjectsSecret": "spillway-subjects",
    "autoscaling": {"enabled": False},
    "replicaCount": 1,
    "extraArgs": ["--max-connection-age", "1h"],
    "extraEnv": [{"name": "SPILLWAY_LOG_LEVEL", "value": "debug"}],
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
}
SECURED = {
    "store": {
        "url": "rediss://spillway@valkey:6379?lease=on",
        "passwordSecretName": "valkey",
        "caSecretName": "valkey",
        "timeout": "20ms",
    },
    "grpcTls": {"secretName": "grpc", "clientCaSecretName": "grpc", "clientSans": ["a.example", "b.example"]},
    "admin": {"exposed": True, "tokenSecretName": "admin", "tlsSecretName": "admin", "clientCaSecretName": "admin"},
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
}
TLS = {
    "grpcTls": {
        "secretName": "spillway-grpc-tls",
        "clientCaSecretName": "spillway-grpc-clients",
        "clientSans": ["spiffe://cluster.local/ns/gateway/sa/envoy"],
    }
}
DISK = {"store": {"disk": {"enabled": True}, "timeout": "50ms"}}
# What the schema of the values has to refuse.
REFUSED: list[dict[str, Any]] = [
    {"replicas": 3},
    {"image": {"tag": 1}},
    {"drainDelaySeconds": "15s"},
    {"logFormat": "xml"},
    # Passwords are for Secrets.
    {"store": {"url": "redis://:password@valkey:6379"}},
    {"store": {"passwordSecretName": "valkey"}},
    {"store": {"url": "redis://valkey:6379", "disk": {"enabled": True}}},
    {"grpcTls": {"clientCaSecretName": "grpc"}},
    {"grpcTls": {"secretName": "grpc", "clientSans": ["a.example"]}},
    # Others than the pod itself could change limits.
    {"admin": {"exposed": True}},
    {"admin": {"exposed": True, "tlsSecretName": "admin"}},
]


def chart() -> None:
    import helm_python

    helm_python.disable_logging()
    place = str(ENVOY / "helm" / "spillway")
    for values in ({}, EVERYTHING, SECURED, TLS, DISK):
        told = helm_python.lint(place, values, strict=True)
        # An icon is recommended, and there is none.
        severe = [message for message in told["messages"] if message["severity"] > 1]
        if severe or told["errors"]:
            raise Wrong(f"lint: {severe} {told['errors']}")
        validate(rendered(values))
    for values in REFUSED:
        try:
            rendered(values)
        except helm_python.HelmValuesError:
            continue
        raise Wrong(f"these values are not refused: {values}")
    mounts_have_volumes(rendered(SECURED))
    home = ENVOY / "kubernetes"
    usual, (monitor,) = sorted(home.glob("*.yaml")), home.glob("prometheus-operator/*.yaml")
    same_as_manifests(rendered({"serviceMonitor": {"enabled": True}}), [*usual, monitor])
    others = [file for file in usual if file.name != "deployment.yaml"]
    same_as_manifests(rendered(TLS), [*others, home / "tls" / "deployment.yaml"])
    # One replica needs no budget of disruptions, and has no autoscaler.
    alone = [home / name for name in ("policies.yaml", "service.yaml", "disk/stateful-set.yaml")]
    same_as_manifests(rendered({**DISK, "podDisruptionBudget": {"enabled": False}}), alone)


def mounts_have_volumes(resources: list[Any]) -> None:
    """Each file that a flag or a URL names is below a directory that is there, and each directory is a volume."""
    (pod,) = [one["spec"]["template"]["spec"] for one in resources if one["kind"] == "Deployment"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    same(sorted(mounts.values()), sorted(volume["name"] for volume in pod["volumes"]), "volumes, and where they are")
    (store,) = [one["value"] for one in container["env"] if one["name"] == "SPILLWAY_STORE"]
    address, *parameters = store.replace("?", "&").split("&")
    same(address, "rediss://spillway@valkey:6379", "where counters are")
    named = [value for _, value in (parameter.split("=") for parameter in parameters) if value.startswith("/")]
    named += [argument for argument in container["args"] if argument.startswith("/") and argument != "/config"]
    same(len(named), 9, "files that are named")
    for path in named:
        same(str(Path(path).parent) in mounts, True, f"whether there is a directory for {path}")


def rendered(values: dict[str, Any]) -> list[Any]:
    import helm_python

    files = helm_python.Chart.load(str(ENVOY / "helm" / "spillway")).render(values, name="spillway", namespace="default")
    return [document for name, text in files.items() if name.endswith(".yaml") for document in documents(text)]


def same_as_manifests(of_chart: list[Any], files: list[Path]) -> None:
    """The chart's resources have the `spec` and the `data` of those in the files, but for its labels."""
    ours = [document for file in files for document in documents(file.read_text(encoding="utf-8"))]
    left = {(resource["kind"], resource["metadata"]["name"]): plain(resource) for resource in of_chart}
    for resource in ours:
        kind, name = resource["kind"], resource["metadata"]["name"]
        same(left.pop((kind, name), None), plain(resource), f"{kind} {name} of the chart")
    same(list(left), [], "more resources of the chart")


def plain(resource: Any) -> Any:
    """Without what only the chart says."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            of_chart = ("app.kubernetes.io/instance", "imagePullPolicy")
            return {key: strip(inner) for key, inner in value.items() if key not in of_chart}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return strip({key: value for key, value in resource.items() if key not in ("metadata",)})


# === Istio and Envoy Gateway ===


def istio(spillway: Path) -> None:
    files = sorted((ENVOY / "istio").glob("*.yaml"))
    manifests(files)
    (policies,) = documents((ENVOY / "kubernetes" / "policies.yaml").read_text(encoding="utf-8"))
    envoy = run(sys.executable, str(ENVOY / "find.py")).split()
    same(patches(ENVOY / "istio" / "gateway-api.yaml"), patches(ENVOY / "istio" / "gateway.yaml"), "patches of gateway-api.yaml")
    for file in files:
        filters = [one for one in documents(file.read_text(encoding="utf-8")) if one["kind"] == "EnvoyFilter"]
        for one in filters:
            with tempfile.TemporaryDirectory() as scratch:
                here = Path(scratch)
                config = here / "envoy.json"
                config.write_text(json.dumps(bootstrap(one)), encoding="utf-8")
                run(*envoy, "--mode", "validate", "-c", str(config))
                (here / "config").mkdir()
                for name, text in policies["data"].items():
                    (here / "config" / name).write_text(text, encoding="utf-8")
                check = [str(spillway), "check", "--strict", "--envoy", str(config), str(here / "config")]
                said = run(*check, "--format", "json")
                severe = [one for one in json.loads(said or "[]") if one.get("severity") in ("warning", "error")]
                if severe:
                    raise Wrong(f"{file.name}: {severe}")


def patches(file: Path) -> Any:
    """What an EnvoyFilter changes, whatever it is attached to, and how the mesh calls Spillway."""
    filter_, rule = documents(file.read_text(encoding="utf-8"))
    return filter_["spec"]["configPatches"], rule


def bootstrap(envoy_filter: Any) -> dict[str, Any]:
    """An Envoy with what Istio makes of the patches: filters before the router, and their virtual host's own words."""
    patches = [(patch["applyTo"], patch["patch"]["value"]) for patch in envoy_filter["spec"]["configPatches"]]
    *before, limiter = [value for place, value in patches if place == "HTTP_FILTER"]
    (of_host,) = [value for place, value in patches if place == "VIRTUAL_HOST"]
    service = limiter["typed_config"]["rate_limit_service"]["grpc_service"]["envoy_grpc"]
    same(service["cluster_name"], f"outbound|8081||{service['authority']}", "cluster and authority")
    extensions = "type.googleapis.com/envoy.extensions"
    router = {"name": "router", "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"}}
    host = {"name": "shop", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "shop"}}]}
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "shop",
        "use_remote_address": True,
        "http_filters": [*before, limiter, router],
        "route_config": {"virtual_hosts": [{**host, **of_host}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    options = {"@type": f"{extensions}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    protocol = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
    # As the DestinationRule has it.
    breakers = {"thresholds": [{"max_requests": 100_000}]}
    spillway = {"name": service["cluster_name"], "typed_extension_protocol_options": protocol, "circuit_breakers": breakers}
    listener = {"name": "shop", "address": loopback(10000), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [{"name": "shop"}, spillway]}}


def loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def gateway() -> None:
    import jsonschema
    import yaml

    # They have no schema: it is Go's type alone.
    (values,) = documents((ENVOY / "gateway" / "values.yaml").read_text(encoding="utf-8"))
    same(list(values), ["config"], "what is no value of Envoy Gateway's chart")
    same(sorted(values["config"]["envoyGateway"]), ["provider", "rateLimit"], "what is said of Envoy Gateway")
    (policy,) = documents((ENVOY / "gateway" / "examples" / "backend-traffic-policy.yaml").read_text(encoding="utf-8"))
    ranges = [one["sourceCIDR"]["value"] for rule in policy["spec"]["rateLimit"]["global"]["rules"]
              for one in rule["clientSelectors"] if "sourceCIDR" in one]
    same(ranges, ["0.0.0.0/0", "::/0"], "families of addresses that have a limit")
    place = os.environ.get("CRDS")
    if not place:
        print("NOT CHECKED: envoy/gateway/examples; make check-deploy CRDS=DIR, with Envoy Gateway's CRDs in it")
        return
    file = Path(place) / "gateway.envoyproxy.io_backendtrafficpolicies.yaml"
    (version,) = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["versions"]
    checker = jsonschema.Draft7Validator(closed(version["schema"]["openAPIV3Schema"]))
    wrong = [f"{error.json_path}: {error.message[:200]}" for error in checker.iter_errors(policy)]
    if wrong:
        raise Wrong("\n".join(wrong))


def closed(schema: Any) -> Any:
    """The schema with which a key that it does not know is a mistake, as it is to a server that validates strictly."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    # `metadata` is an object of any kind there.
    if schema.get("type") == "object" and schema.get("properties") and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner


# === Machines ===


def unit(spillway: Path) -> None:
    text = (ENVOY / "systemd" / "spillway.service").read_text(encoding="utf-8")
    (analyze,) = tools.debian("systemd-analyze")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "spillway.service"
        # It wants the program to be there.
        file.write_text(text.replace("/usr/local/bin/spillway", str(spillway)), encoding="utf-8")
        # What it does not know it only mentions.
        said = run(analyze, "verify", "--man=no", str(file))
        if said:
            raise Wrong(said)
        *_, level = run(analyze, "security", "--offline=true", "--no-pager", str(file)).strip().splitlines()
        exposure = float(level.split(": ")[1].split()[0])
        if exposure > EXPOSURE:
            raise Wrong(f"{level}; it may be {EXPOSURE} at most")


def compose() -> None:
    import importlib.util

    import jsonschema

    (file,) = documents((ENVOY / "compose.yaml").read_text(encoding="utf-8"))
    package = importlib.util.find_spec("compose")
    assert package and package.submodule_search_locations
    schema = Path(package.submodule_search_locations[0]) / "config" / "compose_spec.json"
    checker = jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8")))
    wrong = [f"{error.json_path}: {error.message[:200]}" for error in checker.iter_errors(file)]
    if wrong:
        raise Wrong("\n".join(wrong))


# === What is given to others ===


def tarball(spillway: Path) -> None:
    """Of the binary that there is: what a release build does besides, takes too long here."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        run("strip", "-o", str(here / "spillway"), str(spillway))
        made = []
        for number, umask in ((1, 0o022), (2, 0o077)):
            before = os.umask(umask)
            try:
                run(sys.executable, str(ROOT / "packaging" / "dist.py"), str(here / "spillway"), DIST=str(here / str(number)))
            finally:
                os.umask(before)
            (file,) = (here / str(number)).glob("*.tar.gz")
            made.append(file.read_bytes())
        same(made[0] == made[1], True, "whether the same sources make the same bytes")
        with tarfile.open(file) as tar:
            tar.extractall(here / "unpacked", filter="data")
        (root,) = (here / "unpacked").iterdir()
        same(run(str(root / "bin" / "ratelimit"), "--version").split()[0], "spillway", "the program in it")
        (mandoc,) = tools.debian("mandoc")
        run(mandoc, "-T", "lint", "-W", "error", *map(str, sorted((root / "share/man/man1").iterdir())))
        run("bash", "-n", str(root / "share/bash-completion/completions/spillway"))
        bill = (root / "share/doc/spillway/sbom.cdx.json").read_text(encoding="utf-8")
        wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(bill)
        if wrong:
            raise Wrong(f"sbom.cdx.json: {wrong}")


# === Common ===


def documents(text: str) -> Iterator[Any]:
    import yaml

    return (document for document in yaml.safe_load_all(text) if document is not None)


def same(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {json.dumps(found)}, and not {json.dumps(wanted)}")


def run(*words: str, given: str = "", **variables: str) -> str:
    """What a program says; a mistake when it fails."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, **variables}
    done = subprocess.run(words, input=given, env=environment, timeout=SECONDS, check=False, **pipes)
    if done.returncode != 0:
        raise Wrong(f"`{' '.join(words[:3])} …` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    if Path(words[0]).name == "systemd-analyze":
        return done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).absolute()))
