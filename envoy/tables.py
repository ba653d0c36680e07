"""What the demonstration sends, and what must come back: one table for each policy in config/.

To show more, add a `Step` to a table, or a `Table` to TABLES. Every answer is checked: its status, the rule that decided
it, and the names and values of all its rate limit headers.
"""

import re
import time
from dataclasses import dataclass, field
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple, Union

# Headers that tell of a limit, or of Envoy: an answer has those that are expected and no others.
TELLING = re.compile(r"(x-)?rate-?limit.*|x-api-usage.*|retry-after|x-envoy.*")


# === Words for what is expected ===


@dataclass(frozen=True)
class Counting:
    """`start` in the first of several answers, and `by` more in each one after it."""

    start: int
    by: int = -1

    def fits(self, value: str, n: int) -> bool:
        return value == str(self.start + n * self.by)

    def __str__(self) -> str:
        return f"{self.start}{', counting' if self.by else ''}"


@dataclass(frozen=True)
class Within:
    """A number from `least` to `most`; of a time that is told since 1970 (in `per_second` units), what is left of it."""

    least: int
    most: int
    per_second: int = 0

    def fits(self, value: str, _: int) -> bool:
        if not value.isdigit():
            return False
        seconds = int(value) / self.per_second - time.time() if self.per_second else int(value)
        return self.least <= seconds <= self.most

    def __str__(self) -> str:
        of = {0: "", 1: " s from now, in seconds since 1970", 1000: " s from now, in milliseconds since 1970"}
        return f"{self.least} to {self.most}{of[self.per_second]}"


@dataclass(frozen=True)
class Leading:
    """A list that begins with `first`."""

    first: int

    def fits(self, value: str, _: int) -> bool:
        return value.startswith(f"{self.first}, ")

    def __str__(self) -> str:
        return f"{self.first}, …"


Expected = Union[int, Counting, Within, Leading]


def left(start: int) -> Counting:
    return Counting(start)


def used(start: int) -> Counting:
    return Counting(start, by=1)


def unix(least: int, most: int) -> Within:
    return Within(least, most, per_second=1)


def unix_ms(least: int, most: int) -> Within:
    return Within(least, most, per_second=1000)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: str
    rule: Optional[str] = None

    def telling(self) -> Mapping[str, str]:
        return {name: value for name, value in self.headers.items() if TELLING.fullmatch(name)}

    def sentence(self) -> str:
        return sentence(self.status, self.rule, self.telling().items())


@dataclass(frozen=True)
class Answers:
    """So many answers in a row."""

    times: int
    status: int
    rule: Optional[str]
    headers: Mapping[str, Expected]

    def fit(self, response: Response, n: int) -> bool:
        told = response.telling()
        return (
            (response.status, response.rule) == (self.status, self.rule)
            and told.keys() == self.headers.keys()
            and all(fits(expected, told[name], n) for name, expected in self.headers.items())
        )

    def sentence(self) -> str:
        return sentence(self.status, self.rule, self.headers.items())


def fits(expected: Expected, value: str, n: int) -> bool:
    return value == str(expected) if isinstance(expected, int) else expected.fits(value, n)


def sentence(status: int, rule: Optional[str], headers: Iterable[Tuple[str, object]]) -> str:
    shown = "; ".join(f"{name}: {value}" for name, value in sorted(headers))
    return f"{status} by {rule or 'no limit'}, with {shown or 'no headers'}"


@dataclass(frozen=True)
class Who:
    """Who asks, as it is shown, and the headers that say so."""

    shown: str = "(none)"
    headers: Mapping[str, str] = field(default_factory=dict)


NOBODY = Who()


def key(value: str) -> Who:
    return Who(value, {"x-api-key": value})


def bearer(value: str) -> Who:
    return Who(value, {"authorization": f"Bearer {value}"})


def business(name: str) -> Who:
    return Who(f"business {name}", {"x-business-id": name})


def user(name: str) -> Who:
    return Who(f"user {name}", {"x-user-id": name})


