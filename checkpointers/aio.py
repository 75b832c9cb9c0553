"""The saver for async graphs; from other threads its sync methods work too."""

from __future__ import annotations

import asyncio
import builtins
import inspect
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

import redis.asyncio as aredis
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ._arguments import at_most, ids_of
from ._base import Plan, thread_of
from ._clients import make_async_client
from ._codec import KEY_PATTERN, thread_of_key
from ._failures import FAILURES, explain
from ._reading import Cursor
from ._removal import kept_for_others
from ._scripts import Call, Reply
from ._serial import AllowedType
from ._twins import FromThreads, Home
from ._upgrade import OLD
from .encryption import Encryption
from .errors import SaverError, ThreadConflict, ThreadFormatUnknown, WrongLoop
from .leases import AsyncLeases
from .upkeep import AsyncUpkeep

T = TypeVar("T")


class AsyncRedisSaver(FromThreads, AsyncLeases, AsyncUpkeep):
    """Keeps checkpoints on a plain Redis or Valkey server; one round trip for each operation.

    `client` is an async redis-py client (also a cluster one) of the caller's. `ttl` is in seconds and covers a
    thread as a unit, counted from its last write, with `refresh_on_read` also from its last `aget_tuple`
    (`aget_state`, a resume); `None` keeps threads. `allow` lists the classes that may come back from the store beside
    LangGraph's own; with `encryption` nothing that is not encrypted is read; with `registry` each change is noted for
    `alist_threads` and `alist_waiting`. Every operation raises an error of `checkpointers.errors` when the server
    cannot do it.

    A saver belongs to the event loop that first uses it, because its connections do; another loop gets `WrongLoop`. The
    sync methods work from any other thread, as long as that loop runs. `async with` gives the saver itself; in the end
    it gives its connection back to the client and leaves that open.
    """

    def __init__(
        self,
        client: aredis.Redis | aredis.RedisCluster,
        *,
        ttl: float | timedelta | None = None,
        refresh_on_read: bool = False,
        allow: Collection[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        encryption: Encryption | None = None,
        registry: bool = False,
    ) -> None:
        super().__init__(
            ttl=ttl,
            refresh_on_read=refresh_on_read,
            allow=allow,
            serde=serde,
            encryption=encryption,
            registry=registry,
        )
        if not inspect.iscoroutinefunction(client.execute_command):
            raise TypeError("AsyncRedisSaver needs an async client; with a sync one, use RedisSaver.")
        self.client = client
        self._home = Home()

    @classmethod
    @asynccontextmanager
    async def from_url(
        cls,
        url: str,
        *,
        ttl: float | timedelta | None = None,
        refresh_on_read: bool = False,
        allow: Collection[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        encryption: Encryption | None = None,
        registry: bool = False,
    ) -> AsyncIterator[AsyncRedisSaver]:
        """Yield a saver on connections of its own, closed in the end.

        Raises `UnsupportedUrl` for a URL of no known form. Connects at the first operation.
        """
        client = make_async_client(url)
        saver = cls(
            client,
            ttl=ttl,
            refresh_on_read=refresh_on_read,
            allow=allow,
            serde=serde,
            encryption=encryption,
            registry=registry,
        )
        saver._home.loop = asyncio.get_running_loop()
        try:
            yield saver
        finally:
            await saver._home.aclose()
            await client.aclose()

    async def __aenter__(self) -> Self:
        self._settle()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Give back the connection that the saver took from its client, which stays open; later use takes one again."""
        await self._home.release()

    def _settle(self) -> None:
        running, home = asyncio.get_running_loop(), self._home
        if home.loop is None:
            home.loop = running
        elif home.loop is not running:
            raise WrongLoop(
                "This AsyncRedisSaver belongs to another event loop. Make one in each loop, or use RedisSaver, which "
                "any thread and loop may share."
            )

    async def _send(self, call: Call) -> Reply:
        self._settle()
        try:
            return await self._home.line_of(self.client).ask(call)
        except FAILURES as error:
            raise explain(error, self.client, call.thread_id) from error

    async def _answer(self, call: Call) -> Reply:
        try:
            return await self._send(call)
        except ThreadFormatUnknown as error:
            if error.format != OLD.decode() or call.format == OLD:
                raise
        await self._arun(self._plan_upgrade(call.thread_id))
        return await self._send(call)

    async def _answers(self, calls: Sequence[Call]) -> builtins.list[Reply]:
        self._settle()
        try:
            return await self._home.line_of(self.client).ask_all(calls)
        except FAILURES as error:
            raise explain(error, self.client, "*") from error

    async def _arun(self, plan: Plan[T]) -> T:
        try:
            call = next(plan)
            while True:
                try:
                    reply = await (self._answers(call) if isinstance(call, builtins.list) else self._answer(call))
                except SaverError as error:
                    # A plan may know what to do about it.
                    call = plan.throw(error)
                else:
                    call = plan.send(reply)
        except StopIteration as stop:
            return cast(T, stop.value)

    async def _threads(self) -> AsyncIterator[str]:
        self._settle()
        try:
            async for key in self.client.scan_iter(match=KEY_PATTERN, count=1000):
                yield thread_of_key(key if isinstance(key, str) else key.decode())
        except FAILURES as error:
            raise explain(error, self.client, "*") from error

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes: the one named, or the latest of the namespace."""
        return await self._arun(self._plan_get(config, used=True))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first: of a namespace, of a whole thread, or of every thread (`config=None`).

        `filter` compares metadata by key; `before` names the checkpoint to start after. Listing every thread scans the
        keys of the server.
        """
        left = at_most(limit)
        async for thread_id in _one(thread_of(config)) if config else self._threads():
            cursor: Cursor | None = ((get_checkpoint_id(before) if before else None) or "", None)
            while cursor is not None and (left is None or left > 0):
                page, cursor = await self._arun(self._plan_page(thread_id, config, filter, cursor, left))
                for found in page[:left]:
                    yield found
                left = None if left is None else left - len(page)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and the channel values that are new with it.

        A version that already holds other data keeps it; this checkpoint refers to its own. Raises `ValueNotStorable`
        for a value without a safe form.
        """
        return await self._arun(self._plan_put(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote; a second call of the same task adds to the first."""
        await self._arun(self._plan_put_writes(config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything stored for a thread."""
        await self._arun(self._plan_delete_thread(thread_id))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, with their writes, in every thread.

        Scans the keys of the server. A thread whose later checkpoints have delta channels that are rebuilt from what
        these runs wrote keeps all of them, and `ThreadConflict` is raised when the others are done.
        """
        refused: builtins.list[ThreadConflict] = []
        if run_ids := ids_of(run_ids, "run_ids", "run ids"):
            async for thread_id in self._threads():
                try:
                    await self._arun(self._plan_delete_runs(thread_id, run_ids))
                except ThreadConflict as error:
                    refused.append(error)
        if (conflict := kept_for_others(refused)) is not None:
            raise conflict

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything stored for a thread to another id.

        Raises `ThreadConflict` when the target holds anything else, which with encryption an earlier copy is too.
        """
        await self._arun(self._plan_copy(source_thread_id, target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete all but the latest checkpoint of each namespace (`keep_latest`), or but the last `keep` (`keep_last`).

        The strategy `delete` leaves none. Pending writes of what is kept stay, and so do the ancestors that delta
        channels are rebuilt from, and the calls of subgraphs that began at what is kept. Calls that began before are
        deleted as a whole; a subgraph with a memory of its own (`checkpointer=True`) keeps its latest. What is kept and
        has lost its parent reads as one without a parent. Raises `TypeError` for a single id.
        """
        await self._arun(self._plan_prune(thread_ids, strategy, keep))

    async def aexpire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """Let a thread expire in `ttl` seconds, or never (`None`), whatever the saver's own ttl is.

        A later write of a saver that has a ttl sets it again. Return whether the thread exists.
        """
        return await self._arun(self._plan_expire(thread_id, ttl))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what the ancestors of a checkpoint wrote to each channel since its last stored value."""
        return await self._arun(self._plan_history(config, channels))

    async def aquarantine(self, thread_id: str) -> bool:
        """Put a thread that cannot be read aside, under keys that end in `.quarantined`; it reads as empty then.

        Return whether it was there.
        """
        return await self._arun(self._plan_quarantine(thread_id))


async def _one(thread_id: str) -> AsyncIterator[str]:
    yield thread_id
