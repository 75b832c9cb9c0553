"""The slots of a run: how many items are under way at once, and what an item that only waits gives back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from nodes.events import AttemptEnded, Event, RetryDecided
from surefoot.threads import RawThread

MOST_PARKED: Final = 20
"""Items that may wait for an endpoint without a slot, as a multiple of the slots: each keeps its state in memory."""


class Slots(asyncio.Semaphore):
    """The slots of one run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.most_parked = MOST_PARKED * number
        self.parked = 0


class Slot:
    """The slot of one item, which holds it to begin with; `on_parked` is called with True and False around each wait.

    An item whose wait is over goes on at once and takes its slot as soon as one is free: what it waited for is limited
    by the endpoint, and its answer is not put off again.
    """

    def __init__(self, slots: Slots, on_parked: Callable[[bool], None] = lambda _parked: None) -> None:
        self._slots, self._on_parked = slots, on_parked
        self._holding, self._waits = True, 0
        self._owed: asyncio.Task[bool] | None = None

    def give_back(self) -> None:
        """Free the slot, or stop waiting for it."""
        if self._owed is not None:
            owed, self._owed = self._owed, None
            owed.add_done_callback(self._return_unwanted)
            owed.cancel()
        elif self._holding:
            self._slots.release()
        self._holding = False

    async def take(self) -> None:
        """Wait for a slot."""
        await self._slots.acquire()
        self._holding = True

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Give the slot back while the block runs; several requests of an item give it back once."""
        if self._slots.parked >= self._slots.most_parked and not self._waits:
            yield
            return
        self._waits += 1
        if self._waits == 1:
            self._slots.parked += 1
            self.give_back()
            self._on_parked(True)
        try:
            yield
        finally:
            self._waits -= 1
            if self._waits == 0:
                self._slots.parked -= 1
                self._owed = asyncio.ensure_future(self._slots.acquire())
                self._on_parked(False)

    def _return_unwanted(self, owed: asyncio.Task[bool]) -> None:
        if not owed.cancelled() and owed.exception() is None:
            self._slots.release()


class Sleepers:
    """Which threads of a run only wait: these can be cut without losing anything."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def until_after(self, moment: float) -> list[str]:
        """Return the threads that wait for longer than until a moment, in seconds since the epoch."""
        return [thread for thread, until in self._until.items() if until > moment]

    def forget(self, thread: str) -> None:
        """Remember that a thread does not wait any more."""
        self._until.pop(thread, None)

    def note(self, event: Event) -> None:
        """Remember which threads sleep in their retry node."""
        if isinstance(event, RetryDecided) and event.decision.action == "again":
            self._until[event.thread] = event.decision.at
        elif isinstance(event, AttemptEnded):
            self.forget(event.thread)

    def note_parked(self, thread: str, parked: bool) -> None:
        """Remember which threads wait for an endpoint."""
        if parked:
            self._until[thread] = math.inf
        else:
            self.forget(thread)

    def note_stored(self, thread: str, raw: RawThread) -> None:
        """Remember a wait that an earlier process has begun: its decision is in the thread, no event will tell it."""
        failures = raw.values.get("failures") or {}
        times = [(f.get("decision") or {}).get("at", 0.0) for f in failures.values() if not f.get("released")]
        if times:
            self._until[thread] = max(times)
