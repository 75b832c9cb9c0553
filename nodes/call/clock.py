"""The time limit of an attempt, which stands still while its requests wait for admission."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol

GRACE_S: Final = 0.05
"""Seconds that an attempt has beyond its request: the request knows better what it waited for."""


class Clock(Protocol):
    """What a request tells the attempt that it belongs to."""

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Stop the time limit while a request waits for admission."""

    def allow(self, seconds: float) -> None:
        """Give the attempt at least the time limit of a request that begins now."""


class NoClock:
    """The clock of a call outside of an attempt."""

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Do nothing."""
        yield

    def allow(self, seconds: float) -> None:
        """Do nothing."""


class SharedClock:
    """The clocks of several attempts that share one request."""

    def __init__(self, clocks: Sequence[Clock]) -> None:
        self._clocks = clocks

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Stop all of them."""
        with ExitStack() as stack:
            for clock in self._clocks:
                stack.enter_context(clock.queueing())
            yield

    def allow(self, seconds: float) -> None:
        """Give each of them the time of the request."""
        for clock in self._clocks:
            clock.allow(seconds)


class AttemptClock:
    """The clock of one attempt, on the `asyncio.timeout` that bounds it.

    `most_s` is the longest that the attempt may take in seconds, what it waited for admission not counted.
    """

    def __init__(self, bound: asyncio.Timeout, most_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._bound = bound
        self._latest = self._loop.time() + most_s
        self._queueing = 0
        self._since = self._left = 0.0
        self.queued_s = 0.0
        """Seconds that the attempt's requests have waited for admission."""

    @contextmanager
    def queueing(self) -> Iterator[None]:
        """Stop the time limit; requests side by side stop it together."""
        self._queueing += 1
        if self._queueing == 1:
            self._since = self._loop.time()
            until = self._bound.when()
            self._left = 0.0 if until is None else until - self._since
            self._set(None)
        try:
            yield
        finally:
            self._queueing -= 1
            if self._queueing == 0:
                waited = self._loop.time() - self._since
                self.queued_s += waited
                self._latest += waited
                self._set(self._loop.time() + self._left)

    def allow(self, seconds: float) -> None:
        """Give the attempt as much time as a request that begins now, at most up to the longest."""
        now = self._loop.time()
        until = min(now + seconds + GRACE_S, self._latest)
        if self._queueing:
            self._left = max(self._left, until - self._since)
        elif (current := self._bound.when()) is not None:
            self._set(max(current, until))

    def _set(self, when: float | None) -> None:
        if not self._bound.expired():
            self._bound.reschedule(when)
