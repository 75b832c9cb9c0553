"""The time limits of attempts, which stand still while their requests wait for admission."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

GRACE_S: Final = 0.05
"""Seconds that an attempt has beyond its request: the request knows better what it waited for."""


class TimeLimit(Protocol):
    """A time limit as the requests under it see it, such as `nodes.loading.Clock`."""

    def hold(self, change: int) -> None:
        """Stop the clock for one more reason (1), or for one less (-1)."""

    def extend(self, seconds: float) -> None:
        """Let at least this many seconds be left."""


class Queueing:
    """How long the requests of a call wait for admission, and the time limits that stand still meanwhile.

    It is a time limit itself: a request that several calls share waits for all of them.
    """

    def __init__(self, *limits: TimeLimit) -> None:
        self._limits = limits
        self._waiting = 0
        self._since = self._waited = 0.0

    @property
    def queued_s(self) -> float:
        """The seconds that requests have waited, those side by side counted once."""
        return self._waited + (time.monotonic() - self._since if self._waiting else 0.0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Stop the time limits while the block runs."""
        self.hold(1)
        try:
            yield
        finally:
            self.hold(-1)

    def allow(self, seconds: float) -> None:
        """Give the attempts at least the time limit of a request that begins now."""
        self.extend(seconds + GRACE_S)

    def hold(self, change: int) -> None:
        """Note that one more request waits (1), or one less (-1)."""
        self._waited = self.queued_s
        self._waiting += change
        self._since = time.monotonic()
        for limit in self._limits:
            limit.hold(change)

    def extend(self, seconds: float) -> None:
        """Let at least this many seconds be left of each time limit."""
        for limit in self._limits:
            limit.extend(seconds)
