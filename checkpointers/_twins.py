"""The methods of the other kind: async ones of the sync saver, sync ones of the async saver."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import redis.asyncio as aredis
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from ._core import SaverCore
from ._line import Line, line_to
from .errors import WrongLoop

T = TypeVar("T")


class Home:
    """The loop a saver belongs to; its clones share it with the connections."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._line: Line | None = None

    def line_of(self, client: aredis.Redis | aredis.RedisCluster) -> Line:
        """Return the line to the server; made at first use, when the loop is known."""
        if self._line is None:
            self._line = line_to(client)
        return self._line

    async def aclose(self) -> None:
        """Give back what the line holds, for good."""
        if self._line is not None:
            await self._line.aclose()

    async def release(self) -> None:
        """Give back what the line holds; whoever asks after that gets a new one."""
        line, self._line = self._line, None
        if line is not None:
            await line.aclose()


class InThreads(SaverCore):
    """The async methods of a sync saver: each runs its sync twin in a thread."""

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """See the saver."""
        raise NotImplementedError

    def expire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """See the saver."""
        raise NotImplementedError

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`get_tuple`, in a thread."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """`list`, read as a whole in a thread."""
        found = await asyncio.to_thread(
            lambda: builtins.list(self.list(config, filter=filter, before=before, limit=limit))
        )
        for item in found:
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`put`, in a thread."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """`put_writes`, in a thread."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """`delete_thread`, in a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """`delete_for_runs`, in a thread."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """`copy_thread`, in a thread."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """`prune`, in a thread."""
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy, keep=keep))

    async def aexpire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """`expire_thread`, in a thread."""
        return await asyncio.to_thread(self.expire_thread, thread_id, ttl)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """`get_delta_channel_history`, in a thread."""
        return await asyncio.to_thread(lambda: self.get_delta_channel_history(config=config, channels=channels))


class FromThreads(SaverCore):
    """The sync methods of an async saver: each waits for its async twin on the saver's loop."""

    _home: Home

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """See the saver."""
        raise NotImplementedError

    async def aexpire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """See the saver."""
        raise NotImplementedError

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._home.loop
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        reason = None
        if here is not None and here is loop:
            reason = (
                "A sync method of AsyncRedisSaver would wait for its own loop. Use the async twin (aget_tuple, ...)."
            )
        elif loop is None or not loop.is_running():
            reason = "A sync method of AsyncRedisSaver needs its loop to run in another thread. Use RedisSaver instead."
        if reason is not None or loop is None:
            work.close()
            raise WrongLoop(reason)
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`aget_tuple`, from another thread."""
        return self._wait(self.aget_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """`alist`, from another thread, read as a whole."""

        async def collect() -> builtins.list[CheckpointTuple]:
            return [found async for found in self.alist(config, filter=filter, before=before, limit=limit)]

        yield from self._wait(collect())

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`aput`, from another thread."""
        return self._wait(self.aput(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """`aput_writes`, from another thread."""
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """`adelete_thread`, from another thread."""
        self._wait(self.adelete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """`adelete_for_runs`, from another thread."""
        self._wait(self.adelete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """`acopy_thread`, from another thread."""
        self._wait(self.acopy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """`aprune`, from another thread."""
        self._wait(self.aprune(thread_ids, strategy=strategy, keep=keep))

    def expire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """`aexpire_thread`, from another thread."""
        return self._wait(self.aexpire_thread(thread_id, ttl))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """`aget_delta_channel_history`, from another thread."""
        return self._wait(self.aget_delta_channel_history(config=config, channels=channels))
