"""Threads that the runner did not begin, or that went on without it: from Studio, `graph.invoke`, other programs.

Their savers share the registry, so they are listed. Where they stand is what the registry says; what else a runner's
record would say is read from their checkpoints, as far as these can be read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from checkpointers import AsyncRedisSaver, RecordDamaged, ThreadEntry, ThreadFormatUnknown, TypeNotAllowed
from state import redact
from surefoot.drive import result_of, updated, waiting
from surefoot.errors import UsageError
from surefoot.pipelines import pipeline as find_pipeline
from surefoot.threads import RawThread, ThreadRecord, raw_thread

UNREADABLE: Final = (RecordDamaged, TypeNotAllowed, ThreadFormatUnknown)
"""What one thread's checkpoints can be without any other thread being concerned."""


async def foreign_records(
    saver: AsyncRedisSaver, entries: Sequence[ThreadEntry], held: Sequence[bool | None]
) -> list[ThreadRecord | None]:
    """Return a record for each entry; None for a thread that is gone.

    `held` tells for each entry whether a living worker has its lease, None where that cannot be known.
    """
    return list(await asyncio.gather(*map(_record, [saver] * len(entries), entries, map(bool, held))))


async def _record(saver: AsyncRedisSaver, entry: ThreadEntry, held: bool) -> ThreadRecord | None:
    found = await _latest(saver, entry.thread_id)
    if found is None:
        return None
    if not readable(found):
        return _by_entry(entry, held).model_copy(update={"unreadable": redact(str(found))})
    metadata, raw = found.metadata, raw_thread(found)
    begun = named_in(metadata) | {
        "pipeline": str(metadata.get("pipeline") or metadata.get("graph_id") or ""),
        "graph_version": str(metadata.get("graph_version", "")),
        "context": raw.context,
    }
    return _standing(_by_entry(entry, held).model_copy(update=begun), entry, raw, held)


def named_in(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the key, namespace and item id of a thread that the runner has begun, as its checkpoints tell them."""
    key = metadata.get("surefoot_key")
    if not isinstance(key, str) or ":" not in key:
        return {}
    head, _, item_id = key.partition(":")
    return {"key": key, "namespace": head.rpartition("/")[0], "item_id": item_id}


async def _latest(saver: AsyncRedisSaver, thread_id: str) -> CheckpointTuple | Exception | None:
    """Return the latest checkpoint of a thread, or why it cannot be read."""
    config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    try:
        return await saver.aget_tuple(config)
    except UNREADABLE as error:
        return error


def readable(found: CheckpointTuple | Exception) -> TypeGuard[CheckpointTuple]:
    """Tell whether a checkpoint was read."""
    return not isinstance(found, Exception)


def _by_entry(entry: ThreadEntry, held: bool) -> ThreadRecord:
    """Return what the registry alone tells, which needs no types."""
    return ThreadRecord(
        thread_id=entry.thread_id,
        key=entry.thread_id,
        pipeline="",
        item_id=entry.thread_id,
        foreign=True,
        status=entry.status(held=held),
        updated_at=entry.changed_at,
        error=entry.error,
        waits_for="person" if entry.interrupts else "",
        until=min((one.due_at for one in entry.interrupts if one.due_at is not None), default=None),
        tier=next((one.tier for one in entry.interrupts if one.tier), ""),
    )


def _standing(record: ThreadRecord, entry: ThreadEntry, raw: RawThread, held: bool) -> ThreadRecord:
    """Return the record with where the thread stands by its entry and its checkpoint."""
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
    """Return the records with those brought up to date that tell less than the threads themselves.

    A question was answered without the runner, or the runner was killed between a question and its record.
    """

    async def one(record: ThreadRecord, entry: ThreadEntry) -> ThreadRecord:
        asks = bool(entry.interrupts)
        if not entry.checkpoint_id or (record.status, asks) not in (("waiting", False), ("stalled", True)):
            return record
        found = await _latest(saver, record.thread_id)
        if found is None or not readable(found):
            return record
        standing = _standing(record, entry, raw_thread(found), held=False)
        # Whether anybody works on it is looked at for all that run.
        return standing.model_copy(update={"status": "running"}) if standing.status == "stalled" else standing

    return list(await asyncio.gather(*map(one, records, entries)))
