#!/usr/bin/env python3
"""Spillway's first minute: builds it, puts it behind a real Envoy, sends some requests and shows what became of them.

    make demo               ends by itself and leaves nothing running; exit code 0 when every answer was the right one
    make demo HOLD=1        keeps everything up for requests of your own, until Ctrl-C
    make demo STORE=redis   counters in a Valkey that two Spillways share; STORE=memory: in memory; the default is on disk

$SPILLWAY is a binary to take instead of building one; $ENVOY an Envoy (see find.py). NO_COLOR is honoured.
What is sent and what must come back is in tables.py.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Type

sys.dont_write_bytecode = True  # no __pycache__ beside the sources
import find  # noqa: E402
from showing import paint, say, show  # noqa: E402
from tables import HOUR, LASTING, TABLES, Response, Step, Table  # noqa: E402
from upstream import Upstream  # noqa: E402
import valkey  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORTS = {"gateway": 10000, "envoy admin": 9901, "spillway grpc": 8081, "spillway http": 8080, "upstream": 8000}
PORTS["spillway admin"] = 6070
MORE_PORTS = {"another spillway grpc": 0, "another spillway http": 0, "another spillway admin": 0, "valkey": 0}  # any that is free
ENVOY_OPTIONS = "--disable-hot-restart --concurrency 2 --log-level warn --file-flush-interval-msec 20".split()
STORES = ("disk", "redis", "memory")
READY_SECONDS = 20.0
DEMO_SECONDS = 5  # what the first table takes, generously
PROGRESS_WIDTH = 110


# === Asking ===


class Failure(Exception):
    """The demonstration is over; the message says why and what to do."""


def send(stack: "Stack", table: Table) -> List[List[Response]]:
    """Sends the requests of all steps, one after the other, on one connection."""
    connection = HTTPConnection(HOST, stack.ports["gateway"], timeout=5)
    # The user agent tells the requests apart in the access log.
    marks = (f"spillway-demo/{time.time_ns()}.{n}" for n in count())
    unruled: List[List[Tuple[str, Response]]] = []
    try:
        for step in table.steps:
            time.sleep(step.pause)
            unruled.append(
                [(mark, one(connection, table, step, n, mark)) for n, mark in zip(range(1, step.times + 1), marks)]
            )
            stack.check()
    except (OSError, HTTPException) as error:
        stack.check()
        raise Failure(f"Envoy did not answer: {error}") from error
    finally:
        connection.close()
    rules = stack.rules({mark for step in unruled for mark, _ in step})
    return [[Response(r.status, r.headers, r.body, rules[mark]) for mark, r in step] for step in unruled]


def one(connection: HTTPConnection, table: Table, step: Step, n: int, mark: str) -> Response:
    method, path = step.sent(n)
    connection.request(method, path, headers={**step.who.headers, "Host": table.host, "User-Agent": mark})
    response = connection.getresponse()
    body = response.read().decode(errors="replace")
    headers: Dict[str, str] = {}
    for name, value in response.getheaders():
        twice = headers.get(name.lower())  # which is never expected, and must be seen
        headers[name.lower()] = value if twice is None else f"{twice}, {value}"
    return Response(response.status, headers, body)


# === What runs ===


class Child:
    """A process with its output in files; it and what it started end together."""

    def __init__(self, name: str, words: Sequence[str], logs: Path, capture: bool = True) -> None:
        self.name, self.captured = name, capture
        self.out, self.err = logs / f"{name}.out", logs / f"{name}.err"
        try:
            with open(self.out, "ab") as out, open(self.err, "ab") as err:
                self.process = subprocess.Popen(
                    words,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=out if capture else subprocess.PIPE,
                    stderr=err if capture else None,
                    start_new_session=True,  # Ctrl-C is for us, who end the children in order
                )
        except OSError as error:
            raise Failure(f"cannot run `{words[0]}`: {error.strerror}") from error

    def check(self) -> None:
        code = self.process.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise Failure(f"{self.name} {how}")

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)

    def stop(self, patience: float = 5) -> None:
        for wanted, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
            with suppress(ProcessLookupError, PermissionError):  # nobody is left, which macOS says in the second way
                os.killpg(self.process.pid, wanted)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # whoever has outlived the one that we started

    def tail(self, lines: int = 12) -> str:
        text = self.err.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  | {line[:500]}" for line in text[-lines:]) or "  | (nothing)"


class Stack:
    """An API, Spillway and Envoy; ends all of them on leaving, whatever the reason."""

    def __init__(self, store: str) -> None:
        self.store = store
        # Of two, each with its own ports, one is enough as long as nobody but Spillway has the counters.
        self.spillways = ["spillway", "another spillway"] if store == "redis" else ["spillway"]
        self.children: Dict[str, Child] = {}
        self.ports: Dict[str, int] = {}
        self.upstream: Optional[Upstream] = None
        self.folder = tempfile.TemporaryDirectory(prefix="spillway-demo-")
        self.logs = Path(self.folder.name)

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        for number in SIGNALS:  # a second Ctrl-C would leave something behind
            signal.signal(number, signal.SIG_IGN)
        try:
            if isinstance(error, Failure):
                complain(error)
                for child in self.children.values():
                    if child.captured:
                        print(f"\nthe last that {child.name} said:\n{child.tail()}", file=sys.stderr)
        finally:  # also when nobody reads that any more
            for name in reversed(list(self.children)):
                self.children[name].stop()
            if self.upstream:
                self.upstream.server_close()
            self.folder.cleanup()

    def start(self, spillway: str, envoy: Sequence[str]) -> None:
        self.ports = free_ports({**PORTS, **(MORE_PORTS if self.store == "redis" else {})})
        try:
            self.upstream = Upstream(self.ports["upstream"])
        except OSError as error:
            raise Failure(f"cannot listen on port {self.ports['upstream']}: {error.strerror}") from error
        threading.Thread(target=self.upstream.serve_forever, daemon=True).start()
        if self.store == "redis":
            server = [str(valkey.installed()), "--bind", HOST, "--port", str(self.ports["valkey"]), "--save", ""]
            self.run("valkey", [*server, "--dir", str(self.logs)])
            self.wait("Valkey", lambda: socket.create_connection((HOST, self.ports["valkey"])).close() is None)
        self.start_spillways(spillway)
        config = self.logs / "envoy.yaml"
        sample = (ROOT / "envoy/envoy.yaml").read_text(encoding="utf-8")
        replicas = [self.ports[f"{name} grpc"] for name in self.spillways]
        config.write_text(with_replicas(with_ports(sample, self.ports), replicas), encoding="utf-8")
        self.run("envoy", [*envoy, "-c", str(config), *ENVOY_OPTIONS])
        self.wait("Envoy to be ready", lambda: self.get("envoy admin", "/ready")[0] == 200)
        self.wait_until_asked()

    def start_spillways(self, binary: str) -> None:
        where = {"disk": f"disk:{self.logs / 'counters'}", "memory": "memory"}
        store = where.get(self.store) or f"redis://{HOST}:{self.ports['valkey']}"
        # Ten milliseconds would do, but for a machine that builds something meanwhile.
        options = ["--config", "config", "--log-format", "text", "--store", store, "--store-timeout", "90ms", "--request-metadata"]
        for name in self.spillways:
            addresses = [(f"--{port}-addr", f"{name} {port}") for port in ("grpc", "http", "admin")]
            own = [word for option, port in addresses for word in (option, f"{HOST}:{self.ports[port]}")]
            self.run(name, [binary, "serve", *options, *own])
        for name in self.spillways:
            self.wait("Spillway to be ready", lambda: self.get(f"{name} http", "/ready")[0] == 200)

    def restart_spillways(self, binary: str, killed: bool = False, afresh: bool = False) -> None:
        for name in self.spillways:
            child = self.children.pop(name)
            if killed:
                child.kill()
            else:
                child.stop()
        if afresh:
            shutil.rmtree(self.logs / "counters", ignore_errors=True)
        self.start_spillways(binary)
        self.wait_until_asked()

    def wait_until_asked(self) -> None:
        """Envoy's health check has found every Spillway: until then requests pass unlimited. What it says at first may be of
        those that were there before, so it is to have asked each of them anew."""
        many = len(self.spillways)
        asked = self.statistic("health_check.success")
        self.wait(
            "Envoy to find Spillway",
            lambda: self.statistic("health_check.success") >= asked + 2 * many
            and self.statistic("membership_healthy") == many,
        )

    def statistic(self, name: str) -> int:
        """One of Envoy's about whom it asks; 0 as long as it does not know it."""
        text = self.get("envoy admin", f"/stats?filter=^cluster.ratelimit.{name}$")[1]
        return int(text.rpartition(": ")[2] or 0)

    def run(self, name: str, words: Sequence[str], capture: bool = True) -> Child:
        with uninterrupted():
            self.children[name] = Child(name, words, self.logs, capture)
        return self.children[name]

    def check(self) -> None:
        for child in self.children.values():
            child.check()

    def wait(self, what: str, done: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with suppress(OSError, HTTPException):
                if done():
                    return
            time.sleep(0.02)
        raise Failure(f"waited {seconds:.0f} s for {what}, in vain")

    def get(self, port: str, path: str) -> Tuple[int, str]:
        connection = HTTPConnection(HOST, self.ports[port], timeout=2)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def rules(self, marks: Iterable[str]) -> Dict[str, Optional[str]]:
        """Which rule decided each request, from Envoy's access log, which is written a moment after the answer."""
        found: Dict[str, Optional[str]] = {}
        wanted = set(marks)

        def complete() -> bool:
            for line in self.children["envoy"].out.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("{") and line.endswith("}"):
                    logged = json.loads(line)
                    found[logged.get("user_agent", "")] = logged.get("rule")
            return wanted <= found.keys()

        self.wait("Envoy's access log", complete, seconds=5)
        return found


def free_ports(usual_ports: Mapping[str, int]) -> Dict[str, int]:
    """The usual ports where nobody listens yet, and any others in place of the rest."""
    chosen, open_sockets = {}, []
    for name, usual in usual_ports.items():
        for port in (usual, 0):
            probe = socket.socket()
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            open_sockets.append(probe)  # until all are chosen, so that none is chosen twice
            try:
                probe.bind((HOST, port))
                chosen[name] = probe.getsockname()[1]
                break
            except OSError:
                continue
    for probe in open_sockets:
        probe.close()
    taken = [f"{usual} ({chosen[name]} instead)" for name, usual in usual_ports.items() if usual and chosen[name] != usual]
    if taken:
        say(f"In use already: {', '.join(taken)}.")
    return chosen


def with_ports(text: str, ports: Mapping[str, int]) -> str:
    new = {str(usual): str(ports[name]) for name, usual in PORTS.items() if name not in ("spillway http", "spillway admin")}
    text, replaced = re.subn(r"(?<=port_value: )\d+", lambda found: new[found[0]], text)
    if replaced != len(new):
        raise Failure(f"envoy/envoy.yaml has {replaced} ports where the demonstration knows {len(new)}")
    return text


def with_replicas(text: str, ports: Sequence[int]) -> str:
    """Has Envoy ask all of them: its sample names one."""
    first, *others = ports
    (line,) = [line for line in text.splitlines() if "- endpoint:" in line and f"port_value: {first} " in line]
    return text.replace(line, "\n".join([line, *(line.replace(f" {first} ", f" {port} ") for port in others)]))


# === The run ===


def build(stack: Stack) -> str:
    """The binary, with one line of progress instead of cargo's hundred."""
    if os.environ.get("SPILLWAY"):
        return os.path.abspath(os.environ["SPILLWAY"])
    words = shlex.split(os.environ.get("CARGO") or "cargo")
    cargo = stack.run(
        "cargo",
        [*words, "build", "--release", "--quiet", "--bin", "spillway", "--message-format=json-render-diagnostics"],
        capture=False,
    )
    binary, compiled = None, 0
    progress("building Spillway …", first=True)
    for line in cargo.process.stdout or ():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact":
            binary = message["executable"] or binary
            if not message["fresh"] and message["target"]["kind"] != ["custom-build"]:
                compiled += 1
                progress(f"building Spillway … {compiled} crates, the last was {message['target']['name']}")
    progress("")
    if cargo.process.wait() or not binary:
        raise Failure("Spillway could not be built: see above")
    del stack.children["cargo"]
    return str(binary)


def progress(text: str, first: bool = False) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:PROGRESS_WIDTH]}", end="", file=sys.stderr, flush=True)
    elif first:
        print(text, file=sys.stderr, flush=True)


