"""The runner's view of Redis: the saver, and a record of each thread beside its checkpoints."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig

from checkpointers import AsyncRedisSaver, Encryption, ThreadEntry, connect_async, server_errors, thread_keys
from nodes.call import Guard, limits_of
from nodes.call.redis_guard import RedisGuard
from nodes.drift import Drift
from surefoot.errors import UsageError
from surefoot.foreign import foreign_records, gone_on
from surefoot.leases import Leases
from surefoot.settings import settings
from surefoot.telemetry import start_telemetry
from surefoot.threads import RawThread, Status, ThreadRecord, id_of_key, raw_thread

INDEX = "surefoot:threads"
"""Sorted set of thread ids in which earlier versions listed all threads."""

_PAGE = 500


def record_key(thread_id: str) -> str:
    """Return the key of a thread's record."""
    return f"surefoot:thread:{{{thread_id}}}"


def drift_key(pipeline: str, namespace: str) -> str:
    """Return the key of the watches over a pipeline's results."""
    return f"surefoot:drift:{{{namespace}/{pipeline}}}"


class Store:
    """Saver, thread records, leases and the guard of all calls on one connection pool."""

    def __init__(self, client: Any, saver: AsyncRedisSaver, guard: Guard) -> None:
        self.saver = saver
        self.leases = Leases(saver)
        self.guard = guard
        self._client = client

    async def ping(self) -> None:
        """Ask the server for a sign of life, so that one that cannot be used is told before anything is begun."""
        with server_errors(self._client):
            await self._client.ping()

    async def save(self, record: ThreadRecord) -> None:
        """Write a thread's record and put it at the top of the list; a finished thread gets its end."""
        finished = record.status in ("done", "failed")
        keep_ms = round(settings().retention_days * 86_400_000)
        if finished and record.status == "done" and settings().compact:
            await self.saver.aprune([record.thread_id])
        expires = finished and keep_ms > 0
        if expires or record.expires:
            # A thread that is taken up again has no end.
            await self.saver.aexpire_thread(record.thread_id, keep_ms / 1000 if expires else None)
        record = record.model_copy(update={"expires": expires, "foreign": False})
        with server_errors(self._client):
            await self._client.set(
                record_key(record.thread_id), record.model_dump_json(), px=keep_ms if expires else None
            )
        await self.saver.anote_thread(record.thread_id)

    async def drift(self, pipeline: str, namespace: str) -> Drift:
        """Return the watches over the results of a pipeline, new ones where there are none."""
        with server_errors(self._client):
            raw = await self._client.get(drift_key(pipeline, namespace))
        try:
            return Drift.load(json.loads(raw) if raw else None)
        except ValueError:
            return Drift()

    async def keep_drift(self, pipeline: str, namespace: str, drift: Drift) -> None:
        """Write the watches over the results of a pipeline."""
        with server_errors(self._client):
            await self._client.set(drift_key(pipeline, namespace), json.dumps(drift.dump()))

    async def get(self, thread_id: str) -> ThreadRecord | None:
        """Return a thread's record as it was written, or None."""
        with server_errors(self._client):
            raw = await self._client.get(record_key(thread_id))
        return None if raw is None else ThreadRecord.model_validate_json(raw)

    async def find(self, thread: str) -> ThreadRecord:
        """Return the record of a thread by UUID or readable key, with its status as it is now; raises `UsageError`."""
        record = await self.get(id_of_key(thread))
        entry = await self.saver.afind_thread(id_of_key(thread)) or await self.saver.afind_thread(thread)
        if record is not None:
            (record,) = await gone_on(self.saver, [record], [entry]) if entry else [record]
            return (await self._with_live_status([record]))[0]
        elsewhere = await self._foreign([entry]) if entry else []
        if not elsewhere:
            raise UsageError(f"there is no thread {thread!r}; `surefoot threads` lists them")
        return elsewhere[0]

    async def records(
        self, status: str | None = None, pipeline: str | None = None, namespace: str | None = None
    ) -> list[ThreadRecord]:
        """Return the records of all threads, or of those that fit, the last changed first."""
        entries = await self._listed()
        own = await self._read([entry.thread_id for entry in entries])
        begun_here = [(own[entry.thread_id], entry) for entry in entries if entry.thread_id in own]
        current = await gone_on(self.saver, [record for record, _ in begun_here], [entry for _, entry in begun_here])
        known = {record.thread_id: record for record in await self._with_live_status(current)}
        others = await self._foreign([entry for entry in entries if entry.thread_id not in own])
        known |= {record.thread_id: record for record in others}
        records = [known[entry.thread_id] for entry in entries if entry.thread_id in known]
        fitting = [r for r in records if pipeline in (None, r.pipeline) and namespace in (None, r.namespace)]
        return [record for record in fitting if status in (None, record.status)]

    async def latest(self, pipeline: str, limit: int = _PAGE) -> list[ThreadRecord]:
        """Return the finished ones among the threads of a pipeline that changed last, at most `limit` looked at."""
        found = await self._read([entry.thread_id for entry in await self._listed(limit)])
        return [record for record in found.values() if record.pipeline == pipeline and record.status == "done"]

    async def _listed(self, limit: int | None = None) -> list[ThreadEntry]:
        """Return what the saver has registered, the last changed first."""
        with server_errors(self._client):
            listed_before = [raw.decode() for raw in await self._client.zrange(INDEX, 0, -1)]
        if listed_before:
            await self.saver.areconcile(listed_before)
            # Those too that have no checkpoint yet; oldest first, so that the order stays.
            for thread_id in listed_before:
                await self.saver.anote_thread(thread_id)
            with server_errors(self._client):
                await self._client.delete(INDEX)
        return await self.saver.alist_threads(limit)

    async def repair(self) -> int:
        """Write the list of threads anew from checkpoints and records; return how many threads were read."""
        read = await self.saver.areconcile()
        with server_errors(self._client):
            async for key in self._client.scan_iter(match=record_key("*"), count=1000):
                thread_id = key.decode().removeprefix("surefoot:thread:{").removesuffix("}")
                if await self.saver.afind_thread(thread_id) is None:
                    await self.saver.anote_thread(thread_id)
        return read

    async def _read(self, ids: list[str]) -> dict[str, ThreadRecord]:
        """Return the records of threads that the runner has one of, by thread id."""
        raws: list[bytes | None] = []
        with server_errors(self._client):
            for start in range(0, len(ids), _PAGE):
                pipe = self._client.pipeline(transaction=False)
                for thread_id in ids[start : start + _PAGE]:
                    pipe.get(record_key(thread_id))
                raws += await pipe.execute()
        return {
            thread_id: ThreadRecord.model_validate_json(raw)
            for thread_id, raw in zip(ids, raws, strict=True)
            if raw is not None
        }

    async def _foreign(self, entries: list[ThreadEntry]) -> list[ThreadRecord]:
        """Return records of threads that the runner did not begin; one whose time was over leaves the registry."""
        found = await foreign_records(self.saver, entries, await self.leases.alive([e.thread_id for e in entries]))
        gone = [thread_id for thread_id, record in found.items() if record is None]
        if gone:
            await self.saver.areconcile(gone)
        return [record for record in found.values() if record is not None]

    async def _with_live_status(self, records: list[ThreadRecord]) -> list[ThreadRecord]:
        """A thread that says `running` without a living lease has stalled: its process is gone."""
        running = [record for record in records if record.status == "running"]
        alive = await self.leases.alive([record.thread_id for record in running])
        stalled = {record.thread_id for record, lives in zip(running, alive, strict=True) if not lives}
        return [r.model_copy(update={"status": "stalled"}) if r.thread_id in stalled else r for r in records]

    async def forget(self, thread_id: str) -> None:
        """Delete a thread: checkpoints first, then its record, so that a crash in between leaves it findable."""
        await self.saver.adelete_thread(thread_id)
        await self.guard.forget(thread_id)
        with server_errors(self._client):
            await self._client.delete(record_key(thread_id))

    async def put_aside(self, record: ThreadRecord) -> None:
        """Take a thread whose checkpoints are damaged out of the way; its record says what became of it."""
        await self.saver.aquarantine(record.thread_id)
        told = "its checkpoints are damaged and were put aside: run the item again with --rerun"
        await self.save(record.model_copy(update={"status": "failed", "error": told, "waits_for": "", "until": None}))

    async def memory_of(self, thread_ids: list[str]) -> list[int]:
        """Return the bytes of memory that each thread takes, its record included."""
        sizes = []
        with server_errors(self._client):
            for thread_id in thread_ids:
                used = [
                    await self._client.memory_usage(key) for key in (*thread_keys(thread_id), record_key(thread_id))
                ]
                sizes.append(sum(size or 0 for size in used))
        return sizes

    async def channels(self, thread_id: str) -> RawThread:
        """Read a thread without its graph: works also when its state no longer fits the schema."""
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        found = await self.saver.aget_tuple(config)
        return RawThread() if found is None else raw_thread(found)

    async def acquire(self, thread_id: str) -> bool:
        """Take the lease of a thread; False when a living process holds it."""
        return await self.leases.acquire(thread_id)

    async def release(self, thread_id: str) -> None:
        """Give the lease of a thread back."""
        await self.leases.release(thread_id)

    async def server_info(self) -> dict[str, Any]:
        """Return what the server tells about itself, for `surefoot doctor`."""
        with server_errors(self._client):
            info: dict[str, Any] = await self._client.info()
            for name in ("maxmemory-policy", "appendonly"):
                found = await self._client.config_get(name)
                info |= {_text(key): _text(value) for key, value in found.items()}
        return info


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def open_store(url: str | None = None, *, guard: Guard | None = None) -> AsyncIterator[Store]:
    """Open the saver and the thread records on one server; raises the saver's errors with one clear line each.

    `guard` replaces the one on that server.
    """
    start_telemetry()
    try:
        encryption = Encryption.from_environment()
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    async with connect_async(url or settings().redis_url) as client:
        shared = RedisGuard(client, limits_of(settings()))
        try:
            yield Store(client, AsyncRedisSaver(client, encryption=encryption, registry=True), guard or shared)
        finally:
            await shared.aclose()


__all__ = ["RawThread", "Status", "Store", "open_store", "record_key"]
