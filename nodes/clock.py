"""The time that is written down: the server's, where processes share one, and never one that jumps.

Clocks of hosts differ, and are set while processes run: a wait until nine o'clock would be over at once or last a day.
So a process asks a clock that only ever goes forward how much time has passed, and adds that to one moment that it
knows: what the server of the guard said last, or its own host's when it first looked.
"""

from __future__ import annotations

import time
from typing import Final

CLOSE_S: Final = 0.1
"""Seconds by which the server's time may differ from ours, beside what its answer took, before ours is set anew."""

_known: tuple[float, float] | None = None
"""A moment in seconds since the epoch, and what `ticks` was then."""


def ticks() -> float:
    """Return seconds that only go forward, also while the machine is suspended where the system counts that."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def now() -> float:
    """Return the time in seconds since the epoch."""
    global _known  # noqa: PLW0603 - one time for the process
    if _known is None:
        _known = (time.time(), ticks())
    moment, then = _known
    return moment + ticks() - then


def learn(moment: float, asked: float) -> None:
    """Take the server's time over; `asked` is what `ticks` was when it was asked for it, just now."""
    global _known  # noqa: PLW0603 - one time for the process
    answered = ticks()
    took = max(0.0, answered - asked)
    if abs(moment + took / 2 - now()) > took / 2 + CLOSE_S:
        _known = (moment + took / 2, answered)


def forget() -> None:
    """Go by the host's clock again; for tests."""
    global _known  # noqa: PLW0603 - one time for the process
    _known = None


def left(at: float, made_at: float) -> float:
    """Return the seconds that are left of a wait that ends at a time and was begun at another, never more than it had.

    `made_at` of 0 is of a wait that was written down without it.
    """
    waits = max(0.0, at - now())
    return min(waits, max(0.0, at - made_at)) if made_at else waits
