"""The way to the server from one event loop: what is asked at about the same moment is sent together.

A server has one connection that all share (`Lane`), brought back when it is lost: a script may run twice without harm.
A cluster is as many servers as it has nodes; the slot of a thread's keys says which one is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import redis.asyncio as aredis
from redis.asyncio.cluster import ClusterNode
from redis.client import NEVER_DECODE
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ._failures import FAILURES
from ._lane import Lane
from ._scripts import Call, Reply

_log = logging.getLogger("surefoot.saver")

AGAIN: Final = 10
"""Times that a command is asked again whose connection was lost; connecting has attempts of its own."""
PAUSE_S: Final = 0.05
"""Before each of these but the first, as for a failover."""
LOST: Final = 2
"""The same for a cluster's node; in between, its slots may have got another one."""
MOVES: Final = 8
"""Times that a command follows a slot from node to node."""


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
    return ClusterLine(client) if isinstance(client, aredis.RedisCluster) else ServerLine(client.connection_pool)


class ServerLine:
    """The line to one server."""

    def __init__(self, pool: Any, again: int = AGAIN) -> None:
        self._pool, self._again = pool, again
        self._lane: Lane | None = None
        self._opening: asyncio.Task[Lane] | None = None
        self._closed = False

    async def ask(self, call: Call, *, alone: bool = False) -> Reply:
        """Send a call and, unless `alone`, what is beside it, and return its answer; raises what redis-py raises."""
        lane = self._lane
        if lane is None or lane.failure is not None or lane.full:
            lane = await self._open()
        answer = lane.ask(call)
        if alone or call.beside is None:
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
            except NoScriptError:
                if whole:
                    raise
                whole = True
            except RedisConnectionError:
                if turns == self._again:
                    raise
                if turns:
                    await asyncio.sleep(PAUSE_S)
                turns += 1
            answer = (await self._open()).ask(call, whole=whole)


class ClusterLine:
    """The line to a cluster: one to each of its nodes, so that an outage of one concerns its own threads only.

    redis-py keeps the table of slots. It is read anew when a node is lost, because a replica may have taken its place.
    """

    def __init__(self, client: aredis.RedisCluster) -> None:
        self._client = client
        self._lines: dict[str, tuple[ClusterNode, ServerLine]] = {}
        self._closed = False

    async def ask(self, call: Call) -> Reply:
        """Send a call and what is beside it, and return its answer; raises what redis-py raises."""
        if call.beside is None:
            return await self._routed(call)
        beside = asyncio.create_task(self._routed(call.beside))
        try:
            return await self._routed(call)
        finally:
            await without_harm(beside)

    async def ask_all(self, calls: Sequence[Call]) -> list[Reply]:
        """Send calls together and return their answers."""
        answers = await asyncio.gather(*map(self._routed, calls), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def aclose(self) -> None:
        """Give the connections back; whoever still asks is told so."""
        self._closed = True
        for _node, line in self._lines.values():
            await line.aclose()
        # A client that could not begin with its first node does not close what it has.
        await self._client.nodes_manager.aclose()
        await self._client.nodes_manager.aclose("startup_nodes")

    async def _routed(self, call: Call) -> Reply:
        slot, lost, moved = key_slot(call.key.encode()), 0, 0
        while True:
            line, name = await self._line_of(slot)
            try:
                return await line.ask(call, alone=True)
            except MovedError as error:
                if moved == MOVES:
                    raise
                moved += 1
                await self._client.nodes_manager.move_slot(error)
            except (AskError, TryAgainError):
                # The slot is being moved to another node, which does not know it as its own yet.
                return await self._client.execute_command(*call.command(whole=True), **{NEVER_DECODE: True})
            except (RedisConnectionError, RedisTimeoutError) as error:
                if lost == LOST or self._closed:
                    raise
                if lost:
                    await asyncio.sleep(PAUSE_S)
                lost += 1
                await self._client.nodes_manager.initialize(last_failed_node_name=name)
                if isinstance(error, RedisTimeoutError) and (await self._line_of(slot))[1] == name:
                    # Whoever did not answer in time would be waited for again and again.
                    raise

    async def _line_of(self, slot: int) -> tuple[ServerLine, str]:
        if self._closed:
            raise RedisConnectionError("the saver is closed")
        nodes = self._client.nodes_manager
        if not nodes.slots_cache:
            try:
                await self._client.initialize()
            except (RedisConnectionError, RedisTimeoutError):
                # It asks the first node for its commands, too, dead or alive; the slots are known by then.
                if not nodes.slots_cache:
                    raise
        node = nodes.get_node_from_slot(slot)
        known = self._lines.get(node.name)
        if known is None or known[0] is not node:
            self._lines[node.name] = node, ServerLine(_NodePool(node), again=0)
            if known is not None:
                await known[1].aclose()
        return self._lines[node.name][1], node.name


class _NodePool:
    """The connections of a cluster's node, in the way of a pool's."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    async def get_connection(self) -> Any:
        connection = self._node.acquire_connection()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except BaseException:
            self._node.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        self._node.release(connection)


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
