"""Handing events to slow subscribers without making a run wait."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from nodes.events import Event

_log = logging.getLogger("surefoot.telemetry")

CAPACITY: Final = 10_000
"""Events that may wait; a subscriber that falls further behind loses the newest."""

Subscriber = Callable[[Event, float], None]
"""Takes an event and the time at which it happened, in seconds since the epoch."""


class EventQueue:
    """A listener that passes events on in a thread of its own: a log on a full pipe stops the thread, not the run."""

    def __init__(self, *subscribers: Subscriber, capacity: int = CAPACITY) -> None:
        self._subscribers = subscribers
        self._waiting: queue.Queue[tuple[Event, float] | None] = queue.Queue(capacity)
        self.dropped = 0
        """Events that found no place."""
        self.failed = 0
        """Events that a subscriber could not take."""
        self._thread = threading.Thread(target=self._work, name="surefoot-telemetry", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Put an event into the queue; never waits, never raises."""
        try:
            self._waiting.put_nowait((event, time.time()))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Pass on what is waiting, for at most `timeout_s` seconds, and stop; say how many events were lost."""
        until, left = time.monotonic() + timeout_s, 0
        try:
            # A full queue with a subscriber that works has a place soon.
            self._waiting.put(None, timeout=timeout_s)
            self._thread.join(max(0.0, until - time.monotonic()))
            left = max(0, self._waiting.qsize() - 1) if self._thread.is_alive() else 0
        except queue.Full:
            left = self._waiting.qsize()
        if lost := self.dropped + left:
            _log.warning("telemetry could not keep up: %d events were lost", lost)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            for subscriber in self._subscribers:
                try:
                    subscriber(*item)
                except Exception as error:
                    self.failed += 1
                    if self.failed == 1:
                        _log.warning("telemetry failed on %s: %s", type(item[0]).__name__, type(error).__name__)
