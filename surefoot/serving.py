"""The saver of LangGraph's API server: it holds a thread while the server runs it, and keeps the run's context.

The runner and the server may write to the same threads. LangGraph locks none, so each takes the lease of a thread
first; and it does not persist the context of a run, so whoever goes on with a thread begun by the other is told.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from pydantic import ValidationError

from checkpointers import AsyncRedisSaver
from nodes import bridge
from nodes.errors import InputError
from state import RunContext, describe
from surefoot.errors import ThreadBusy
from surefoot.leases import Leases
from surefoot.records import Records
from surefoot.threads import CONTEXT, context_text, stored_context

NAME: Final = "LangGraph Studio's server"


class HeldElsewhere(ThreadBusy, ValueError):
    """Somebody else works on the thread; a `ValueError`, because the server shows its clients the text of those."""


@dataclass
class _Hold:
    """A thread's lease, as often as it is needed at the moment."""

    users: int = 0
    taken: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ServingSaver(AsyncRedisSaver):
    """A saver that never writes to a thread that somebody else works on; raises `HeldElsewhere` instead.

    A run holds the lease of its thread from begin to end, a single change (an edit of the state, a deletion) as long as
    it takes. Only `adelete_for_runs` holds none: which threads it will change is known to the server alone.
    """

    def __init__(self, own: AsyncRedisSaver) -> None:
        super().__init__(
            own.client, ttl=own.ttl, refresh_on_read=own.refresh_on_read, serde=own.serde, encryption=own.encryption,
            registry=own.registry,
        )  # fmt: skip
        self.leases = Leases(self, NAME)
        self._records = Records(own.client, own.encryption)
        self._holds: dict[str, _Hold] = defaultdict(_Hold)
        self._contexts: dict[str, str] = {}

    @asynccontextmanager
    async def hold_run(self, config: RunnableConfig, context: Any, schema: type[Any] | None) -> AsyncIterator[Any]:
        """Hold a run's thread; yields the context that it was given, completed by the one that the thread has.

        What the run names itself is stronger. A graph with a context of another class keeps its own.
        """
        thread_id = bridge.thread_of(config)
        if not thread_id:
            yield context
            return
        async with self._hold(thread_id):
            if schema is None or not issubclass(schema, RunContext):
                yield context
                return
            found = await self.aget_tuple(config)
            stored = stored_context(found.metadata if found else {})
            full = schema.model_validate(_named(stored) | _named(context))
            self._contexts[thread_id] = context_text(full)
            try:
                yield full
            finally:
                self._contexts.pop(thread_id, None)

    @asynccontextmanager
    async def _hold(self, thread_id: str) -> AsyncIterator[None]:
        hold = self._holds[thread_id]
        hold.users += 1
        try:
            async with hold.turn:
                if not hold.taken and not await self.leases.acquire_with(self._records, thread_id):
                    who = await self.leases.holder(thread_id)
                    raise HeldElsewhere(f"{who} is working on thread {thread_id}; go on when it is done")
                hold.taken = True
            yield
        finally:
            hold.users -= 1
            if not hold.users:
                async with hold.turn:
                    if hold.taken and not hold.users:
                        hold.taken = False
                        await self.leases.release(thread_id)
                if not hold.users:
                    self._holds.pop(thread_id, None)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, with the context of its run; raises `HeldElsewhere`."""
        thread_id, ns = bridge.thread_of(config), config["configurable"].get("checkpoint_ns")
        async with self._hold(thread_id):
            context = "" if ns else self._contexts.get(thread_id, "")
            if not ns and metadata.get("source") in ("update", "fork") and (before := await self._parent(config)):
                # An edit belongs to the run that it edits.
                context = str(before.get(CONTEXT) or "")
            if context:
                metadata = {**metadata, CONTEXT: context}  # type: ignore[typeddict-unknown-key] # it may hold more
            return await super().aput(config, checkpoint, metadata, new_versions)

    async def _parent(self, config: RunnableConfig) -> Mapping[str, Any]:
        """Return the metadata of the checkpoint that another one will follow."""
        found = await self.aget_tuple(config) if config["configurable"].get("checkpoint_id") else None
        return found.metadata if found else {}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote; raises `HeldElsewhere`."""
        async with self._hold(bridge.thread_of(config)):
            await super().aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete everything stored for a thread; raises `HeldElsewhere`."""
        async with self._hold(thread_id):
            await super().adelete_thread(thread_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything stored for a thread to another id; raises `HeldElsewhere` for the copy's."""
        async with self._hold(target_thread_id):
            await super().acopy_thread(source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete older checkpoints, or all of them; raises `HeldElsewhere` once it is done with all other threads."""
        busy: HeldElsewhere | None = None
        if isinstance(thread_ids, str):
            raise TypeError("thread_ids must be a list of thread ids, not a single one: put it in brackets")
        for thread_id in thread_ids:
            try:
                async with self._hold(thread_id):
                    await super().aprune([thread_id], strategy=strategy, keep=keep)
            except HeldElsewhere as error:
                busy = busy or error
        if busy is not None:
            raise busy


def _named(context: Any) -> dict[str, Any]:
    """Return what a context names; raises `InputError` for what is no context."""
    if isinstance(context, RunContext):
        return context.model_dump(exclude_unset=True)
    try:
        given = RunContext.model_validate(context or {})
    except ValidationError as error:
        raise InputError(f"context: {describe(error)}") from None
    return given.model_dump(exclude_unset=True)
