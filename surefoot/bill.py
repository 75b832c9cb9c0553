"""What a run cost: the part that went into retries, the cost of one item, a month at this rate, and single outliers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from surefoot.raw import number, records
from surefoot.words import count, duration, money

DAYS_A_MONTH: Final = 30

OUTLIER_TIMES: Final = 5.0
"""An item that took this many times the median, in money or time, is worth a look."""
OUTLIER_ITEMS: Final = 20
"""Items below which there is no telling what is usual."""
LEAST_MICROUSD: Final = 500
"""Micro-dollars below which an item is no outlier, however cheap the others are."""
LEAST_SECONDS: Final = 2.0
WORST: Final = 3
"""Outliers that are named."""


@dataclass(frozen=True)
class Effort:
    """What one thread took, from its attempts: people's time does not count."""

    key: str
    attempts: int
    retries: int
    """Attempts after the first of their step and turn."""
    calls: int
    retry_calls: int
    """Requests that the retries sent."""
    cost_microusd: int
    retry_microusd: int
    seconds: float
    """Time in attempts and in waits between them."""

    @classmethod
    def of(cls, key: str, values: Mapping[str, Any]) -> Effort:
        """Read it from raw channel values."""
        attempts = records(values, "attempts")
        again = [attempt for attempt in attempts if number(attempt.get("n"), 1) > 1]
        return cls(
            key=key,
            attempts=len(attempts),
            retries=len(again),
            calls=_total(attempts, "calls"),
            retry_calls=_total(again, "calls"),
            cost_microusd=_total(attempts, "cost_microusd"),
            retry_microusd=_total(again, "cost_microusd"),
            seconds=sum(number(a.get("latency_ms")) + number(a.get("wait_ms")) for a in attempts) / 1000,
        )


def _total(attempts: Sequence[Mapping[str, Any]], name: str) -> int:
    return round(sum(number(attempt.get(name)) for attempt in attempts))


@dataclass(frozen=True)
class Usual:
    """What is usual among items of one kind.

    The median and not the mean, because outliers move the mean towards themselves.
    """

    cost_microusd: float
    seconds: float

    @classmethod
    def of(cls, costs: Sequence[float], times: Sequence[float]) -> Usual | None:
        """Return the medians; None where too few items tell, or where none of them cost anything.

        Without a cost there is nobody to pay for a slow item, and the first ones always wait for models to load.
        """
        # Threads that were finished before times were kept say 0.
        known = [seconds for seconds in times if seconds > 0]
        if len(costs) < OUTLIER_ITEMS or not any(costs):
            return None
        return cls(statistics.median(costs), statistics.median(known) if len(known) >= OUTLIER_ITEMS else math.inf)

    def why_outlier(self, cost_microusd: float, seconds: float) -> str:
        """Say why an item is an outlier, or return an empty string."""
        told = []
        if cost_microusd > max(OUTLIER_TIMES * self.cost_microusd, LEAST_MICROUSD):
            told.append(f"cost {money(cost_microusd)}, the median is {money(self.cost_microusd)}")
        if seconds > max(OUTLIER_TIMES * self.seconds, LEAST_SECONDS):
            told.append(f"took {duration(seconds)}, the median is {duration(self.seconds)}")
        return "; ".join(told)


@dataclass
class Bill:
    """What the items of a run took together."""

    per_day: int
    """Items a day that the projection is for."""
    efforts: list[Effort] = field(default_factory=list)

    def add(self, key: str, values: Mapping[str, Any]) -> None:
        """Add one item that is finished or waits for a person."""
        self.efforts.append(Effort.of(key, values))

    def total(self, name: str) -> int:
        """Return the sum of one figure over all items."""
        return sum(getattr(effort, name) for effort in self.efforts)

    @property
    def item_microusd(self) -> float:
        """Cost of one item on average, its retries included."""
        return self.total("cost_microusd") / len(self.efforts) if self.efforts else 0.0

    @property
    def month_microusd(self) -> float:
        """Cost of a month of `DAYS_A_MONTH` days with `per_day` items like these."""
        return self.item_microusd * self.per_day * DAYS_A_MONTH

    def facts(self) -> list[tuple[str, str]]:
        """Return lines for the end of a run: none where nothing was spent."""
        attempts, retries, spent = self.total("attempts"), self.total("retries"), self.total("cost_microusd")
        facts = []
        if spent and retries:
            share = f"{retries:,} of {count(attempts, 'attempt')} ({retries / attempts:.0%})"
            calls = f"{self.total('retry_calls'):,} of {count(self.total('calls'), 'call')}"
            facts.append(("retries", f"{share}, {calls}, {money(self.total('retry_microusd'))} of the cost"))
        if spent:
            month = f"about {money(self.month_microusd)} a month at {self.per_day:,} a day"
            facts.append(("each item", f"{money(self.item_microusd)}, {month}"))
        return facts

    def as_json(self) -> dict[str, Any]:
        """Return the same figures, JSON-able."""
        return {
            "attempts": self.total("attempts"),
            "retries": self.total("retries"),
            "calls": self.total("calls"),
            "retry_calls": self.total("retry_calls"),
            "cost_microusd": self.total("cost_microusd"),
            "retry_microusd": self.total("retry_microusd"),
            "item_microusd": round(self.item_microusd, 1),
            "items_per_day": self.per_day,
            "month_microusd": round(self.month_microusd),
            "outliers": [{"key": effort.key, "why": why} for effort, why in self.outliers()],
        }

    def outliers(self) -> list[tuple[Effort, str]]:
        """Return the items that took far more than the others, the worst first, with the reason."""
        usual = Usual.of([e.cost_microusd for e in self.efforts], [e.seconds for e in self.efforts])
        if usual is None:
            return []
        judged = ((effort, usual.why_outlier(effort.cost_microusd, effort.seconds)) for effort in self.efforts)
        found = [(effort, why) for effort, why in judged if why]
        return sorted(found, key=lambda pair: (-pair[0].cost_microusd, -pair[0].seconds))[:WORST]
