"""Something of its own for each event loop, closed with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes a thing for each event loop that asks for one, such as a client whose connections belong to one loop."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._close = make, close
        self._lock = threading.Lock()
        self._things: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = {}

    def here(self) -> T:
        """Return the thing of the running loop, made at first use; those of loops that ended otherwise are dropped."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if (found := self._things.get(loop)) is not None:
                return found[0]
            for ended in [other for other in self._things if other.is_closed()]:
                del self._things[ended]
            thing = self._make()
            keeper = self._close_with_loop(loop, thing)
            self._things[loop] = (thing, keeper)
        # The first step registers the generator with the loop; it never really waits, so it can be driven by hand.
        with suppress(StopIteration):
            keeper.__anext__().send(None)
        return thing

    def others(self) -> bool:
        """Tell whether another living loop has one and this one has none."""
        loop = asyncio.get_running_loop()
        with self._lock:
            return loop not in self._things and any(not other.is_closed() for other in self._things)

    async def close_here(self) -> None:
        """Close the thing of the running loop."""
        with self._lock:
            found = self._things.get(asyncio.get_running_loop())
        if found is not None:
            await found[1].aclose()

    async def _close_with_loop(self, loop: asyncio.AbstractEventLoop, thing: T) -> AsyncGenerator[None, None]:
        """Wait, suspended, for the end of the loop: loops close their asynchronous generators before they end."""
        try:
            yield
        finally:
            with self._lock:
                self._things.pop(loop, None)
            with suppress(Exception):
                await self._close(thing)
