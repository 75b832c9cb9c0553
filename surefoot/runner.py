"""Running many items: one thread an item, bounded in parallel, resumable at any point.

Running the same items again goes on where they stand: what is finished is only read, what was cut off resumes at its
last checkpoint, what never began starts afresh.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from checkpointers import LeaseLost, SaverError
from nodes import clock
from nodes.call import parking_with, spending_cap, using_guard
from nodes.errors import StopRun, SurefootError
from nodes.events import listening
from state import RunContext, redact
from surefoot.broken import raw_or_refused
from surefoot.drive import (
    Drained,
    OnPart,
    Result,
    drive,
    make_result,
    next_start,
    refuse_another,
    result_of,
    sleep_until,
    updated,
    waiting,
)
from surefoot.errors import Refused, ThreadBusy, UsageError, taken_over
from surefoot.inputs import BadLine, Item
from surefoot.leases import TTL_S
from surefoot.pipelines import Pipeline
from surefoot.slots import Sleepers, Slot, Slots
from surefoot.store import Store
from surefoot.threads import ThreadRecord, completed, readable_key, thread_id

INLINE_WAIT_S = 20.0
"""Longest wait in seconds that a thread sleeps through while it holds one of the parallel slots."""

SWEEP_EVERY = 200
"""Items after which a few entries of expired threads are taken off the list, as they are at the end of each run."""


@dataclass
class Summary:
    """How a run ended, over all its items."""

    done: int = 0
    waiting: int = 0
    failed: int = 0
    stalled: int = 0
    reused: int = 0
    """Of these: nothing had to be run."""
    refused: list[BadLine] = field(default_factory=list)
    """Items whose id was run before with another content."""
    spent_microusd: int = 0
    """Spent by this run, not by earlier ones."""
    stopped: str = ""
    """Why the run stopped before its end, empty when it did not."""
    seconds: float = 0.0

    def count(self, result: Result) -> None:
        """Add one result."""
        name = "stalled" if result.status == "running" else result.status
        setattr(self, name, getattr(self, name) + 1)
        self.reused += not result.fresh


class Runner:
    """Runs items of one pipeline on one store."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: Store,
        *,
        parallel: int = 50,
        namespace: str = "",
        context: RunContext | None = None,
        rerun: bool = False,
        max_cost_microusd: int | None = None,
        on_part: OnPart | None = None,
    ) -> None:
        if parallel < 1:
            raise UsageError(f"parallel must be at least 1, got {parallel}")
        given = context or RunContext()
        self.pipeline, self.store, self.namespace, self.rerun = pipeline, store, namespace, rerun
        longest = INLINE_WAIT_S if given.max_inline_wait_s is None else given.max_inline_wait_s
        self.context = given.model_copy(update={"max_inline_wait_s": longest})
        self.max_cost_microusd, self._on_part = max_cost_microusd, on_part
        self._parallel = parallel
        self._slots = Slots(parallel)
        self._stop = asyncio.Event()
        self._sleepers = Sleepers()
        self._begun: set[str] = set()
        """Threads that this run has taken up: `rerun` forgets each of them once, not after every wait."""
        self._working: dict[str, asyncio.Task[Any]] = {}
        self._summary = Summary()
        self._crash: Exception | None = None
        self.stop_error: StopRun | None = None
        """What stopped the run, where that was a setting or a budget."""

    async def run(
        self, items: Iterable[Item], *, on_result: Callable[[Result], None], stop: asyncio.Event | None = None
    ) -> Summary:
        """Run all items and return the counts; `on_result` is called as each one finishes or begins to wait.

        Setting `stop` drains: threads stop at their next checkpoint and can go on later. Raises nothing for an item's
        failure; what stops the whole run is told in `Summary.stopped`.
        """
        began = time.monotonic()
        if stop is not None:
            self._stop = stop
        drainer = asyncio.create_task(self._cut_sleepers_when_stopped())
        try:
            guarded = using_guard(self.store.guard)
            with listening(self._sleepers.note), guarded, spending_cap(self.max_cost_microusd) as budget:
                async with self.store.leases.renewing():
                    await self._run_all(iter(items), on_result)
                self._summary.spent_microusd = budget.spent_microusd
        finally:
            drainer.cancel()
            await asyncio.gather(drainer, return_exceptions=True)
        self._summary.seconds = time.monotonic() - began
        return self._summary

    async def _run_all(self, items: Iterable[Item], on_result: Callable[[Result], None]) -> None:
        """Keep a bounded number of items under way; those that wait for a time hold no slot."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            for number, item in enumerate(items, 1):
                if number % SWEEP_EVERY == 0:
                    await self.store.sweep()
                await self._slots.acquire()
                if self._stop.is_set():
                    self._slots.release()
                    break
                task = asyncio.create_task(self._one(item, on_result))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        finally:
            if under_way:
                await asyncio.gather(*under_way)
        await self.store.sweep()
        if self._crash is not None:
            raise self._crash

    async def _one(self, item: Item, on_result: Callable[[Result], None]) -> None:
        """Run one item and report it; holds a slot, which it gives back while it waits for a time or an endpoint."""
        tid = thread_id(self.pipeline.name, item.id, self.namespace)
        slot = Slot(self._slots, lambda parked: self._sleepers.note_parked(tid, parked))
        try:
            with parking_with(slot.parked):
                result = await self._attempt(item)
            while result.waits_for == "time" and result.until is not None:
                slot.give_back()
                if not await sleep_until(result.until, self._stop):
                    break
                await slot.take()
                with parking_with(slot.parked):
                    result = await self._attempt(item)
            self._summary.count(result)
            on_result(result)
        except Refused as refused:
            self._summary.refused.append(BadLine(item.line, str(refused)))
        except (SaverError, SurefootError, OSError) as error:
            self._halt(str(error))
        except Exception as error:
            # A mistake of ours or of a listener: stop in order, then raise it where the run was asked for.
            self._crash = self._crash or error
            self._stop.set()
        finally:
            slot.give_back()

    async def _attempt(self, item: Item) -> Result:
        """Take the item's thread as far as it goes now."""
        tid = thread_id(self.pipeline.name, item.id, self.namespace)
        self._working[tid] = asyncio.current_task()  # type: ignore[assignment] # we are inside a task
        try:
            async with self._lease(tid) as leased:
                if not leased:
                    record = await self.store.get(tid) or self._new_record(item, tid)
                    told = f"{await self.store.leases.holder(tid)} works on it"
                    return make_result(self.pipeline, record, {}, "running", error=told, line=item.line, fresh=False)
                record, known = await self._record(item, tid)
                return known or await self._drive(item, record)
        except (ThreadBusy, LeaseLost) as error:
            # Whoever has the thread now writes its record, so this one tells what it knows and writes nothing.
            record = self._new_record(item, tid)
            busy = error if isinstance(error, ThreadBusy) else taken_over(record.key)
            return make_result(self.pipeline, record, {}, "running", error=str(busy), line=item.line)
        finally:
            self._working.pop(tid, None)
            self._sleepers.forget(tid)

    @asynccontextmanager
    async def _lease(self, tid: str) -> AsyncIterator[bool]:
        """Take the thread's lease; a lease of another host's dead process is waited for until it expires."""
        give_up_at = time.monotonic() + TTL_S + 1
        leased = await self.store.acquire(tid)
        while not leased and not self._stop.is_set() and time.monotonic() < give_up_at:
            await asyncio.sleep(0.5)
            leased = await self.store.acquire(tid)
        try:
            yield leased
        finally:
            if leased:
                await self.store.release(tid)

    async def _record(self, item: Item, tid: str) -> tuple[ThreadRecord, Result | None]:
        """Return the item's record, and its result when nothing is left to do; raises `Refused` for a changed item."""
        record = await self.store.get(tid)
        if record is not None and self.rerun and tid not in self._begun:
            await self.store.forget(tid, record.key)
            record = None
        self._begun.add(tid)
        if record is None:
            return self._new_record(item, tid), None
        refuse_another(record, self.pipeline, item)
        raw = await raw_or_refused(self.store, record)
        finished = raw.exists and not raw.next and raw.values.get("outcome") is not None
        if finished or (raw.interrupts and record.waits_for == "person"):
            known = result_of(self.pipeline, record, raw, line=item.line, fresh=False)
            if record.status != known.status:
                await self.store.save(updated(record, known, raw))
            return record, known
        return record.model_copy(update={"context": completed(self.context, raw.context)}), None

    def _new_record(self, item: Item, tid: str) -> ThreadRecord:
        now = clock.now()
        return ThreadRecord(
            thread_id=tid,
            key=readable_key(self.pipeline.name, item.id, self.namespace),
            pipeline=self.pipeline.name,
            spec=self.pipeline.spec,
            item_id=item.id,
            namespace=self.namespace,
            input_hash=item.content_hash,
            graph_version=self.pipeline.version,
            created_at=now,
            updated_at=now,
            context=self.context,
        )

    async def _drive(self, item: Item, record: ThreadRecord) -> Result:
        """Run the thread, and turn whatever happens into a result; nothing that happens to one item hurts another."""
        record = record.model_copy(update={"status": "running", "updated_at": clock.now(), "error": ""})
        await self.store.save(record)
        raw = None
        try:
            start, before = await next_start(self.pipeline, self.store, record, item.input)
            waits_for, until = waiting(before)
            if waits_for == "person" or (waits_for == "time" and (until or 0.0) > clock.now()):
                raw = before
            else:
                self._sleepers.note_stored(record.thread_id, before)
                stop, watch = self._stop.is_set, self._on_part
                raw = await drive(self.pipeline, self.store, record, start, record.context, stop, watch)
            result = result_of(self.pipeline, record, raw, line=item.line)
        except (Drained, asyncio.CancelledError) as cut:
            if not self._stop.is_set():
                raise
            if isinstance(cut, asyncio.CancelledError) and (task := asyncio.current_task()) is not None:
                task.uncancel()
            result = await self._cut_off(item, record, "stalled", "")
        except StopRun as error:
            self.stop_error = self.stop_error or error
            self._halt(str(error))
            result = await self._cut_off(item, record, "stalled", str(error))
        except (ThreadBusy, SaverError):
            raise
        except SurefootError as error:
            result = await self._cut_off(item, record, "failed", str(error))
        except Exception as error:
            result = await self._cut_off(item, record, "failed", f"{type(error).__name__}: {redact(str(error))}")
        await self.store.save(updated(record, result, raw))
        return result

    async def _cut_off(self, item: Item, record: ThreadRecord, status: Any, error: str) -> Result:
        """Return the result of a thread that was cut off, with what is stored of it; it may have just finished."""
        raw = await self.store.channels(record.thread_id)
        if status == "stalled" and not error and not raw.next and raw.values.get("outcome") is not None:
            return result_of(self.pipeline, record, raw, line=item.line)
        return make_result(self.pipeline, record, raw.values, status, error=error, line=item.line)

    def _halt(self, why: str) -> None:
        """Stop the whole run: the first reason is told."""
        self._summary.stopped = self._summary.stopped or why
        self._stop.set()

    async def _cut_sleepers_when_stopped(self) -> None:
        """Once draining, cancel threads that only wait; a thread in a call finishes the call, which is paid for."""
        await self._stop.wait()
        while True:
            for tid in self._sleepers.until_after(clock.now() + 0.2):
                if (task := self._working.get(tid)) is not None:
                    self._sleepers.forget(tid)
                    task.cancel()
            await asyncio.sleep(0.1)
