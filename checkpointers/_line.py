"""The way to the server from one event loop: what is asked at about the same moment is sent together.

A command of its own costs redis-py several times what the server needs for it: a connection from the pool, timers,
metrics, a parser that is awaited line by line. Here one batch at a time is under way on each of two connections; what
is asked meanwhile waits and makes the next batch. redis-py opens the connections (TLS, users, Sentinel) and brings lost
ones back; a cluster's batches go through its pipeline, which finds the node of each key.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis
import redis.asyncio as aredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from ._failures import FAILURES
from ._scripts import Call, Reply

_log = logging.getLogger("surefoot.saver")

LANES: Final = 2
"""Batches under way: the server works on one while this process packs and reads the other."""
BATCH: Final = 64
"""Most commands of a batch: the first one waits for the answers of all."""
WAITING: Final = 10_000
"""Commands that may wait to be sent; whoever comes then waits to be let in, so that memory stays bounded."""
ANSWER_S: Final = 20.0
"""Seconds within which a batch has to be answered."""


@dataclass(slots=True)
class _Question:
    call: Call
    answer: asyncio.Future[Reply]


class Line:
    """The line of one client; it belongs to the loop that uses it."""

    def __init__(self, client: aredis.Redis | aredis.RedisCluster) -> None:
        self.client = client
        self._waiting: deque[_Question] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()

    async def ask(self, call: Call) -> Reply:
        """Send a call and return its answer; raises what redis-py raises. One that is cancelled early is not sent."""
        while len(self._waiting) >= WAITING:
            self._room.clear()
            await self._room.wait()
        answer = self._ask(call)
        beside = None if call.beside is None else self._ask(call.beside)
        try:
            return await answer
        finally:
            if beside is not None:
                await _without_harm(beside)

    async def ask_all(self, calls: Sequence[Call]) -> list[Reply]:
        """Send calls together and return their answers."""
        return list(await asyncio.gather(*map(self._ask, calls)))

    def _ask(self, call: Call) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        question = _Question(call, loop.create_future())
        self._waiting.append(question)
        if len(self._lanes) < LANES:
            lane = loop.create_task(self._serve())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return question.answer

    async def _serve(self) -> None:
        """Send batches until nothing waits."""
        client, connection = self.client, None
        try:
            while batch := self._batch():
                try:
                    if isinstance(client, aredis.RedisCluster):
                        await self._route(client, batch)
                        continue
                    if connection is None:
                        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
                    await self._exchange(connection, batch)
                except asyncio.CancelledError:
                    _fail(batch, RedisConnectionError("the event loop has ended"))
                    raise
                except Exception as error:
                    _fail(batch, error)
        finally:
            if connection is not None and not isinstance(client, aredis.RedisCluster):
                await client.connection_pool.release(connection)

    def _batch(self) -> list[_Question]:
        batch: list[_Question] = []
        while self._waiting and len(batch) < BATCH:
            question = self._waiting.popleft()
            if not question.answer.done():
                batch.append(question)
        if not self._room.is_set() and len(self._waiting) < WAITING // 2:
            self._room.set()
        return batch

    async def _exchange(self, connection: Any, batch: Sequence[_Question]) -> None:
        """Send a batch on one connection and hand out the answers; a lost connection is made again."""

        async def send() -> None:
            left = [question for question in batch if not question.answer.done()]
            commands = [question.call.command() for question in left]
            unknown = []
            for question, reply in zip(left, await _replies(connection, commands), strict=True):
                if isinstance(reply, NoScriptError):
                    unknown.append(question)
                else:
                    _settle(question, reply)
            whole = [question.call.command(whole=True) for question in unknown]
            for question, reply in zip(unknown, await _replies(connection, whole), strict=True):
                _settle(question, reply)

        async def lost(_error: Exception) -> None:
            await connection.disconnect(nowait=True)

        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.retry.call_with_retry(send, lost)
        except BaseException:
            # What is still to come on it would be taken for the answers of the next batch.
            await connection.disconnect(nowait=True)
            raise

    async def _route(self, client: aredis.RedisCluster, batch: Sequence[_Question]) -> None:
        left, whole = list(batch), False
        while left:
            pipe = client.pipeline()
            for question in left:
                pipe.execute_command(*question.call.command(whole=whole))
            unknown = []
            for question, reply in zip(left, await pipe.execute(raise_on_error=False), strict=True):
                if isinstance(reply, NoScriptError) and not whole:
                    unknown.append(question)
                else:
                    _settle(question, reply)
            left, whole = unknown, True


async def _replies(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in one go and return the answers; one that the server refuses has an exception for an answer."""
    if not commands:
        return []
    # redis-py packs in Python what this does in C, for a tenth of the time of an operation.
    await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response(disable_decoding=True, timeout=math.inf))
        except ResponseError as error:
            replies.append(error)
    return replies


async def _without_harm(note: asyncio.Future[Reply]) -> None:
    """Wait for what was sent along; what it could not do is made up for later."""
    try:
        await note
    except FAILURES as error:
        _log.warning("a note for the registry was lost: %s", type(error).__name__)


def _settle(question: _Question, reply: Any) -> None:
    if question.answer.done():
        return
    if isinstance(reply, Exception):
        question.answer.set_exception(reply)
    else:
        question.answer.set_result(reply)


def _fail(batch: Sequence[_Question], error: Exception) -> None:
    for question in batch:
        _settle(question, error)
