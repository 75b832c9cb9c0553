"""Loading of our own, which no time limit counts: models that are fitted, libraries that are imported, workers.

A time limit says how long the work of a step may take. Fitting a model or importing a library on first use is no part
of that work, and on a busy machine it takes the processor away from every other step of the process too: so all
limits stand still while anything loads.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self

from nodes import events
from nodes.clock import now
from nodes.errors import CallError, Permanent, StopRun
from state import redact

LONGEST_S: Final = 600.0
"""Seconds for which limits stand still at most: loading that hangs must not stop every clock for ever."""

RETRY_AFTER_S: Final = 60.0
"""Seconds before a preparation that failed is tried again: most failures (a missing file) would only repeat."""


class _Process:
    """What loads in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.under_way = 0
        self.began = 0.0
        """When the present loading began, in seconds since the epoch."""
        self.past: list[tuple[float, float]] = []
        """Beginning and end of each time that something loaded, oldest first."""
        self.clocks: set[Clock] = set()
        self.prepared: dict[int, tuple[Callable[[], Any], Future[None], float]] = {}
        """By identity of the function: the function itself, how it ended, and when it was begun."""


_process = _Process()


def _forget() -> None:
    """A forked child has nothing under way; what its parent had prepared it has too."""
    global _process
    old, _process = _process, _Process()
    _process.prepared = {key: entry for key, entry in old.prepared.items() if entry[1].done()}


os.register_at_fork(after_in_child=_forget)


@contextmanager
def loading() -> Iterator[None]:
    """Stop all clocks of the process while the block runs, in whatever thread."""
    _count(+1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    """Note that one more thing loads, or one less, and stop or start the clocks."""
    process = _process
    with process.lock:
        before = process.under_way
        process.under_way = max(0, before + change)
        if before == 0 and change > 0:
            process.began = now()
            for clock in tuple(process.clocks):
                clock.tell(loading=True)
        elif before > 0 and process.under_way == 0:
            process.past.append((process.began, now()))
            for clock in tuple(process.clocks):
                clock.tell(loading=False)


def loaded_since(at: float) -> float:
    """Return for how many of the seconds since a time (seconds since the epoch) this process was loading something."""
    process = _process
    with process.lock:
        spans = list(process.past)
        if process.under_way:
            spans.append((process.began, min(now(), process.began + LONGEST_S)))
    return sum(max(0.0, end - max(begin, at)) for begin, end in spans)


_innermost: ContextVar[Clock | None] = ContextVar("surefoot_clock", default=None)


class Clock:
    """A time limit that stands still while something loads: `async with Clock(5) as clock`; raises `TimeoutError`.

    `most` is the longest in seconds that it may run, however it is extended; None sets no bound.
    """

    def __init__(self, seconds: float, *, most: float | None = None) -> None:
        self._given = self._left = seconds
        self._most = most
        self._loading = False
        self._holds = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.outer = _innermost.get()
        self._token = _innermost.set(self)
        with _process.lock:
            _process.clocks.add(self)
            self._loading = _process.under_way > 0
        self._timeout = asyncio.timeout(self._left + (LONGEST_S if self._stands else 0.0))
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _process.lock:
            _process.clocks.discard(self)
        _innermost.reset(self._token)
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def _stands(self) -> bool:
        return self._loading or self._holds > 0

    def left(self) -> float:
        """Return the seconds that are left."""
        when = self._timeout.when()
        return self._left if self._stands or when is None else when - self._loop.time()

    def ran(self) -> float:
        """Return the seconds that it has run, without those for which it stood still."""
        return self._given - self.left()

    def extend(self, seconds: float) -> None:
        """Let at least this many seconds be left, as far as `most` allows."""
        if self._most is not None:
            seconds = min(seconds, self._most - self.ran())
        if (more := seconds - self.left()) > 0:
            self._given += more
            self._left = seconds
            self._set()

    def hold(self, change: int) -> None:
        """Stop the clock for one more reason (1), or for one less (-1)."""
        self._left = self.left()
        self._holds += change
        self._set()

    def tell(self, *, loading: bool) -> None:
        """Say that something began to load, or that nothing loads any more; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._heard, loading)
        except RuntimeError:
            # The loop has ended, and with it whatever was limited.
            with _process.lock:
                _process.clocks.discard(self)

    def _heard(self, loading: bool) -> None:
        # Something else may have begun to load before the news of an end came through.
        if loading != self._loading and (loading or not _process.under_way):
            self._left, self._loading = self.left(), loading
            self._set()

    def _set(self) -> None:
        """Let the timeout end when the time that is left is over, beside that for which the clock stands still.

        Loading stops it for a bounded time; whoever holds it knows himself how long he waits.
        """
        if not self._timeout.expired() and self in _process.clocks:
            ends = self._loop.time() + self._left + (LONGEST_S if self._stands else 0.0)
            self._timeout.reschedule(None if self._holds else ends)


@contextmanager
def off_clock() -> Iterator[None]:
    """Stop the clocks around the block: for waiting in a line of our own, which is no work of the step."""
    held: list[Clock] = []
    clock = _innermost.get()
    while clock is not None:
        clock.hold(1)
        held.append(clock)
        clock = clock.outer
    try:
        yield
    finally:
        for clock in held:
            clock.hold(-1)


async def prepare_once(function: Callable[[], Any], what: str) -> None:
    """Call a function that prepares something, once in a process; whoever comes meanwhile waits for its end too.

    A plain function runs in a thread, a coroutine function on a loop of that thread. `what` names in messages what is
    prepared. Raises `Permanent` that names what failed and why; a `StopRun`, such as a library that is missing, comes
    as it is. What failed is tried again after a minute.
    """
    future, fresh = _future_of(function)
    if fresh:
        events.emit(events.PreparingBegan(what))
        arguments = (function, what, future, contextvars.copy_context())
        threading.Thread(target=_prepare, args=arguments, name="surefoot-prepare", daemon=True).start()
    await asyncio.shield(asyncio.wrap_future(future))


def _future_of(function: Callable[[], Any]) -> tuple[Future[None], bool]:
    """Return how a preparation ends, and whether the caller has to begin it."""
    process, now = _process, time.monotonic()
    with process.lock:
        _, future, begun = process.prepared.get(id(function), (function, None, 0.0))
        if future is not None and not (_failed(future) and now - begun > RETRY_AFTER_S):
            return future, False
        future = Future()
        future.set_running_or_notify_cancel()
        # The function is held, so that its identity stays its own.
        process.prepared[id(function)] = (function, future, now)
        return future, True


def _failed(future: Future[None]) -> bool:
    return future.done() and future.exception() is not None


def _prepare(function: Callable[[], Any], what: str, future: Future[None], context: contextvars.Context) -> None:
    began = time.monotonic()
    failed: Exception | None = None
    with loading():
        try:
            made = context.run(function)
            if inspect.isawaitable(made):
                asyncio.run(_awaited(made))
        except (StopRun, CallError) as error:
            failed = error
        except Exception as error:
            failed = Permanent(f"preparing {what} failed: {type(error).__name__}: {redact(str(error))}")
    events.emit(events.PreparingEnded(what, round((time.monotonic() - began) * 1000), str(failed or "")))
    if failed is not None:
        future.set_exception(failed)
    else:
        future.set_result(None)


async def _awaited(made: Any) -> None:
    await made
