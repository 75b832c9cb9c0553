"""Turns on the cores of this process, for work that does nothing but compute.

Fifty items that begin together would all compute at the same time, each at a fiftieth of the speed, and all of them
would break their time limits together. So they take turns, and the limit of each begins with its turn.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Final

PATIENCE_S: Final = 0.25
"""Seconds after which a turn passes on though its work has not ended: it hangs, or waits for something else."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        # macOS has no such call.
        return os.cpu_count() or 1


class Turns:
    """A bounded number of turns, handed out in the order of asking; used from several event loops."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._free = most
        self._waiting: deque[Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            asked: Future[None] = Future()
            self._waiting.append(asked)
        try:
            await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            if not asked.cancelled():
                # The turn came at the same moment: it goes to the next one.
                self.give()
            raise

    def give(self) -> None:
        """Give a turn back: to whoever waits longest, if anyone does."""
        with self._lock:
            while self._waiting:
                asked = self._waiting.popleft()
                if asked.set_running_or_notify_cancel():
                    asked.set_result(None)
                    return
            self._free += 1


_turns = Turns(cores())


def _forget() -> None:
    """No thread of a forked child has a turn."""
    global _turns  # noqa: PLW0603 - one set of turns for the process
    _turns = Turns(cores())


os.register_at_fork(after_in_child=_forget)


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    """Wait for a turn and hold it while the block runs, but for `PATIENCE_S` at most."""
    turns = _turns
    await turns.take()
    held = True

    def pass_on() -> None:
        nonlocal held
        if held:
            held = False
            turns.give()

    timer = asyncio.get_running_loop().call_later(PATIENCE_S, pass_on)
    try:
        yield
    finally:
        timer.cancel()
        pass_on()