@dataclass(frozen=True)
class Step:
    """The same request several times; `{n}` in the path counts them."""

    why: str
    request: str
    expect: Sequence[Answers]
    who: Who = NOBODY
    pause: float = 0  # seconds, before the first

    @property
    def times(self) -> int:
        return sum(some.times for some in self.expect)

    def shown(self) -> str:
        return self.request.format(n=f"1…{self.times}")

    def sent(self, n: int) -> Tuple[str, str]:
        method, path = self.request.format(n=n).split(" ", 1)
        return method, path

    def mistake(self, responses: Sequence[Response]) -> Optional[str]:
        """What is wrong with what came back."""
        expected = [(some, n) for some in self.expect for n in range(some.times)]
        for number, ((some, n), response) in enumerate(zip(expected, responses), 1):
            if not some.fit(response, n):
                return (
                    f"`{self.shown()}` as {self.who.shown}: the answer to request {number} is not the expected one\n"
                    f"  expected  {some.sentence()}\n"
                    f"  got       {response.sentence()}"
                )
        return None


@dataclass(frozen=True)
class Table:
    title: str
    host: str
    columns: Sequence[str]  # the headers that are shown
    steps: Sequence[Step]


# === The demonstration's own policy ===

LIMIT, REMAINING, RESET, RETRY = "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"
HOUR = 3600
LIMITS = {"per-key-and-endpoint": 6, "per-key": 10, "bulk": 3, "per-address": 20}
ENDPOINT, KEY, BULK, ADDRESS = LIMITS


def by_envoy(rule: str, remaining: Expected) -> Mapping[str, Expected]:
    """Envoy makes these headers of Spillway's numbers; the limit is followed by those of all other rules."""
    return {LIMIT: Leading(LIMITS[rule]), REMAINING: remaining, RESET: Within(0, HOUR)}


def passed(times: int, rule: str, remaining: int) -> Answers:
    return Answers(times, 200, rule, by_envoy(rule, left(remaining)))


def refused(times: int, rule: str) -> Answers:
    return Answers(times, 429, rule, {**by_envoy(rule, 0), RETRY: Within(1, HOUR)})


def free(times: int) -> Answers:
    return Answers(times, 200, None, {})


DEMO = Table(
    "demo: every rule counts by the hour, and Envoy makes the headers",
    "localhost",
    [LIMIT, REMAINING, RESET, RETRY],
    [
        Step(
            "One key may call one endpoint 6 times. The query string does not make it another endpoint.",
            "GET /leads?page={n}",
            [passed(6, ENDPOINT, 5), refused(2, ENDPOINT)],
            key("key_acme"),
        ),
        Step(
            "Another endpoint has a count of its own, but the key has 10 in all; 8 are used, refused ones too.",
            "GET /quotes",
            [passed(2, KEY, 1), refused(1, KEY)],
            key("key_acme"),
        ),
        Step("Another key is not affected.", "GET /leads", [passed(1, ENDPOINT, 5)], key("key_globex")),
        Step("Bulk calls are dear: 3.", "POST /leads/bulk", [passed(3, BULK, 2), refused(1, BULK)], key("key_globex")),
        Step(
            "Without a key the address counts: 20, of which the requests above have used 16.",
            "GET /leads",
            [passed(4, ADDRESS, 3), refused(1, ADDRESS)],
        ),
        Step("A made-up key is no way round it …", "GET /leads", [refused(1, ADDRESS)], key("key_made_up")),
        Step("… while a key of our own is free.", "GET /leads", [free(12)], key("key_internal")),
    ],
)


# === Leadron ===

USED, QUOTA, UNUSED = "x-api-usage-used", "x-api-usage-limit", "x-api-usage-remaining"


def throttle(remaining: Expected) -> Mapping[str, Expected]:
    return {LIMIT: 1000, REMAINING: remaining, RESET: unix(800, 901)}


def usage(used_before: int) -> Mapping[str, Expected]:
    return {USED: used(used_before + 1), QUOTA: 50000, UNUSED: left(50000 - used_before - 1)}


