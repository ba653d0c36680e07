#!/usr/bin/env python3
"""Spillway's first minute: builds it, puts it behind a real Envoy, sends some requests and shows what became of them.

    make demo               ends by itself and leaves nothing running; exit code 0 when every answer was the right one
    HOLD=1 make demo        keeps everything up for requests of your own, until Ctrl-C

$SPILLWAY is a binary to take instead of building one; $ENVOY an Envoy (see find.py). NO_COLOR is honoured.
To show more, add a `Table` to TABLES.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Type

sys.dont_write_bytecode = True  # no __pycache__ beside the sources
import find  # noqa: E402
from upstream import Upstream  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORTS = {"gateway": 10000, "envoy admin": 9901, "spillway grpc": 8081, "spillway http": 8080, "upstream": 8000}
ENVOY_OPTIONS = "--disable-hot-restart --concurrency 2 --log-level warn --file-flush-interval-msec 20".split()
READY_SECONDS = 20.0
WINDOW_SECONDS = 3600  # of every rule that is shown
RUN_SECONDS = 5  # what a run takes, generously


# === What is sent, and what must come back ===


@dataclass(frozen=True)
class Answers:
    """So many answers in a row; `left` is what remains after the first of them, one less after each."""

    times: int
    status: int
    rule: Optional[str] = None
    left: Optional[int] = None

    def each(self) -> List["Answer"]:
        lefts = [None if self.left is None else max(0, self.left - n) for n in range(self.times)]
        return [Answer(self.status, self.rule, left) for left in lefts]


@dataclass(frozen=True)
class Answer:
    """The parts of an answer that are checked."""

    status: int
    rule: Optional[str]
    left: Optional[int]


def passed(times: int, rule: Optional[str] = None, left: Optional[int] = None) -> Answers:
    return Answers(times, 200, rule, left)


def refused(times: int, rule: str) -> Answers:
    return Answers(times, 429, rule, 0)


@dataclass(frozen=True)
class Step:
    """The same request several times; `{n}` in the path counts them."""

    why: str
    request: str
    expect: Sequence[Answers]
    key: Optional[str] = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def times(self) -> int:
        return sum(answers.times for answers in self.expect)

    def shown(self) -> str:
        return self.request.format(n=f"1…{self.times}")

    def sent(self, n: int) -> Tuple[str, str, Dict[str, str]]:
        method, path = self.request.format(n=n).split(" ", 1)
        key = {"x-api-key": self.key} if self.key else {}
        return method, path, {**key, **self.headers}


@dataclass(frozen=True)
class Table:
    title: str
    steps: Sequence[Step]


ENDPOINT, KEY, BULK, ADDRESS = "per-key-and-endpoint", "per-key", "bulk", "per-address"

TABLES = [
    Table(
        "domain demo: config/demo.yaml, where every rule counts by the hour",
        [
            Step(
                "One key may call one endpoint 6 times. The query string does not make it another endpoint.",
                "GET /leads?page={n}",
                [passed(6, ENDPOINT, left=5), refused(2, ENDPOINT)],
                key="key_acme",
            ),
            Step(
                "Another endpoint has a count of its own, but the key has 10 in all; 8 are used, refused ones too.",
                "GET /quotes",
                [passed(2, KEY, left=1), refused(1, KEY)],
                key="key_acme",
            ),
            Step("Another key is not affected.", "GET /leads", [passed(1, ENDPOINT, left=5)], key="key_globex"),
            Step(
                "Bulk calls are dear: 3.",
                "POST /leads/bulk",
                [passed(3, BULK, left=2), refused(1, BULK)],
                key="key_globex",
            ),
            Step(
                "Without a key the address counts: 20, of which the requests above have used 16.",
                "GET /leads",
                [passed(4, ADDRESS, left=3), refused(1, ADDRESS)],
            ),
            Step("A made-up key is no way round it …", "GET /leads", [refused(1, ADDRESS)], key="key_made_up"),
            Step("… while a key of our own is free.", "GET /leads", [passed(12)], key="key_internal"),
        ],
    ),
]


# === What came back ===


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: str
    rule: Optional[str] = None

    def answer(self) -> Answer:
        left = self.headers.get("x-ratelimit-remaining")
        return Answer(self.status, self.rule, int(left) if left else None)

    def limit(self) -> str:
        """The number in front of the policy: `6` of `6, 10;w=3600;name="per-key"`."""
        return self.headers.get("x-ratelimit-limit", "–").split(",")[0]


class Failure(Exception):
    """The demonstration is over; the message says why and what to do."""


def send(stack: "Stack", steps: Sequence[Step]) -> List[List[Response]]:
    """Sends the requests of all steps, one after the other, on one connection."""
    connection = HTTPConnection(HOST, stack.ports["gateway"], timeout=5)
    # The user agent tells the requests apart in the access log.
    marks = iter(f"spillway-demo/{time.time_ns()}.{n}" for n in range(sum(step.times for step in steps)))
    unruled: List[List[Tuple[str, Response]]] = []
    try:
        for step in steps:
            unruled.append([(mark, one(connection, step, n, mark)) for n, mark in zip(range(1, step.times + 1), marks)])
            stack.check()
    except (OSError, HTTPException) as error:
        stack.check()
        raise Failure(f"Envoy did not answer: {error}") from error
    finally:
        connection.close()
    rules = stack.rules({mark for step in unruled for mark, _ in step})
    return [[Response(r.status, r.headers, r.body, rules[mark]) for mark, r in step] for step in unruled]


def one(connection: HTTPConnection, step: Step, n: int, mark: str) -> Response:
    method, path, headers = step.sent(n)
    connection.request(method, path, headers={**headers, "User-Agent": mark})
    response = connection.getresponse()
    body = response.read().decode(errors="replace")
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def compare(step: Step, responses: Sequence[Response]) -> None:
    expected = [answer for answers in step.expect for answer in answers.each()]
    got = [response.answer() for response in responses]
    if got != expected:
        raise Failure(
            f"`{step.shown()}` with {step.key or 'no key'}: not the answers of config/demo.yaml as it was made\n"
            f"  expected  {sentence(expected)}\n"
            f"  got       {sentence(got)}"
        )
    waits = [response.headers.get("retry-after") for response in responses if response.status == 429]
    if not all(wait and wait.isdigit() and 1 <= int(wait) <= WINDOW_SECONDS for wait in waits):
        raise Failure(f"`{step.shown()}` was refused without a sensible Retry-After: {waits}")


def sentence(answers: Iterable[Answer]) -> str:
    parts = []
    for (status, rule), group in groupby(answers, key=lambda answer: (answer.status, answer.rule)):
        lefts = [answer.left for answer in group]
        left = lefts[0] if lefts[0] == lefts[-1] else f"{lefts[0]}…{lefts[-1]}"
        parts.append(f"{len(lefts)} × {status} ({f'by {rule}, {left} left' if rule else 'no limit'})")
    return ", then ".join(parts)


# === How it is shown ===

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32"}
COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
WIDTH = 110
COLUMNS = ("request", "key", "×", "status", "limit", "remaining", "reset", "retry-after", "decided by")
NUMBERS = range(2, 8)


def paint(colour: str, text: str) -> str:
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if COLOURED else text


def say(text: str = "") -> None:
    print(text, flush=True)


def show(table: Table, answered: Sequence[Sequence[Response]]) -> None:
    blocks = [(step, rows(step, responses)) for step, responses in zip(table.steps, answered)]
    lines = [COLUMNS] + [row for _, block in blocks for row, _ in block]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    say(paint("bold", table.title))
    say(f"  {paint('dim', aligned(COLUMNS, widths))}")
    for step, block in blocks:
        say(paint("dim", step.why))
        for row, body in block:
            text = aligned(row, widths)
            say(f"  {paint('green', text) if row[3] < '4' else paint('red', text)}")
            if body:
                say(paint("dim", f"    {body[: WIDTH - 4]}"))


Row = Tuple[str, ...]


def rows(step: Step, responses: Sequence[Response]) -> List[Tuple[Row, str]]:
    """One line for each run of answers that differ in what is left only, with the body when it is a refusal."""
    made: List[Tuple[Row, str]] = []
    for _, group in groupby(responses, key=lambda r: (r.status, r.rule, r.limit())):
        same = list(group)
        first, last = same[0], same[-1]
        lefts = [r.headers.get("x-ratelimit-remaining", "–") for r in (first, last)]
        numbers = (
            str(len(same)),
            str(last.status),
            last.limit(),
            lefts[0] if lefts[0] == lefts[1] else "…".join(lefts),
            last.headers.get("x-ratelimit-reset", "–"),
            last.headers.get("retry-after", "–"),
        )
        request = (step.shown(), step.key or "(none)") if not made else ("", "")
        made.append(((*request, *numbers, last.rule or "no limit"), last.body.strip() if last.status >= 400 else ""))
    return made


def aligned(row: Row, widths: Sequence[int]) -> str:
    cells = (cell.rjust(widths[n]) if n in NUMBERS else cell.ljust(widths[n]) for n, cell in enumerate(row))
    return "  ".join(cells).rstrip()


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

    def __init__(self) -> None:
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
        if isinstance(error, Failure):
            complain(error)
            for child in self.children.values():
                if child.captured:
                    print(f"\nthe last that {child.name} said:\n{child.tail()}", file=sys.stderr)
        for name in reversed(list(self.children)):
            self.children[name].stop()
        if self.upstream:
            self.upstream.server_close()
        self.folder.cleanup()

    def start(self, spillway: str, envoy: Sequence[str]) -> None:
        self.ports = free_ports()
        try:
            self.upstream = Upstream(self.ports["upstream"])
        except OSError as error:
            raise Failure(f"cannot listen on port {self.ports['upstream']}: {error.strerror}") from error
        threading.Thread(target=self.upstream.serve_forever, daemon=True).start()
        self.start_spillway(spillway)
        config = self.logs / "envoy.yaml"
        sample = (ROOT / "envoy/envoy.yaml").read_text(encoding="utf-8")
        config.write_text(with_ports(sample, self.ports), encoding="utf-8")
        self.run("envoy", [*envoy, "-c", str(config), *ENVOY_OPTIONS])
        self.wait("Envoy to be ready", lambda: self.get("envoy admin", "/ready")[0] == 200)
        self.wait_until_asked()

    def start_spillway(self, binary: str) -> None:
        addresses = [("--grpc-addr", "spillway grpc"), ("--http-addr", "spillway http")]
        options = [word for option, port in addresses for word in (option, f"{HOST}:{self.ports[port]}")]
        self.run("spillway", [binary, "serve", "--config", "config", "--log-format", "text", *options])
        self.wait("Spillway to be ready", lambda: self.get("spillway http", "/ready")[0] == 200)

    def restart_spillway(self, binary: str) -> None:
        """All counters start afresh."""
        self.children.pop("spillway").stop()
        self.start_spillway(binary)
        self.wait_until_asked()

    def wait_until_asked(self) -> None:
        """Envoy's health check has found Spillway: until then requests pass unlimited."""
        healthy = "cluster.ratelimit.membership_healthy: 1"
        self.wait(
            "Envoy to find Spillway",
            lambda: healthy in self.get("envoy admin", "/stats?filter=^cluster.ratelimit.membership_healthy$")[1],
        )

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


