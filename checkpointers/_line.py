"""The way to the server from one event loop: what is asked at about the same moment is sent together.

A single server has one connection that all share (`Lane`), brought back when it is lost: a script may run twice
without harm. A cluster's commands go through redis-py's pipeline, which finds the node of each key; two batches are
under way at a time, and what is asked meanwhile makes the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import redis.asyncio as aredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from ._failures import FAILURES
from ._lane import ANSWER_S, WAITING, Lane
from ._scripts import Call, Reply

_log = logging.getLogger("surefoot.saver")

AGAIN: Final = 10
"""Times that a command is asked again whose connection was lost; connecting has attempts of its own."""
PAUSE_S: Final = 0.05
"""Before each of these but the first, as for a failover."""
BATCHES: Final = 2
"""Batches under way to a cluster."""
BATCH: Final = 64
"""Most commands of a batch: the first one waits for the answers of all."""


class Line(Protocol):
    """What a saver asks; it belongs to the loop that uses it."""

    async def ask(self, call: Call) -> Reply:
        """Send a call and what is beside it, and return its answer; raises what redis-py raises."""

    async def ask_all(self, calls: Sequence[Call]) -> list[Reply]:
        """Send calls together and return their answers."""

    async def aclose(self) -> None:
        """Give the connections back."""


def line_to(client: aredis.Redis | aredis.RedisCluster) -> Line:
    """Return the line to a server or a cluster."""
    return ClusterLine(client) if isinstance(client, aredis.RedisCluster) else ServerLine(client)


class ServerLine:
    """The line to one server."""

    def __init__(self, client: aredis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._lane: Lane | None = None
        self._opening: asyncio.Task[Lane] | None = None
        self._closed = False

    async def ask(self, call: Call) -> Reply:
        """Send a call and what is beside it, and return its answer; raises what redis-py raises."""
        lane = self._lane
        if lane is None or lane.failure is not None or lane.full:
            lane = await self._open()
        answer = lane.ask(call)
        if call.beside is None:
            return await self._answered(call, answer)
        beside = lane.ask(call.beside)
        try:
            return await self._answered(call, answer)
        finally:
            await without_harm(self._answered(call.beside, beside))

    async def ask_all(self, calls: Sequence[Call]) -> list[Reply]:
        """Send calls together and return their answers."""
        lane = await self._open()
        asked = [(call, lane.ask(call)) for call in calls]
        answers = await asyncio.gather(*(self._answered(*each) for each in asked), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def aclose(self) -> None:
        """Give the connection back; whoever still asks is told so."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._lane is not None:
            await self._lane.aclose()

    async def _open(self) -> Lane:
        while True:
            if self._closed:
                raise RedisConnectionError("the saver is closed")
            if (lane := self._lane) is None or lane.failure is not None:
                if self._opening is None:
                    self._opening = asyncio.create_task(self._connect())
                    self._opening.add_done_callback(self._opened)
                # All wait for one attempt, and share its failure.
                lane = await _shared(self._opening)
            if not lane.full:
                return lane
            await lane.space()

    async def _connect(self) -> Lane:
        # The pool's connections try as often as their client says.
        return Lane(await self._pool.get_connection(), self._pool)

    def _opened(self, opening: asyncio.Task[Lane]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._lane = opening.result()

    async def _answered(self, call: Call, answer: asyncio.Future[Reply]) -> Reply:
        """Return an answer; after a lost connection, and for a script that the server does not know, ask again."""
        whole, turns = False, 0
        while True:
            try:
                return await answer
            except (NoScriptError, RedisConnectionError) as error:
                if turns == AGAIN:
                    raise
                whole = whole or isinstance(error, NoScriptError)
            if turns:
                await asyncio.sleep(PAUSE_S)
            turns += 1
            answer = (await self._open()).ask(call, whole=whole)


class ClusterLine:
    """The line to a cluster."""

    def __init__(self, client: aredis.RedisCluster) -> None:
        self._client = client
        self._waiting: deque[tuple[Call, asyncio.Future[Reply]]] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()

    async def ask(self, call: Call) -> Reply:
        """Send a call and what is beside it, and return its answer; raises what redis-py raises."""
        while len(self._waiting) >= WAITING:
            self._room.clear()
            await self._room.wait()
        answer = self._ask(call)
        beside = None if call.beside is None else self._ask(call.beside)
        try:
            return await answer
        finally:
            if beside is not None:
                await without_harm(beside)

    async def ask_all(self, calls: Sequence[Call]) -> list[Reply]:
        """Send calls together and return their answers."""
        return list(await asyncio.gather(*map(self._ask, calls)))

    async def aclose(self) -> None:
        """Let what is under way end."""
        await asyncio.gather(*self._batches, return_exceptions=True)

    def _ask(self, call: Call) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((call, answer))
        if len(self._batches) < BATCHES:
            serving = loop.create_task(self._serve())
            self._batches.add(serving)
            serving.add_done_callback(self._batches.discard)
        return answer

    async def _serve(self) -> None:
        """Send batches until nothing waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            batch = [(call, answer) for call, answer in batch if not answer.done()]
            if not self._room.is_set() and len(self._waiting) < WAITING // 2:
                self._room.set()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._route(batch)
            except asyncio.CancelledError:
                _fail(batch, RedisConnectionError("the event loop has ended"))
                raise
            except Exception as error:
                _fail(batch, error)

    async def _route(self, left: list[tuple[Call, asyncio.Future[Reply]]]) -> None:
        whole = False
        while left:
            pipe = self._client.pipeline()
            for call, _ in left:
                pipe.execute_command(*call.command(whole=whole))
            unknown = []
            for (call, answer), reply in zip(left, await pipe.execute(raise_on_error=False), strict=True):
                if isinstance(reply, NoScriptError) and not whole:
                    unknown.append((call, answer))
                elif not answer.done():
                    if isinstance(reply, Exception):
                        answer.set_exception(reply)
                    else:
                        answer.set_result(reply)
            left, whole = unknown, True


async def without_harm(note: Awaitable[Reply]) -> None:
    """Wait for what was sent along; what it could not do is made up for later."""
    try:
        await note
    except FAILURES as error:
        _log.warning("a note for the registry was lost: %s", type(error).__name__)


async def _shared(opening: asyncio.Task[Lane]) -> Lane:
    """Wait for what others wait for too; that it was cancelled is not that this one is."""
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        own = asyncio.current_task()
        if opening.cancelled() and not (own and own.cancelling()):
            raise RedisConnectionError("the saver is closed") from None
        raise


def _fail(batch: Sequence[tuple[Call, asyncio.Future[Reply]]], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)
