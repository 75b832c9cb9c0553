"""The pure arithmetic of the guard: latency buckets, percentiles, timeouts, breaker windows, limits that adapt.

Whole numbers only, because `lua/*.lua` does the same and both have to come to the same results.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

GAMMA: Final = 1.04
"""Growth of a latency bucket: each quantile is known to within 2 % ("DDSketch", Masson, Rim and Lee, 2019)."""

LATENCY_WINDOW_MS: Final = 600_000
"""Latencies are collected in windows of 10 minutes; the current one and the one before it count."""

PERCENTILES_EVERY_MS: Final = 1000
"""Percentiles are computed at most once a second for each kind of call."""

HIGHEST_LIFT_MS: Final = 3_600_000
"""Highest that timeouts in a row raise the next one, before the ceiling."""

WAITER_MS: Final = 3000
"""A waiter that has not asked again for so long is dead: the living ask at least every second."""

RATE_SLICE_MS: Final = 5000
RATE_SLICES: Final = 12
"""What a thread spends in a minute is added up in slices of 5 seconds."""

HEALTH_SLICE_MS: Final = 5000
HEALTH_SLICES: Final = 6
"""The throttle looks at the requests that began within half a minute, added up in slices of 5 seconds."""

LEAST_HEALTH: Final = 30
"""Requests below which the throttle holds nothing back: as many failures in a row open the breaker."""

ROW_KEPT: Final = 4
"""Failures in a row that are remembered, as a multiple of those that open the breaker."""

RAMP_START: Final = 5
RAMP_STEP: Final = 2
RAMP_MS: Final = 20_000
RAMP_POLL_MS: Final = 200
"""After an outage so many requests may be under way at first, two more for each that is accepted, for 20 seconds: those
who waited come back in their order and not all at once. They ask again after a fifth of a second unless woken."""

DICE: Final = 1_000_000
"""Random numbers are whole ones below this, thrown by who asks, so that both guards come to the same results."""

SIZES: Final = (64, 512, 2048)
"""Bounds of the size classes of an answer, in tokens: the latency of a model is mostly the length of its answer."""

WORKING: Final = frozenset({"ok", "invalid_output", "truncated", "refused", "permanent", "gate_failed"})
"""Outcomes that prove an endpoint alive, whatever its answer is worth."""
ACCEPTING: Final = WORKING - {"permanent"}
"""Outcomes of requests that the endpoint took as they were."""
FAILING: Final = frozenset({"transient", "timeout"})
"""Outcomes that count against an endpoint; throttled and cancelled say nothing about its health."""


def size_class(max_tokens: int) -> str:
    """Return the size class of a request by the longest answer that it allows."""
    return next((str(bound) for bound in SIZES if max_tokens <= bound), "more")


def bucket_of(milliseconds: int) -> int:
    """Return the bucket of a latency."""
    return max(0, math.ceil(math.log(max(1, milliseconds)) / math.log(GAMMA)))


def value_of(bucket: int) -> int:
    """Return the latency in milliseconds that a bucket stands for, its middle in the relative sense."""
    return math.floor(2 * GAMMA**bucket / (GAMMA + 1) + 0.5)


def percentile(counts: Mapping[int, int], percent: int) -> int:
    """Return a percentile of the latencies in buckets, in milliseconds; 0 when there are none."""
    rank = (sum(counts.values()) * percent + 99) // 100
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return value_of(bucket)
    return 0


def usual_timeout(p99: int, floor: int) -> int:
    """Return 1.5 x p99, at least the floor, in milliseconds."""
    return max(floor, (3 * p99 + 1) // 2)


def learned_timeout(p99: int, lift: int, floor: int, ceiling: int) -> int:
    """Return the usual timeout or what timeouts in a row have raised it to; the ceiling is the strongest bound."""
    return min(max(usual_timeout(p99, floor), lift), ceiling)


def throttled(began: int, failed: int, ratio: int, dice: int) -> bool:
    """Tell whether a request is refused locally: with probability (requests - K x accepts) / (requests + 1).

    Whoever is still under way counts as accepted. `ratio` is K in thousandths, `dice` a number below `DICE`.
    """
    if began < LEAST_HEALTH:
        return False
    return dice * (began + 1) * 1000 < (began * 1000 - ratio * (began - failed)) * DICE


def throttle_wait(began: int, failed: int, dice: int) -> int:
    """Return how many milliseconds a locally refused request waits before it asks again.

    The more of the requests fail, the longer: a tenth of a second to one and a half, spread by the dice.
    """
    return (100 + 900 * failed // max(1, began)) * (DICE // 2 + dice) // DICE


def probe_wait(every: int, dice: int) -> int:
    """Return the milliseconds until the next probe, half to one and a half of the usual."""
    return every * (DICE // 2 + dice) // DICE


def add_failed(row: str, number: int, most: int) -> str:
    """Add a request that made no connection to a row of them; the lowest `most` are kept.

    `number` is how many requests had begun when it came back.
    """
    numbers = sorted([*(int(n) for n in row.split(",") if n), number])[:most]
    return ",".join(map(str, numbers))


def add_rejected(row: str, number: int, item: str, prompt: str, most: int) -> str:
    """Add a rejected request to a row, unless one about its item or with its prompt is in it."""
    entries = [entry.split(":") for entry in row.split(",") if entry]
    if not item or not prompt or len(entries) >= most or any(e[1] == item or e[2] == prompt for e in entries):
        return row
    return ",".join([*(":".join(entry) for entry in entries), f"{number}:{item}:{prompt}"])


def lasts(until: int, now: int, longest: int) -> bool:
    """Tell whether a wait still lasts; one longer than any may be is of a time before the clock was set back."""
    return 0 < until - now <= longest


def is_recent(at: int, now: int, within: int) -> bool:
    """Tell whether something happened within some milliseconds; 0 is never."""
    return 0 < at <= now and now - at < within


def older_than(row: str, oldest: int | None) -> int:
    """Count the failures of a row that came back before every request that is still under way began.

    Failures that come back at once are no verdict while slower requests that began beside them have not ended.
    """
    numbers = [int(entry.partition(":")[0]) for entry in row.split(",") if entry]
    return sum(1 for number in numbers if oldest is None or number < oldest)


def raised(limit: int, most: int) -> int:
    """Return a concurrency limit, in thousandths, after a window of successes."""
    return min(limit + 1000, most)


def lowered(limit: int) -> int:
    """Return a concurrency limit, in thousandths, after the endpoint had too much."""
    return max(limit * 9 // 10, 1000)


def spent_lately(slices: Mapping[int, int], now_ms: int) -> int:
    """Return what the slices of the last minute add up to."""
    oldest = now_ms // RATE_SLICE_MS - RATE_SLICES
    return sum(cost for index, cost in slices.items() if index > oldest)


def merged(windows: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add up the buckets of several windows."""
    total: dict[int, int] = {}
    for window in windows:
        for bucket, count in window.items():
            total[bucket] = total.get(bucket, 0) + count
    return total
