"""How the demonstration looks."""

import os
import sys
from itertools import groupby
from typing import Iterable, List, Optional, Sequence, Tuple

from tables import Response, Step, Table

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32"}
COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
ASKED = ("request", "key", "×", "status")
NUMBERS_FROM = 2  # the columns from there on are numbers, but for the last

Row = Tuple[str, ...]


def paint(colour: str, text: str) -> str:
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if COLOURED else text


def say(text: str = "") -> None:
    print(text, flush=True)


def show(table: Table, answered: Sequence[Sequence[Response]]) -> None:
    heads = (*ASKED, *abbreviated(table.columns), "decided by")
    blocks = [(step, rows(table, step, responses)) for step, responses in zip(table.steps, answered)]
    lines = [heads] + [row for _, block in blocks for row, _ in block]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    bodies = [body for _, block in blocks for _, body in block]
    say(paint("bold", table.title))
    say(f"  {paint('dim', aligned(heads, widths))}")
    for step, block in blocks:
        say(paint("dim", step.why))
        for row, body in block:
            text = aligned(row, widths)
            say(f"  {paint('green', text) if row[3] < '4' else paint('red', text)}")
            bodies.pop(0)
            if body and body not in bodies:  # the last that is the same stands for all
                say(paint("dim", f"    {body}"))
    say()


def abbreviated(names: Iterable[str]) -> List[str]:
    """`x-ratelimit-limit`, `-remaining`, `-reset`: what a name has in common with the one before it is left out."""
    made, before = [], ""
    for name in names:
        family, _, own = name.rpartition("-")
        made.append(f"-{own}" if family == before else name)
        before = family
    return made


def rows(table: Table, step: Step, responses: Sequence[Response]) -> List[Tuple[Row, str]]:
    """One line for each run of answers that differ in what is left only, with the body when it is a 429."""
    made: List[Tuple[Row, str]] = []
    for _, group in groupby(responses, key=lambda r: (r.status, r.rule, sorted(r.telling()))):
        same = list(group)
        first, last = same[0], same[-1]
        told = [cell(first.headers.get(name), last.headers.get(name)) for name in table.columns]
        asked = (step.shown(), step.who.shown) if not made else ("", "")
        rule = (last.rule or "no limit").split(" > ")[-1]  # one without a name is called by the way to it
        row = (*asked, str(len(same)), str(last.status), *told, rule)
        made.append((row, body(last) if last.status == 429 else ""))
    return made


def cell(*values: Optional[str]) -> str:
    """The number in front of a list, `6` of `6, 10;w=3600;name="per-key"`: of the first answer and of the last."""
    first, last = ((value or "–").split(",")[0] for value in values)
    return first if first == last else f"{first}…{last}"


def body(response: Response) -> str:
    text = response.body.strip()
    return f"{response.headers.get('content-type')}: {text}" if text else ""


def aligned(row: Row, widths: Sequence[int]) -> str:
    is_number = range(NUMBERS_FROM, len(row) - 1)
    cells = (text.rjust(widths[n]) if n in is_number else text.ljust(widths[n]) for n, text in enumerate(row))
    return "  ".join(cells).rstrip()
