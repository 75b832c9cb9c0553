"""Listing threads: pages of the registry, with what the runner or the thread itself knows of each.

Nothing is cut off: what waits comes from the registry's own index of questions, and everything else in pages, so that
memory is bounded however many threads there are. A thread that cannot be read is listed with the reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from checkpointers import AsyncRedisSaver, ThreadEntry
from surefoot.foreign import foreign_records, gone_on
from surefoot.leases import Leases
from surefoot.records import Records
from surefoot.threads import ThreadRecord

PAGE: Final = 200
"""Threads that are looked at together."""


class Listing:
    """The threads of one server."""

    def __init__(self, saver: AsyncRedisSaver, records: Records, leases: Leases) -> None:
        self._saver, self._records, self._leases = saver, records, leases

    async def pages(
        self, status: str | None = None, pipeline: str | None = None, namespace: str | None = None
    ) -> AsyncIterator[list[ThreadRecord]]:
        """Yield the records of all threads, or of those that fit, the last changed first."""
        async for entries in self._entries(status):
            found = await self.of(entries, status)
            fitting = [r for r in found if pipeline in (None, r.pipeline) and namespace in (None, r.namespace)]
            if fitting:
                yield fitting

    async def _entries(self, status: str | None) -> AsyncIterator[Sequence[ThreadEntry]]:
        if status == "waiting":
            waiting = sorted(await self._saver.alist_waiting(), key=lambda entry: -entry.changed_at)
            for start in range(0, len(waiting), PAGE):
                yield waiting[start : start + PAGE]
            return
        async for entries in self._saver.athread_pages(PAGE):
            yield entries

    async def of(self, entries: Sequence[ThreadEntry], status: str | None = None) -> list[ThreadRecord]:
        """Return the records of registered threads in their order, of one status if it is named.

        Entries of threads whose time is over leave the registry.
        """
        own = await self._records.get_all([entry.thread_id for entry in entries])
        unread = {thread_id for thread_id, record in own.items() if record.damage in ("record", "newer_record")}
        own |= await self._completed([entry for entry in entries if entry.thread_id in unread], own)
        begun_here = [entry for entry in entries if entry.thread_id in own]
        current = await self.with_live_status([own[entry.thread_id] for entry in begun_here])
        # Twice, because a thread whose question was answered elsewhere may be at work there now.
        current = await self.with_live_status(await gone_on(self._saver, current, begun_here))
        known = {record.thread_id: record for record in current}
        others = [entry for entry in entries if entry.thread_id not in own and _may_be(entry, status)]
        known |= {record.thread_id: record for record in await self._of_others(others)}
        records = [known[entry.thread_id] for entry in entries if entry.thread_id in known]
        return [record for record in records if status in (None, record.status)]

    async def _completed(
        self, entries: Sequence[ThreadEntry], own: Mapping[str, ThreadRecord]
    ) -> dict[str, ThreadRecord]:
        """Return records that could not be read, completed by what the checkpoints tell of their threads."""
        if not entries:
            return {}
        held = await self._leases.alive([entry.thread_id for entry in entries])
        found = await foreign_records(self._saver, entries, held)
        names = ("damage", "unreadable", "foreign")
        return {
            record.thread_id: record.model_copy(update={name: getattr(own[record.thread_id], name) for name in names})
            for record in found
            if record is not None
        }

    async def _of_others(self, entries: Sequence[ThreadEntry]) -> list[ThreadRecord]:
        """Return records of threads that the runner did not begin."""
        if not entries:
            return []
        held = await self._leases.alive([entry.thread_id for entry in entries])
        found = await foreign_records(self._saver, entries, held)
        await self._saver.aunlist([entry for entry, record in zip(entries, found, strict=True) if record is None])
        return [record for record in found if record is not None]

    async def with_live_status(self, records: Iterable[ThreadRecord]) -> list[ThreadRecord]:
        """A thread that says `running` without a living lease has stalled: its process is gone."""
        records = list(records)
        running = [record for record in records if record.status == "running"]
        alive = await self._leases.alive([record.thread_id for record in running])
        stalled = {record.thread_id for record, lives in zip(running, alive, strict=True) if lives is False}
        return [r.model_copy(update={"status": "stalled"}) if r.thread_id in stalled else r for r in records]


def _may_be(entry: ThreadEntry, status: str | None) -> bool:
    """Tell whether a thread can have a status, whoever holds its lease: what cannot be need not be read."""
    return status is None or status in (entry.status(held=False), entry.status(held=True))
