"""How long an item waits for an endpoint: faults of transport are bounded by time, wrong answers by count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from state import Attempt, Outcome

TRANSPORT: Final[frozenset[Outcome]] = frozenset(
    {"transient", "timeout", "throttled", "throttled_locally", "breaker_open", "retry_budget_spent"}
)
"""Outcomes of attempts that got no answer: the same request may succeed once the endpoint is well."""

SPACING_S: Final = 1.0
"""Least seconds between two attempts beyond a policy's retries."""


def patient_until(patience_s: float, attempts: Iterable[Attempt], ours: Sequence[Attempt], now: float) -> float:
    """Return until when an item waits for the endpoints of a step, in seconds since the epoch.

    `attempts` are all of the run, `ours` those of the step's current visit, oldest first. Patience is the item's: what
    other steps have waited for their endpoints is taken from it.
    """
    if patience_s <= 0:
        return now if not ours else ours[0].started_at
    mine = {id(attempt) for attempt in ours}
    spent = sum(_waited_ms(attempt) for attempt in attempts if id(attempt) not in mine) / 1000
    return (ours[0].started_at if ours else now) + max(0.0, patience_s - spent)


def _waited_ms(attempt: Attempt) -> int:
    """Return what an attempt cost the item's patience: its queue, and all of one that got no answer."""
    failed = attempt.outcome in TRANSPORT
    return attempt.queued_ms + (attempt.wait_ms + attempt.latency_ms if failed else 0)