def avoid_turn_of_window() -> None:
    """The first table's windows are hours of the clock: a run across the turn of one would find the counters at zero
    half-way. All others begin with their first request."""
    left = HOUR - time.time() % HOUR
    if left < DEMO_SECONDS:
        say(f"The hour ends in {left:.0f} s, and with it all windows: waiting for the next one.")
        time.sleep(left)


def introduce(stack: Stack) -> None:
    ports, whom = stack.ports, "Spillway"
    if stack.store == "redis":
        whom = f"two Spillways, which share the counters in a Valkey on :{ports['valkey']},"
    envoy, spillway = f"{HOST}:{ports['gateway']}", " and ".join(f":{ports[f'{name} grpc']}" for name in stack.spillways)
    say(f"Envoy on {envoy} asks {whom} on {spillway} about every request, then passes it on or answers 429.")
    say("Below, for each policy in config/: headers as clients get them, and the rule that decided as Envoy logs it.")
    say()


def close(spillway: str) -> None:
    command = min(spillway, os.path.relpath(spillway), key=len)
    say(f"{paint('green', '✓')} Every answer was the expected one. To go on:")
    say("  HOLD=1 make demo                               keep it up, for requests of your own")
    say("  config/*.yaml, envoy/envoy.yaml                read and change what was shown")
    say(f"  {f'{command} check config':<45}  find every mistake in what you changed")
    say(f"  {command} explain --config config --domain demo 'api_key=key_acme,endpoint=GET /leads'")