def free_ports() -> Dict[str, int]:
    """The usual ports where nobody listens yet, and any others in place of the rest."""
    chosen, open_sockets = {}, []
    for name, usual in PORTS.items():
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
    taken = [f"{usual} ({chosen[name]} instead)" for name, usual in PORTS.items() if chosen[name] != usual]
    if taken:
        say(f"In use already: {', '.join(taken)}.")
    return chosen


def with_ports(text: str, ports: Mapping[str, int]) -> str:
    new = {str(usual): str(ports[name]) for name, usual in PORTS.items() if name != "spillway http"}
    text, replaced = re.subn(r"(?<=port_value: )\d+", lambda found: new[found[0]], text)
    if replaced != len(new):
        raise Failure(f"envoy/envoy.yaml has {replaced} ports where the demonstration knows {len(new)}")
    return text


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
        print(f"\r\x1b[K{text[:WIDTH]}", end="", file=sys.stderr, flush=True)
    elif first:
        print(text, file=sys.stderr, flush=True)


def avoid_turn_of_window() -> None:
    """Windows are hours of the clock: a run across the turn of one would find the counters at zero half-way."""
    left = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    if left < RUN_SECONDS:
        say(f"The hour ends in {left:.0f} s, and with it all windows: waiting for the next one.")
        time.sleep(left)