LEADRON = Table(
    "leadron: a throttle by address, and a quota for each customer's billing period",
    "leadron.localhost",
    [LIMIT, REMAINING, RESET, USED, QUOTA, UNUSED],
    [
        Step(
            "An address has 1,000 requests in 15 minutes, from its first one on.",
            "GET /",
            [Answers(1, 200, "gateway", throttle(999))],
        ),
        Step(
            "With an API key there is the quota of the customer's plan, too …",
            "GET /leads",
            [Answers(2, 200, "gateway", {**throttle(left(998)), **usage(0)})],
            key("key_acme_1"),
        ),
        Step(
            "… as long as it lasts. This customer has agreed on 3 calls; the refused one is told as the fourth, and not counted.",
            "GET /leads",
            [
                Answers(3, 200, "quota", {**throttle(left(996)), USED: used(1), QUOTA: 3, UNUSED: left(2)}),
                Answers(1, 429, "quota", {**throttle(993), USED: 4, QUOTA: 3, UNUSED: 0}),
            ],
            key("key_initech_1"),
        ),
        Step(
            "All keys of a customer share one. What the throttle refuses costs no quota, and tells none.",
            "GET /leads/{n}",
            [
                Answers(993, 200, "gateway", {**throttle(left(992)), **usage(2)}),
                Answers(1, 429, "gateway", throttle(0)),
            ],
            key("key_acme_2"),
        ),
    ],
)


# === Leadping ===

LEADPING = Table(
    "leadping: 300 requests in 60 seconds for one of four partitions, and no header but Retry-After",
    "leadping.localhost",
    [RETRY],
    [
        Step(
            "A form with a business's source key counts for that business's intake.",
            "POST /leads?sourceKey=src_b1_site",
            [Answers(2, 200, "intake", {})],
        ),
        Step(
            "With a source key that is disabled the address counts.",
            "POST /leads?sourceKey=src_b1_old",
            [Answers(1, 200, "ip", {})],
        ),
        Step("A signed-in user has a partition …", "GET /leads", [Answers(1, 200, "user", {})], user("u1")),
        Step(
            "… and so has a signed-in business, whatever it asks for.",
            "GET /leads/{n}",
            [Answers(300, 200, "business", {}), Answers(1, 429, "business", {RETRY: Within(1, 60)})],
            business("b1"),
        ),
    ],
)


# === LEAPERone ===


def slow_down(limit: int) -> Mapping[str, Expected]:
    return {LIMIT: limit, REMAINING: 0, RESET: unix(50, 61), RETRY: Within(50, 60)}


def started(limit: int) -> Mapping[str, Expected]:
    return {LIMIT: limit, REMAINING: left(limit - 1), RESET: unix(50, 61)}


LEAPERONE = Table(
    "leaperone: requests a minute by tier and kind of endpoint",
    "leaperone.localhost",
    [LIMIT, REMAINING, RESET, RETRY],
    [
        Step(
            "An account of tier 2 has 40, but its owner gave this key 10 of them …",
            "POST /v1/chat/completions",
            [Answers(10, 200, "key", started(10)), Answers(1, 429, "key", slow_down(10))],
            bearer("sk-studio-1"),
        ),
        Step(
            "… which leaves 30 for the other one: the refused request did not count.",
            "POST /v1/chat/completions",
            [Answers(30, 200, "account", {**started(40), REMAINING: left(29)}), Answers(1, 429, "account", slow_down(40))],
            bearer("sk-studio-2"),
        ),
        Step(
            "A newcomer is of tier 0.",
            "POST /v1/chat/completions",
            [Answers(5, 200, "account", started(5)), Answers(1, 429, "account", slow_down(5))],
            bearer("sk-new-1"),
        ),
    ],
)


# === MEGA ===

MEGA_COLUMNS = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", RETRY]


def sliding(limit: int, remaining: Expected) -> Mapping[str, Expected]:
    """Whole again 60 seconds after the request that is answered."""
    return dict(zip(MEGA_COLUMNS, (limit, remaining, 60)))


