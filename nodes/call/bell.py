"""A wake-up call across threads and event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass(eq=False)
class Ear:
    """One coroutine's place among those who listen to a bell."""

    loop: asyncio.AbstractEventLoop
    rung: asyncio.Event

    async def heard(self, timeout: float) -> None:
        """Wait until the bell rings, at most `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.rung.wait()
        self.rung.clear()

    def wake(self) -> None:
        """Tell the listener, from any thread."""
        # A loop that is closed has nobody left to wake.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.rung.set)


class Bell:
    """Wakes coroutines that wait for a change, whichever thread and loop they run on.

    The primitives of asyncio belong to one loop; under `invoke` calls run on a background loop, under `ainvoke` on the
    caller's, and both share guards and budgets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: set[Ear] = set()

    @contextmanager
    def listening(self) -> Iterator[Ear]:
        """Listen while the block runs: a ring after the block has begun is never missed."""
        ear = Ear(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._ears.add(ear)
        try:
            yield ear
        finally:
            with self._lock:
                self._ears.discard(ear)

    def ring(self) -> None:
        """Wake everybody who listens."""
        with self._lock:
            ears = tuple(self._ears)
        for ear in ears:
            ear.wake()


class Doorbells:
    """Wakes single coroutines by name, whichever thread and loop they run on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: dict[str, Ear] = {}

    @contextmanager
    def listening(self, name: str) -> Iterator[Ear]:
        """Listen for one name while the block runs."""
        ear = Ear(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._ears[name] = ear
        try:
            yield ear
        finally:
            with self._lock:
                self._ears.pop(name, None)

    @property
    def anybody(self) -> bool:
        """Whether anybody listens."""
        with self._lock:
            return bool(self._ears)

    def ring(self, names: Iterable[str]) -> None:
        """Wake those of the named who listen here."""
        with self._lock:
            ears = [ear for name in names if (ear := self._ears.get(name)) is not None]
        for ear in ears:
            ear.wake()
