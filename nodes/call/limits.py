"""The knobs of the guard, with the sources of their defaults."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

MILLI: Final = 1000
"""Tokens and limits are counted in thousandths, so that both guards calculate with whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the guard lets through; raises `ValueError` naming the field whose value makes no sense.

    Processes that share a Redis should share their limits, too: each brings its own with every request.
    """

    concurrency: int | Literal["auto"] | None = None
    """Requests under way at one endpoint at the same time; `auto` finds it by additive increase, multiplicative
    decrease (x 0.9, Netflix concurrency-limits' default); None sets no limit."""
    concurrency_start: int = 10
    """Where `auto` begins."""
    concurrency_max: int = 50
    """The highest that `auto` goes."""
    queue_age_s: float | None = None
    """Longest wait for a place or for reserved money, in seconds; None is the request's own timeout."""

    retry_reserve: float = 50.0
    """Retries that an endpoint is allowed before anything succeeded: a burst of `concurrency_max` requests may meet its
    failures before its first answer."""
    retry_deposit: float = 3.0
    """Retries earned per success; 3 are what an endpoint that accepts a quarter of its requests needs for each answer.
    Below that the budget tells an outage from a bad day."""
    retry_max: float = 100.0
    """Most retries that are saved up."""
    hedge_share: float = 0.05
    """Part of the requests that may be sent a second time when they are slow ("The Tail at Scale", Dean and Barroso,
    2013, sends 2 to 5 % more)."""

    throttle_ratio: float = 2.0
    """K of adaptive throttling ("Handling Overload", Google's "Site Reliability Engineering", 2016): a request is held
    back locally with probability (requests - K x accepts) / (requests + 1), so nothing is while half are accepted."""
    breaker_failures: int = 30
    """Requests in a row, by the order in which they began, that failed, at which the circuit breaker opens. An endpoint
    that fails 60 % of its requests fails 30 in a row once in five million."""
    open_s: float = 2.0
    """Seconds between two probes of an open breaker, spread by half; the first one goes after a quarter of it."""
    probe_lease_s: float = 5.0
    """Seconds after its timeout at which a probe that was not settled is given up, and another one is sent."""

    unreachable_calls: int = 5
    """Requests in a row without a connection at which an endpoint that answered nothing lately counts as unreachable. A
    failure counts once all requests that were under way when it came back have ended, too: failed connections take
    milliseconds, answers take seconds."""
    lost_calls: int = 20
    """The same for an endpoint that answered something lately."""
    rejected_items: int = 20
    """Items in a row, different in thread and in prompt, whose requests were rejected as such (400 and its kin), at
    which an endpoint counts as one that rejects everything. One bad item never counts twice, and an accepted one ends
    the row."""
    rejected_items_lately: int = 50
    """The same for an endpoint that accepted something lately."""
    lately_s: float = 60.0
    """Seconds for which an answer is recent."""
    reprobe_s: float = 1.0
    """Seconds until an endpoint that is unreachable or rejects everything is tried again; doubled while that fails."""
    longest_reprobe_s: float = 5.0
    """The longest of these: a connection that is refused costs nobody anything."""

    same_call: int = 12
    """Times that one thread may send the same prompt within `same_call_window_s`."""
    same_call_window_s: float = 600.0
    usd_per_minute: float | None = 1.0
    """US dollars that one thread may spend in a minute before it counts as a runaway; None does not look at it."""

    timeout_floor_s: float = 3.0
    """Lowest timeout that is learned: fifty calls side by side on a busy event loop see a second of its own making."""
    timeout_ceiling_s: float | None = None
    """Highest timeout; None is twice the request's own. A bound that does not move keeps one sick host from raising
    everybody's timeouts (Cassandra-14293)."""
    timeout_samples: int = 50
    """Latencies from which a timeout is learned; below, the request's own holds."""

    first_token_s: float | None = None
    """Seconds until the first token of a streamed answer; None is the request's own timeout, which an answer in one
    piece has for all of it. The whole stream may take up to the highest timeout."""
    token_gap_s: float = 10.0
    """Seconds between two tokens of a streamed answer: a server that is busy with long prompts pauses for a few."""

    halt_s: float = 30.0
    """Seconds that an endpoint which refused a key or a model is left alone before one call tries again: long enough
    to stop a crowd, short enough for somebody who has just fixed the account."""
    longest_rest_s: float = 60.0
    """Longest Retry-After that is kept for everybody; the call that got it honours its own to the end."""
    lease_s: float = 30.0
    """Seconds after its timeout at which an admission that was not settled expires: its process is dead."""
    ledger_s: float = 86_400.0
    """Seconds that the answers of a thread are kept for a replay."""

    max_cost_per_day_microusd: int | None = None
    """Cap over all calls of a day (UTC)."""
    max_cost_per_tenant_day_microusd: int | None = None
    """Cap over all calls of one tenant and day (UTC)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "concurrency" and value == "auto":
                continue
            if value is None and getattr(type(self), field.name, 0) is None:
                continue
            if value is None and field.name == "usd_per_minute":
                continue
            lowest = 1 if field.name in _AT_LEAST_ONE else 0
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"limits: {field.name} must be a number, got {value!r}")  # noqa: TRY004 - one type
            if not math.isfinite(value) or value < lowest:
                raise ValueError(f"limits: {field.name} must be at least {lowest}, got {value!r}")

    def ceiling_of(self, timeout_s: float) -> float:
        """Return the highest timeout of a request whose own is `timeout_s`, in seconds."""
        return 2 * timeout_s if self.timeout_ceiling_s is None else self.timeout_ceiling_s

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The limits in whole milliseconds, thousandths, percent and micro-dollars, as the guards calculate."""
        auto = self.concurrency == "auto"
        return {
            "auto": int(auto),
            "concurrency": 0 if auto else (self.concurrency or 0),
            "concurrency_start": self.concurrency_start * MILLI,
            "concurrency_max": self.concurrency_max * MILLI,
            "retry_reserve": round(self.retry_reserve * MILLI),
            "retry_deposit": round(self.retry_deposit * MILLI),
            "retry_max": round(self.retry_max * MILLI),
            "hedge_deposit": round(self.hedge_share * MILLI),
            "throttle_ratio": round(self.throttle_ratio * MILLI),
            "breaker_failures": self.breaker_failures,
            "open_ms": ms(self.open_s),
            "probe_ms": ms(self.probe_lease_s),
            "unreachable_calls": self.unreachable_calls,
            "lost_calls": self.lost_calls,
            "rejected_items": self.rejected_items,
            "rejected_items_lately": self.rejected_items_lately,
            "lately_ms": ms(self.lately_s),
            "reprobe_ms": ms(self.reprobe_s),
            "longest_reprobe_ms": ms(self.longest_reprobe_s),
            "same_call": self.same_call,
            "same_ms": ms(self.same_call_window_s),
            "minute": -1 if self.usd_per_minute is None else round(self.usd_per_minute * 1_000_000),
            "floor_ms": ms(self.timeout_floor_s),
            "samples": self.timeout_samples,
            "halt_ms": ms(self.halt_s),
            "rest_ms": ms(self.longest_rest_s),
            "lease_ms": ms(self.lease_s),
            "ledger_ms": ms(self.ledger_s),
        }


_AT_LEAST_ONE: Final = frozenset(
    {
        "concurrency",
        "concurrency_start",
        "concurrency_max",
        "throttle_ratio",
        "breaker_failures",
        "unreachable_calls",
        "lost_calls",
        "rejected_items",
        "rejected_items_lately",
        "same_call",
    }
)


def ms(seconds: float) -> int:
    """Return seconds as whole milliseconds."""
    return round(seconds * 1000)
