"""What the guard in memory remembers; `lua/*.lua` keeps the same in hashes and sorted sets."""

from __future__ import annotations

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from nodes.call.arithmetic import LATENCY_WINDOW_MS
from nodes.call.memory_breaker import BreakerState, WaitingLine

REAPED_AT_ONCE: Final = 16
"""Expired admissions that one request or settlement clears away."""

WOKEN_AT_ONCE: Final = 100
"""Waiters for money that one settlement wakes."""

REMEMBERED: Final = 10_000
"""Threads, prompts and expired admissions that the memory keeps, the least recently used are dropped. Redis expires
them by time."""

V = TypeVar("V")


class Remembered(Generic[V]):
    """A bounded dictionary that makes what is missing and forgets what was not used for longest."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._items: OrderedDict[str, V] = OrderedDict()

    def __getitem__(self, key: str) -> V:
        if key not in self._items:
            self._items[key] = self._make()
            if len(self._items) > REMEMBERED:
                self._items.popitem(last=False)
        self._items.move_to_end(key)
        return self._items[key]

    def pop(self, key: str) -> None:
        """Forget one."""
        self._items.pop(key, None)


@dataclass
class EndpointState:
    """One endpoint: tokens, limit and rest, requests under way, waiters."""

    tokens: int
    limit: int
    hedges: int = 0
    oks: int = 0
    """Successes since the limit was last raised."""
    cut_at: int = -1
    rest: int = 0
    begun: int = 0
    """Requests so far: each has the number that it began with."""
    unconnected: str = ""
    """A row of requests that made no connection: how many requests had begun when each came back."""
    answered: int = 0
    """When it answered last, whatever it was."""
    down: bool = False
    """Whether it is unreachable."""
    down_until: int = 0
    down_wait: int = 0
    slots: dict[str, int] = field(default_factory=dict)
    """Admissions under way and their numbers."""
    line: WaitingLine = field(default_factory=WaitingLine)
    """Those who wait for a place."""

    def oldest(self, but: str) -> int | None:
        """Return the lowest number of the requests that are under way beside one."""
        return min((number for name, number in self.slots.items() if name != but), default=None)


@dataclass
class Timing:
    """Latencies of one kind of call."""

    windows: dict[int, dict[int, int]] = field(default_factory=dict)
    p99: int = 0
    p95: int = 0
    count: int = 0
    computed_at: int = -1_000_000
    lift: int = 0
    """What timeouts in a row have raised the next one to, until the percentile has come up; 0 for nothing."""

    def note(self, bucket: int, now: int) -> None:
        """Count a latency in the current window; windows before the last one are dropped."""
        current = now // LATENCY_WINDOW_MS
        window = self.windows.setdefault(current, {})
        window[bucket] = window.get(bucket, 0) + 1
        for old in [epoch for epoch in self.windows if epoch < current - 1]:
            del self.windows[old]

    def lately(self, now: int) -> list[dict[int, int]]:
        """Return the windows that count."""
        current = now // LATENCY_WINDOW_MS
        return [self.windows[epoch] for epoch in (current, current - 1) if epoch in self.windows]


@dataclass
class Halt:
    """An endpoint that refused a key or a model."""

    error: str
    until: int


@dataclass
class CapState:
    """What of a cap is spent, held by calls under way, and unknown: reserved by calls that ended without a word."""

    spent: int = 0
    held: int = 0
    unknown: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    """Admissions whose cost is unknown, and when they expired."""


@dataclass
class Record:
    """One admission."""

    ask: dict[str, Any]
    reply: dict[str, Any]
    at: int
    expires: int
    seq: int
    """Number of the request at its endpoint and model, by when it began."""
    caps: list[str]
    expired: bool = False
    worst: int = 0
    """Micro-dollars that it holds, or may have cost."""
    priced: bool = False
    """Whether that is what the same call did cost when it was made again."""


@dataclass
class Shared:
    """Everything that requests share."""

    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    breakers: defaultdict[str, BreakerState] = field(default_factory=lambda: defaultdict(BreakerState))
    timings: defaultdict[str, Timing] = field(default_factory=lambda: defaultdict(Timing))
    halts: dict[str, Halt] = field(default_factory=dict)
    caps: Remembered[CapState] = field(default_factory=lambda: Remembered(CapState))
    capped: Remembered[set[str]] = field(default_factory=lambda: Remembered(set))
    """Names of the caps by date."""
    short: dict[str, int] = field(default_factory=dict)
    """Waiters for money and when they asked last."""
    ledger: Remembered[dict[str, tuple[int, str]]] = field(default_factory=lambda: Remembered(dict))
    same: Remembered[list[int]] = field(default_factory=lambda: Remembered(list))
    lost: Remembered[dict[str, Record]] = field(default_factory=lambda: Remembered(dict))
    """Admissions by thread whose cost is unknown."""
    rates: Remembered[dict[int, int]] = field(default_factory=lambda: Remembered(dict))
    records: OrderedDict[str, Record] = field(default_factory=OrderedDict)
    leases: list[tuple[int, str]] = field(default_factory=list)
    """A heap; settled admissions stay in it until they come up."""

    def endpoint(self, name: str, limits: dict[str, Any]) -> EndpointState:
        """Return the state of an endpoint."""
        if name not in self.endpoints:
            self.endpoints[name] = EndpointState(limits["retry_reserve"], limits["concurrency_start"], hedges=1000)
        return self.endpoints[name]

    def overdue(self, now: int, most: int = REAPED_AT_ONCE) -> list[Record]:
        """Take the first admissions out whose lease has expired."""
        found: list[Record] = []
        while self.leases and self.leases[0][0] <= now and len(found) < most:
            _, name = heapq.heappop(self.leases)
            record = self.records.get(name)
            if record is not None and not record.expired:
                found.append(record)
        return found