MEGA = Table(
    "mega: windows of a minute and of an hour that slide; headers on every answer",
    "mega.localhost",
    MEGA_COLUMNS,
    [
        Step(
            "A key has 60 requests a minute, on errors too …",
            "GET /status/404",
            [Answers(1, 404, "minute", sliding(60, 59))],
            key("key_c1_a"),
        ),
        Step("… and 10 bulk uploads.", "POST /leads/bulk", [Answers(1, 200, "bulk", sliding(10, 9))], key("key_c1_a")),
        Step("MEGA's own traffic has no limit and no headers.", "GET /leads", [free(3)], key("key_internal")),
        Step(
            "More than a second later: the next request fits when the first one has left the window, but the window is\n"
            "whole when the last one has. So Retry-After is shorter than RateLimit-Reset.",
            "GET /leads",
            [
                Answers(59, 200, "minute", sliding(60, left(58))),
                Answers(1, 429, "minute", {**sliding(60, 0), RETRY: Within(50, 59)}),
            ],
            key("key_c1_a"),
            pause=1.1,
        ),
    ],
)


# === Campaigns ===


def in_a_minute(limit: int, remaining: Expected) -> Mapping[str, Expected]:
    return {LIMIT: limit, REMAINING: remaining, RESET: unix_ms(50, 60)}


def route(name: str) -> str:
    return f"api_key > endpoint={name}"


CAMPAIGNS = Table(
    "campaigns: a sliding minute for each route of a key; reset in milliseconds; headers on 2xx and 429 only",
    "campaigns.localhost",
    [LIMIT, REMAINING, RESET, RETRY],
    [
        Step(
            "A route's ids share its limit …",
            "GET /v1/campaigns/{n}",
            [Answers(3, 200, route("GET /v1/campaigns/:id"), in_a_minute(120, left(119)))],
            key("key_team1_a"),
        ),
        Step(
            "… and a route that was not declared has 60, which a 404 does not tell.",
            "GET /status/404",
            [Answers(1, 404, "undeclared", {})],
            key("key_team1_a"),
        ),
        Step(
            "The route with the lowest limit. No body is documented for a 429, and there is none.",
            "POST /v1/leads/add_to_campaign",
            [
                Answers(20, 200, route("POST /v1/leads/add_to_campaign"), in_a_minute(20, left(19))),
                Answers(1, 429, route("POST /v1/leads/add_to_campaign"), {**in_a_minute(20, 0), RETRY: Within(50, 60)}),
            ],
            key("key_team1_a"),
        ),
    ],
)

TABLES: List[Table] = [DEMO, LEADRON, LEADPING, LEAPERONE, MEGA, CAMPAIGNS]


# === What outlives the process ===

# Leadron's customer `acme` has made 995 calls by now, and its address has used up its 15 minutes.
GOES_ON = Step(
    "The throttle of 15 minutes begins anew; the quota of the month goes on.",
    "GET /leads",
    [Answers(1, 200, "gateway", {**throttle(999), **usage(995)})],
    key("key_acme_1"),
)
GOES_ON_AFTER_A_CRASH = Step(
    "What was reserved ahead of time counts as used: a few calls more, and never one less.",
    "GET /leads",
    [Answers(1, 200, "gateway", {**throttle(999), USED: Within(997, 1061), QUOTA: 50000, UNUSED: Within(48939, 49003)})],
    key("key_acme_1"),
)
STILL_REFUSED = Step(
    "The two replicas have counted together, and the server still knows all of it.",
    "GET /leads",
    [Answers(1, 429, "gateway", throttle(0))],
    key("key_acme_1"),
)


def after(what: str, step: Step) -> Table:
    return Table(f"leadron, after {what}", LEADRON.host, LEADRON.columns, [step])


# For each store: whether Spillway is killed or ends in good order, and what is there when it comes back.
LASTING: Mapping[str, Sequence[Tuple[bool, Table]]] = {
    "disk": [
        (False, after("a restart", GOES_ON)),
        (True, after("kill -9", GOES_ON_AFTER_A_CRASH)),
    ],
    "redis": [(True, after("kill -9 of both replicas", STILL_REFUSED))],
    "memory": [],
}
