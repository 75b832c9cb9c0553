"""The runner's view of Redis: the saver, and a record of each thread beside its checkpoints."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any

from langchain_core.runnables import RunnableConfig

from checkpointers import (
    AsyncRedisSaver,
    Encryption,
    LeaseLost,
    SaverError,
    TypeNotAllowed,
    connect_async,
    server_errors,
    thread_keys,
)
from checkpointers.encryption import VARIABLE
from nodes.call import Guard, limits_of, set_sealer
from nodes.call.redis_guard import RedisGuard
from nodes.drift import Drift
from nodes.errors import GuardUnavailable
from surefoot.drive import result_of, updated
from surefoot.errors import UsageError, taken_over
from surefoot.foreign import UNREADABLE
from surefoot.leases import Leases
from surefoot.listing import Listing
from surefoot.pipelines import Pipeline, stored_types
from surefoot.pipelines import pipeline as find_pipeline
from surefoot.records import MOST_BYTES, PAGE, Records, record_key
from surefoot.settings import settings
from surefoot.telemetry import start_telemetry
from surefoot.threads import RawThread, Status, ThreadRecord, id_of_key, raw_thread

_log = logging.getLogger("surefoot.store")

INDEX = "surefoot:threads"
"""Sorted set of thread ids in which earlier versions listed all threads."""


def drift_key(pipeline: str, namespace: str) -> str:
    """Return the key of the watches over a pipeline's results."""
    return f"surefoot:drift:{{{namespace}/{pipeline}}}"