WHY = {"domain": "demo", "descriptors": ["api_key=key_denied,bulk=true"]}


def refuse(stack: Stack, key: str) -> None:
    """Uses up the bulk calls of a key, until one is denied."""
    connection = HTTPConnection(HOST, stack.ports["gateway"], timeout=5)
    try:
        for _ in range(10):
            connection.request("POST", "/leads/bulk", headers={"x-api-key": key, "Content-Length": "0"})
            response = connection.getresponse()
            response.read()
            if response.status == 429:
                return
    except (OSError, HTTPException) as error:
        raise Failure(f"Envoy did not answer: {error}") from error
    finally:
        connection.close()
    raise Failure("no bulk call was denied")


def hold(stack: Stack, spillway: str) -> None:
    stack.restart_spillways(spillway, afresh=True)
    port = stack.ports["gateway"]
    gateway, http, admin = (f"{HOST}:{stack.ports[name]}" for name in ("gateway", "spillway http", "envoy admin"))
    page = f"http://{HOST}:{stack.ports['spillway admin']}"
    key, denied = "-H 'x-api-key: key_acme'", "-H 'x-api-key: key_denied'"
    refuse(stack, "key_denied")
    say(f"{paint('green', '✓')} Every answer was the expected one. All is yours, until Ctrl-C:")
    say(f"  curl -i {key} {gateway}/leads")
    say(f"  curl -i -X POST {denied} {gateway}/leads/bulk        # denied: the three bulk calls of this hour are used up")
    say(f"  {page}/#explain/demo/api_key=key_denied,bulk=true        # why, and when it passes again")
    say(f"  curl {page}/api/v1/explain -d '{json.dumps(WHY)}'        # the same for programs")
    say(f"  curl -i -H 'x-api-key: key_c1_a' mega.localhost:{port}/leads        # or leadron, campaigns …")
    say(f"  {page}/                        # Spillway's page, while you do")
    say(f"  curl {http}/metrics")
    say(f"  curl '{admin}/stats?filter=upstream.ratelimit'")
    say(f"  tail -f {stack.children['envoy'].out}    # the access log")
    while True:
        stack.check()
        time.sleep(0.2)


