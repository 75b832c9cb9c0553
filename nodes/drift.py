"""A watch on scores over many items: slow decay that every single item hides.

Each item may pass its gates while all of them together get worse: shorter, emptier, less about their sources. This is
Page's test (Page, "Continuous Inspection Schemes", Biometrika 1954; as Page-Hinkley in stream mining), two-sided and on
standardised scores, so that one pair of numbers fits scores of any scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BASELINE: Final = 200
"""Items that tell what is usual: a day of summaries. Nothing is judged before."""
SLACK: Final = 0.5
"""Standard deviations by which a mean may be off without being a change: twice what 200 items leave uncertain, and
some of what a week's news changes."""
ALARM: Final = 25.0
"""Sum of deviations beyond the slack that is an alarm: fifty items that are off by one standard deviation, or ten that
are off by three. By chance it comes less than once in a million items."""
CLIP: Final = 4.0
"""Most that a single item counts, in standard deviations: one odd item is no drift."""


@dataclass(frozen=True)
class Alarm:
    """A score that has drifted away from what was usual."""

    score: str
    usual: float
    now: float
    """Mean of the items since it began to drift."""
    items: int
    """How many these are."""


@dataclass
class Watch:
    """The watch over one score; plain numbers, so that it can be stored between runs."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    up: float = 0.0
    down: float = 0.0
    recent: float = 0.0
    """Sum of the scores since both sums were last at zero."""
    since: int = 0

    def add(self, name: str, value: float) -> Alarm | None:
        """Take the score of the next item; returns an alarm when it is one too many, and begins anew after it."""
        if not math.isfinite(value):
            return None
        if self.count < BASELINE:
            self.count += 1
            step = value - self.mean
            self.mean += step / self.count
            self.squares += step * (value - self.mean)
            return None
        spread = math.sqrt(self.squares / (self.count - 1)) or 1e-9
        off = max(-CLIP, min(CLIP, (value - self.mean) / spread))
        self.up, self.down = max(0.0, self.up + off - SLACK), max(0.0, self.down - off - SLACK)
        self.recent, self.since = self.recent + value, self.since + 1
        if self.up == 0 and self.down == 0:
            self.recent, self.since = 0.0, 0
        if max(self.up, self.down) < ALARM:
            return None
        alarm = Alarm(name, self.mean, self.recent / self.since, self.since)
        self.up, self.down, self.recent, self.since = 0.0, 0.0, 0.0, 0
        return alarm


@dataclass
class Drift:
    """Watches over all scores of a pipeline."""

    watches: dict[str, Watch] = field(default_factory=dict)

    def add(self, scores: Mapping[str, float]) -> list[Alarm]:
        """Take the scores of the next item and return the alarms that it raises."""
        found = (self.watches.setdefault(name, Watch()).add(name, value) for name, value in scores.items())
        return [alarm for alarm in found if alarm is not None]

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON-able data."""
        return {name: vars(watch) for name, watch in self.watches.items()}

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None) -> Drift:
        """Return the watches of a stored state; one that cannot be read begins anew."""
        try:
            return cls({name: Watch(**watch) for name, watch in (stored or {}).items()})
        except (TypeError, AttributeError):
            return cls()
