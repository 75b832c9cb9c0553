"""Hedging: a second request when the first is slower than nearly all others; the first answer wins.

For cheap calls that may be sent twice. It pays at p95: hedged there, p99 falls to a third for 5 % more calls; at p99 it
changes nothing. The guard keeps the second requests within their own budget (`Limits.hedge_share`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from nodes.call.guard import Admission
from nodes.errors import SurefootError

R = TypeVar("R")


@dataclass
class Try:
    """One of the requests of a hedged call."""

    hedge: bool = False
    admission: asyncio.Future[Admission] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    lost: bool = False
    """True once the other one has won: it took at least until then."""

    def admitted(self, admission: Admission) -> None:
        """Take note of the admission."""
        if not self.admission.done():
            self.admission.set_result(admission)


@dataclass
class Race(Generic[R]):
    """A call that may be sent twice.

    `send` sends one request and returns its result; `wins` tells whether that is an answer. A result that does not win
    is returned only when the other one is none either.
    """

    send: Callable[[Try], Awaitable[R]]
    wins: Callable[[R], bool]
    tries: dict[asyncio.Task[R], Try] = field(default_factory=dict)

    async def run(self) -> R:
        """Send the first request, and the second when the first is slow; return the answer that came first."""
        try:
            first = self._start(Try())
            await self._slow(first)
            if not first.done():
                self._start(Try(hedge=True))
            return await self._winner(first)
        finally:
            await self._end()

    def _start(self, one: Try) -> asyncio.Task[R]:
        task = asyncio.ensure_future(self.send(one))
        self.tries[task] = one
        return task

    async def _slow(self, first: asyncio.Task[R]) -> None:
        """Wait until the first request has ended, or has taken longer than 95 % of its kind."""
        admission = self.tries[first].admission
        either: set[asyncio.Future[Any]] = {first, admission}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        patience = admission.result().p95_s if admission.done() else None
        await asyncio.wait({first}, timeout=patience)

    async def _winner(self, first: asyncio.Task[R]) -> R:
        running = set(self.tries)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None and self.wins(task.result()):
                    for loser in running:
                        self.tries[loser].lost = True
                    return task.result()
        # Whatever refused or befell the second one, the first tells how the call ended.
        return first.result()

    async def _end(self) -> None:
        """Cancel what still runs, and wait until it is settled."""
        for task in self.tries:
            task.cancel()
        for task in self.tries:
            with suppress(asyncio.CancelledError, SurefootError, Exception):
                await asyncio.shield(asyncio.gather(task, return_exceptions=True))