def play(stack: Stack, table: Table) -> None:
    answered = send(stack, table)
    show(table, answered)
    for step, responses in zip(table.steps, answered):
        mistake = step.mistake(responses)
        if mistake:
            raise Failure(mistake)


def demonstrate() -> None:
    holding = os.environ.get("HOLD", "") not in ("", "0")
    store = os.environ.get("STORE") or STORES[0]
    with Stack(store) as stack:
        if store not in STORES:
            raise Failure(f"there is no STORE={store}: it is {', '.join(STORES)}")
        spillway = build(stack)
        stack.start(spillway, find.command())
        avoid_turn_of_window()
        introduce(stack)
        for table in TABLES:
            play(stack, table)
        for killed, table in LASTING[store]:
            stack.restart_spillways(spillway, killed)
            play(stack, table)
        if not holding:
            return close(spillway)
        try:
            hold(stack, spillway)
        except Interrupted:
            say("\nstopped")


class Interrupted(BaseException):
    """Ctrl-C, or another wish that it end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until a new child is known to whoever ends it."""
    held: List[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, interrupt)
    if held:
        raise Interrupted(held[0])


def complain(error: BaseException) -> None:
    print(f"{paint('red', 'error:')} {error}", file=sys.stderr, flush=True)


def main() -> int:
    for number in SIGNALS:
        signal.signal(number, interrupt)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without `×`
    try:
        demonstrate()
    except Interrupted as stopped:
        return stopped.code
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Failure:  # the stack has told
        return 1
    except (find.NotFound, valkey.NotFound) as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
