"""Threads that the runner did not begin, or that went on without it: from Studio, `graph.invoke`, other programs.

Their savers share the registry, so they are listed; what a runner's record would say is read from their checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from checkpointers import AsyncRedisSaver, RecordDamaged, ThreadEntry, TypeNotAllowed
from surefoot.drive import result_of, updated, waiting
from surefoot.errors import UsageError
from surefoot.pipelines import pipeline as find_pipeline
from surefoot.threads import RawThread, ThreadRecord, raw_thread

MOST: Final = 500
"""Threads of others that a listing reads; the ones that changed last."""


async def foreign_records(
    saver: AsyncRedisSaver, entries: Sequence[ThreadEntry], held: Sequence[bool]
) -> dict[str, ThreadRecord | None]:
    """Return a record by id for each of the newest entries; None for a thread that is gone.

    `held` tells for each entry whether a living worker has its lease.
    """
    some = list(zip(entries, held, strict=True))[:MOST]
    found = await asyncio.gather(*(_record(saver, entry, alive) for entry, alive in some))
    return {entry.thread_id: record for (entry, _), record in zip(some, found, strict=True)}


async def _record(saver: AsyncRedisSaver, entry: ThreadEntry, held: bool) -> ThreadRecord | None:
    config: RunnableConfig = {"configurable": {"thread_id": entry.thread_id, "checkpoint_ns": ""}}
    try:
        found = await saver.aget_tuple(config)
    except (RecordDamaged, TypeNotAllowed) as error:
        record = ThreadRecord(thread_id=entry.thread_id, key=entry.thread_id, pipeline="", item_id=entry.thread_id)
        told = {"foreign": True, "status": "failed", "error": str(error), "updated_at": entry.changed_at}
        return record.model_copy(update=told)
    return None if found is None else _standing(_begun(entry, found), entry, raw_thread(found), held)


def _begun(entry: ThreadEntry, found: CheckpointTuple) -> ThreadRecord:
    metadata = found.metadata
    name = str(metadata.get("pipeline") or metadata.get("graph_id") or "")
    return ThreadRecord(
        thread_id=entry.thread_id,
        key=entry.thread_id,
        pipeline=name,
        item_id=entry.thread_id,
        graph_version=str(metadata.get("graph_version", "")),
        foreign=True,
    )


def _standing(record: ThreadRecord, entry: ThreadEntry, raw: RawThread, held: bool) -> ThreadRecord:
    """Return the record with where the thread stands by its checkpoint."""
    status = entry.status(held=held)
    waits_for, until = waiting(raw)
    told: dict[str, Any] = {"status": status, "updated_at": entry.changed_at, "waits_for": waits_for, "until": until}
    if entry.error:
        told["error"] = entry.error
    record = record.model_copy(update=told)
    try:
        own = find_pipeline(record.pipeline, record.spec)
    except UsageError:
        return record
    result = result_of(own, record, raw)
    return updated(record, result, raw).model_copy(update={**told, "status": status})


async def gone_on(
    saver: AsyncRedisSaver, records: Sequence[ThreadRecord], entries: Sequence[ThreadEntry]
) -> list[ThreadRecord]:
    """Return the records with those brought up to date whose question was answered without the runner."""

    async def one(record: ThreadRecord, entry: ThreadEntry) -> ThreadRecord:
        if record.status != "waiting" or entry.interrupts or not entry.checkpoint_id:
            return record
        config: RunnableConfig = {"configurable": {"thread_id": record.thread_id, "checkpoint_ns": ""}}
        try:
            found = await saver.aget_tuple(config)
        except (RecordDamaged, TypeNotAllowed):
            return record
        return record if found is None else _standing(record, entry, raw_thread(found), held=False)

    return list(await asyncio.gather(*map(one, records, entries)))