def introduce(ports: Mapping[str, int]) -> None:
    envoy, spillway = f"{HOST}:{ports['gateway']}", f":{ports['spillway grpc']}"
    say(f"Envoy on {envoy} asks Spillway on {spillway} about every request, then passes it on or answers 429.")
    say("Below: x-ratelimit-limit, -remaining, -reset and retry-after as clients get them; the rule as Envoy logs it.")
    say()


def close(spillway: str) -> None:
    command = min(spillway, os.path.relpath(spillway), key=len)
    say()
    say(f"{paint('green', '✓')} Every answer was the expected one. To go on:")
    say("  HOLD=1 make demo                               keep it up, for requests of your own")
    say("  config/demo.yaml, envoy/envoy.yaml             read and change what was shown")
    say(f"  {f'{command} check config':<45}  find every mistake in what you changed")
    say(f"  {command} explain --config config --domain demo 'api_key=key_acme,endpoint=GET /leads'")


def hold(stack: Stack, spillway: str) -> None:
    stack.restart_spillway(spillway)
    gateway, http, admin = (f"{HOST}:{stack.ports[name]}" for name in ("gateway", "spillway http", "envoy admin"))
    key = "-H 'x-api-key: key_acme'"
    say()
    say(f"{paint('green', '✓')} Every answer was the expected one. All is yours, with counters at zero, until Ctrl-C:")
    say(f"  curl -i {key} {gateway}/leads")
    say(f"  curl -sX POST -o /dev/null -w '%{{http_code}} ' {key} '{gateway}/leads/bulk?n=[1-4]'")
    say(f"  curl {http}/metrics")
    say(f"  curl '{admin}/stats?filter=upstream.ratelimit'")
    say(f"  tail -f {stack.children['envoy'].out}    # the access log")
    while True:
        stack.check()
        time.sleep(0.2)


def demonstrate() -> None:
    holding = os.environ.get("HOLD", "") not in ("", "0")
    with Stack() as stack:
        spillway = build(stack)
        stack.start(spillway, find.command())
        avoid_turn_of_window()
        introduce(stack.ports)
        for table in TABLES:
            answered = send(stack, table.steps)
            show(table, answered)
            for step, responses in zip(table.steps, answered):
                compare(step, responses)
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
    except find.NotFound as error:
        complain(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