class Store:
    """Saver, thread records, leases and the guard of all calls on one connection pool."""

    def __init__(self, client: Any, saver: AsyncRedisSaver, guard: Guard, encryption: Encryption | None = None) -> None:
        self.saver = saver
        self.leases = Leases(saver)
        self.guard = guard
        self._client = client
        self._records = Records(client, encryption)
        self._listing = Listing(saver, self._records, self.leases)
        self._allowed: set[str] = set()
        """Specs of the pipelines whose types the saver knows."""

    async def ping(self) -> None:
        """Ask the server for a sign of life, so that one that cannot be used is told before anything is begun."""
        with server_errors(self._client):
            await self._client.ping()

    async def save(self, record: ThreadRecord) -> None:
        """Write a thread's record and put it at the top of the list; a finished thread gets its end.

        Raises `ThreadBusy` when the lease that it was taken under has passed to another process.
        """
        finished = record.status in ("done", "failed")
        keep_ms = round(settings().retention_days * 86_400_000)
        expires = finished and keep_ms > 0
        token = self.leases.token(record.thread_id)
        try:
            if finished and record.status == "done" and settings().compact:
                await self.saver.aprune([record.thread_id])
            if expires or record.expires:
                # A thread that is taken up again has no end.
                await self.saver.aexpire_thread(record.thread_id, keep_ms / 1000 if expires else None)
            record = record.model_copy(update={"expires": expires, "foreign": False, "unreadable": "", "damage": ""})
            if not await self._records.write(record, token, keep_ms if expires else None):
                raise taken_over(record.key)
            await self.saver.anote_thread(record.thread_id)
        except LeaseLost as error:
            raise taken_over(record.key) from error

    async def drift(self, pipeline: str, namespace: str) -> Drift:
        """Return the watches over the results of a pipeline, new ones where there are none."""
        with server_errors(self._client):
            raw = await self._client.get(drift_key(pipeline, namespace))
        try:
            return Drift.load(json.loads(raw) if raw and len(raw) <= MOST_BYTES else None)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return Drift()

    async def keep_drift(self, pipeline: str, namespace: str, drift: Drift) -> None:
        """Write the watches over the results of a pipeline."""
        with server_errors(self._client):
            await self._client.set(drift_key(pipeline, namespace), json.dumps(drift.dump()))

    async def get(self, thread_id: str) -> ThreadRecord | None:
        """Return a thread's record as it was written, or None."""
        return await self._records.get(thread_id)

    async def find(self, thread: str) -> ThreadRecord:
        """Return the record of a thread by UUID or readable key, with its status as it is now; raises `UsageError`."""
        found = await self.saver.afind_thread(id_of_key(thread)) or await self.saver.afind_thread(thread)
        listed = await self._listing.of([found]) if found else []
        if not listed and (record := await self.get(id_of_key(thread))) is not None:
            listed = await self._listing.with_live_status([record])
        if not listed:
            raise UsageError(f"there is no thread {thread!r}; `surefoot threads` lists them")
        return listed[0]

    async def pages(
        self, status: str | None = None, pipeline: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[list[ThreadRecord]]:
        """Yield the records of all threads, or of those that fit, in pages, the last changed first."""
        await self._take_over_index()
        await self.sweep()
        async for page in self._listing.pages(status, pipeline, namespace):
            yield page

    async def records(
        self, status: str | None = None, pipeline: str | None = None, namespace: str | None = None
    ) -> list[ThreadRecord]:
        """Return the records of all threads, or of those that fit, the last changed first."""
        return [record async for page in self.pages(status, pipeline, namespace) for record in page]

    async def latest(self, pipeline: str, limit: int = PAGE) -> list[ThreadRecord]:
        """Return the finished ones among the threads of a pipeline that changed last, at most `limit` looked at."""
        await self._take_over_index()
        found = await self._records.get_all([entry.thread_id for entry in await self.saver.alist_threads(limit)])
        return [record for record in found.values() if record.pipeline == pipeline and record.status == "done"]

    async def settled(self, thread_ids: Sequence[str]) -> set[str]:
        """Return which of some threads have nothing left to do for now: they are done, or wait."""
        found = await self._records.get_all(list(thread_ids))
        return {record.thread_id for record in found.values() if record.status in ("done", "waiting")}

    async def sweep(self) -> None:
        """Remove some entries of threads that have expired from the list; what cannot be done now is done later."""
        try:
            await self.saver.asweep(beside=record_key)
        except SaverError as error:
            _log.warning("expired threads were not taken off the list: %s", type(error).__name__)

    async def _take_over_index(self) -> None:
        """Register what an earlier version listed in its own index."""
        with server_errors(self._client):
            listed_before = [raw.decode() for raw in await self._client.zrange(INDEX, 0, -1)]
        if listed_before:
            await self.saver.areconcile(listed_before)
            # Those too that have no checkpoint yet; oldest first, so that the order stays.
            for thread_id in listed_before:
                await self.saver.anote_thread(thread_id)
            with server_errors(self._client):
                await self._client.delete(INDEX)

    async def repair(self) -> int:
        """Write the list of threads anew from checkpoints and records; return how many threads were read."""
        read = await self.saver.areconcile()
        async for thread_id in self._records.ids():
            if await self.saver.afind_thread(thread_id) is None:
                await self.saver.anote_thread(thread_id)
        return read

    async def forget(self, thread_id: str, key: str = "") -> None:
        """Delete a thread: checkpoints first, then its record, so that a crash in between leaves it findable."""
        try:
            await self.saver.adelete_thread(thread_id)
        except LeaseLost as error:
            raise taken_over(key or thread_id) from error
        await self.guard.forget(thread_id)
        if not await self._records.drop(thread_id, self.leases.token(thread_id)):
            raise taken_over(key or thread_id)

    async def put_aside(self, record: ThreadRecord) -> None:
        """Take a thread whose checkpoints are damaged out of the way; its record says what became of it."""
        await self.saver.aquarantine(record.thread_id)
        if not record.foreign and not record.unreadable:
            told = "its checkpoints cannot be used and were put aside: run the item again with --rerun"
            failed = {"status": "failed", "error": told, "waits_for": "", "until": None}
            await self.save(record.model_copy(update=failed))

    async def put_aside_before(self) -> list[str]:
        """Return the keys of the threads that were put aside; one that the runner did not begin has its id."""
        ids = await self.saver.alist_quarantined()
        records = await self._records.get_all(ids)
        return [records[thread_id].key if thread_id in records else thread_id for thread_id in ids]

    async def restore(self, thread: str) -> bool:
        """Put a thread back that was put aside; return whether there was one. Raises the saver's `ThreadConflict`."""
        for thread_id in dict.fromkeys((id_of_key(thread), thread)):
            if await self.saver.arestore(thread_id):
                await self._read_again(thread_id)
                return True
        return False

    async def discard(self, thread: str) -> bool:
        """Delete for good what was put aside of a thread; return whether there was anything."""
        return any([await self.saver.adiscard_quarantined(one) for one in dict.fromkeys((id_of_key(thread), thread))])

    async def _read_again(self, thread_id: str) -> None:
        """Write the record of a thread that is back: it says that its checkpoints are gone."""
        record = await self.get(thread_id)
        if record is None:
            return
        try:
            raw = await self.channels(thread_id)
            pipeline = find_pipeline(record.pipeline, record.spec)
        except (*UNREADABLE, UsageError) as error:
            await self.save(record.model_copy(update={"error": f"put back, and not readable: {error}"}))
        else:
            await self.save(updated(record, result_of(pipeline, record, raw), raw))

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
        """Read a thread without its graph: works also when its state no longer fits the schema.

        The graph is imported only where the thread holds types of its own.
        """
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        try:
            found = await self.saver.aget_tuple(config)
        except TypeNotAllowed as refused:
            record = await self.get(thread_id)
            if record is None or not record.spec:
                raise
            try:
                own = find_pipeline(record.pipeline, record.spec)
            except UsageError as error:
                raise TypeNotAllowed(f"{error}. {refused}") from error
            self.allow(own)
            found = await self.saver.aget_tuple(config)
        return RawThread() if found is None else raw_thread(found)

    def allow(self, pipeline: Pipeline) -> None:
        """Let the types in the states of a pipeline come back from the saver; shipped ones store plain data alone."""
        if pipeline.spec and pipeline.spec not in self._allowed:
            self.saver.allow(stored_types(pipeline))
            self._allowed.add(pipeline.spec)

    async def acquire(self, thread_id: str) -> bool:
        """Take the lease of a thread; False when a living process holds it."""
        return await self.leases.acquire_with(self._records, thread_id)

    async def release(self, thread_id: str) -> None:
        """Give the lease of a thread back."""
        await self.leases.release(thread_id)

    async def server_infos(self) -> dict[str, dict[str, Any]]:
        """Return what the server tells about itself, by its name; of a cluster what each primary tells."""
        with server_errors(self._client):
            if not hasattr(self._client, "get_primaries"):
                return {"server": await self._info()}
            await self._client.initialize()
            return {node.name: await self._info(target_nodes=node) for node in self._client.get_primaries()}

    async def _info(self, **where: Any) -> dict[str, Any]:
        info: dict[str, Any] = dict(await self._client.info(**where))
        for name in ("maxmemory-policy", "appendonly"):
            found = await self._client.config_get(name, **where)
            info |= {_text(key): _text(value) for key, value in found.items()}
        return info


@lru_cache(maxsize=1)
def _encryption(_keys: str) -> Encryption | None:
    """Return the encryption of the environment, one for as long as the keys stay: guards are told apart by it."""
    return Encryption.from_environment()


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def open_store(url: str | None = None, *, guard: Guard | None = None) -> AsyncIterator[Store]:
    """Open the saver and the thread records on one server; raises the saver's errors with one clear line each.

    `guard` replaces the one on that server.
    """
    start_telemetry()
    try:
        encryption = _encryption(os.environ.get(VARIABLE, ""))
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    if encryption is not None:
        set_sealer(encryption)
    async with connect_async(url or settings().redis_url) as client:
        shared = RedisGuard(client, limits_of(settings()), sealer=encryption)
        try:
            with suppress(GuardUnavailable):
                # A server that is gone is told by whatever asks it next.
                await shared.learn_time()
            saver = AsyncRedisSaver(client, encryption=encryption, registry=True)
            yield Store(client, saver, guard or shared, encryption)
        finally:
            await shared.aclose()


__all__ = ["RawThread", "Status", "Store", "open_store", "record_key"]
