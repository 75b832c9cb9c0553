"""Upkeep of a server: the registry page by page, entries of threads that have expired, threads that were put aside.

A thread that expires tells nobody, so its entry in the registry stays. `sweep` looks at a few entries of each shard
and goes on as long as many of their threads are gone, as Redis itself looks for keys that have expired: what is left
over is a fraction of the whole, however large that is, and no thread that waits for ever is in the way of others.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from . import _scripts as scripts
from ._arguments import several
from ._base import Plan
from ._codec import KEY_PATTERN, lease_key, thread_keys, thread_of_key
from ._entries import ThreadEntry, entries_of
from ._failures import FAILURES, explain
from ._notes import SHARDS, key_of
from ._scripts import Call, Reply
from .errors import ThreadConflict
from .registry import AsyncRegistry, RegistryPlans, SyncRegistry

T = TypeVar("T")
PAGE: Final = 500
ASIDE: Final = ".quarantined"
EACH: Final = 4
"""Entries of a shard that one round of a sweep looks at."""
ROUNDS: Final = 16
"""Most rounds of a sweep."""
MANY: Final = 4
"""A sweep goes on while more than one of so many threads is gone."""

Beside = Callable[[str], str]
"""Names the key that a program keeps beside a thread; while it is there, so is the thread."""


@dataclass
class _Shard:
    """What was read of one shard and not handed out yet."""

    number: int
    left: deque[ThreadEntry] = field(default_factory=deque)
    before: str = "+inf"
    handed: set[str] = field(default_factory=set)
    """Threads that changed at the time `before`: they come once more."""
    ended: bool = False

    def call(self, most: int) -> Call:
        keys = (key_of(self.number, "threads"), key_of(self.number, "changed"))
        return Call(scripts.WINDOW, "", ("before", self.before, most), keys=keys)

    def take(self, reply: Reply, most: int) -> None:
        """Take a page; the next one begins at the time of its last, by the index: what entries say does not matter."""
        flat, times, looked_at = reply
        found = list(zip(entries_of(flat), times, strict=True))
        new = [entry for entry, _time in found if entry.thread_id not in self.handed]
        self.ended = looked_at < most
        self.left += new
        if not found:
            # Threads without an entry, which have left the index by that.
            return
        last = found[-1][1].decode()
        if not new:
            # More threads of one microsecond than a page holds.
            self.before, self.handed = f"({last}", set()
            return
        earlier = self.handed if last == self.before else set()
        self.handed = earlier | {entry.thread_id for entry, time in found if time.decode() == last}
        self.before = last


class _Walk:
    """All entries, those that changed last first, with no more than some pages of them in memory."""

    def __init__(self, size: int) -> None:
        self.size, self.most = size, max(8, 2 * size // SHARDS)
        self.shards = [_Shard(number) for number in range(SHARDS)]


class UpkeepPlans(RegistryPlans):
    """Each operation, as a plan."""

    def _plan_next_page(self, walk: _Walk) -> Plan[list[ThreadEntry]]:
        page: list[ThreadEntry] = []
        while len(page) < walk.size:
            if any(not shard.left and not shard.ended for shard in walk.shards):
                low = [s for s in walk.shards if not s.ended and len(s.left) <= walk.most // 2]
                replies = yield [shard.call(walk.most) for shard in low]
                for shard, reply in zip(low, replies, strict=True):
                    shard.take(reply, walk.most)
                continue
            heap = [(-shard.left[0].changed_at, shard.number) for shard in walk.shards if shard.left]
            heapq.heapify(heap)
            if not heap:
                break
            while heap and len(page) < walk.size:
                shard = walk.shards[heap[0][1]]
                page.append(shard.left.popleft())
                if shard.left:
                    heapq.heapreplace(heap, (-shard.left[0].changed_at, shard.number))
                elif shard.ended:
                    heapq.heappop(heap)
                else:
                    break
        return page

    def _plan_sweep(self, beside: Beside | None) -> Plan[int]:
        swept = 0
        for _ in range(ROUNDS):
            seen, gone = yield from self._plan_gone(beside)
            if gone:
                swept += sum((yield [self._unlist(entry) for entry in gone]))
            if len(gone) * MANY <= seen:
                break
        return swept

    def _plan_gone(self, beside: Beside | None) -> Plan[tuple[int, list[ThreadEntry]]]:
        """Look at some entries; return how many, and those of threads that are gone."""
        at = repr(random.random())  # noqa: S311 - no secret
        replies = yield [
            Call(scripts.WINDOW, "", ("any", at, EACH), keys=(key_of(number, "threads"), key_of(number, "changed")))
            for number in range(SHARDS)
        ]
        left = [entry for flat, *_times in replies for entry in entries_of(flat)]
        seen = len(left)
        for name in (_data_key, beside):
            if name is not None and left:
                there = yield [Call("EXISTS", entry.thread_id, keys=(name(entry.thread_id),)) for entry in left]
                left = [entry for entry, exists in zip(left, there, strict=True) if not exists]
        return seen, left

    def _plan_unlist(self, entries: Sequence[ThreadEntry]) -> Plan[int]:
        calls = [self._unlist(entry) for entry in several(entries, "entries", "entries of threads")]
        return sum((yield calls)) if calls else 0

    def _plan_restore(self, thread_id: str) -> Plan[bool]:
        keys = (*thread_keys(thread_id), *_aside(thread_id), lease_key(thread_id))
        found = int((yield Call(scripts.RESTORE, thread_id, keys=keys)))
        if found < 0:
            raise ThreadConflict(
                f"Thread {thread_id!r} has begun anew or is being worked on, so what was put aside stays there."
            )
        return bool(found)

    def _plan_discard(self, thread_id: str) -> Plan[bool]:
        return bool((yield Call("UNLINK", thread_id, keys=_aside(thread_id))))


class SyncUpkeep(UpkeepPlans, SyncRegistry):
    """The operations of a sync saver."""

    def thread_pages(self, size: int = PAGE) -> Iterator[list[ThreadEntry]]:
        """Yield all threads of the registry in pages, those that changed last first.

        A thread that changes meanwhile may be missed: it belongs to the pages before.
        """
        walk = _Walk(size)
        while page := self._run(self._plan_next_page(walk)):
            yield page

    def sweep(self, *, beside: Beside | None = None) -> int:
        """Remove some entries of threads that have expired from the registry; return how many.

        It is bounded, and made for being called with ordinary work, such as after each run. `beside` names a key that
        keeps an entry even when its thread holds nothing.
        """
        return self._run(self._plan_sweep(beside))

    def unlist(self, entries: Sequence[ThreadEntry]) -> int:
        """Remove entries of threads that are gone, but for those that have changed since; return how many."""
        return self._run(self._plan_unlist(entries))

    def list_quarantined(self) -> list[str]:
        """Return the ids of the threads that were put aside; scans the keys of the server."""
        client = self.client  # type: ignore[attr-defined] # each saver has one
        try:
            return sorted(map(_thread_of, client.scan_iter(match=KEY_PATTERN + ASIDE, count=1000)))
        except FAILURES as error:
            raise explain(error, client, "*") from error

    def restore(self, thread_id: str) -> bool:
        """Put a thread back that `quarantine` put aside, as it was; return whether there was one.

        Raises `ThreadConflict` when the thread has begun anew meanwhile.
        """
        found = self._run(self._plan_restore(str(thread_id)))
        if found:
            self._run(self._plan_seen(str(thread_id)))
            self.reconcile([str(thread_id)])
        return found

    def discard_quarantined(self, thread_id: str) -> bool:
        """Delete for good what `quarantine` put aside of a thread; return whether there was anything."""
        return self._run(self._plan_discard(str(thread_id)))


class AsyncUpkeep(UpkeepPlans, AsyncRegistry):
    """The operations of an async saver, as those of `SyncUpkeep`."""

    async def athread_pages(self, size: int = PAGE) -> AsyncIterator[list[ThreadEntry]]:
        """Yield all threads of the registry in pages, those that changed last first.

        A thread that changes meanwhile may be missed: it belongs to the pages before.
        """
        walk = _Walk(size)
        while page := await self._arun(self._plan_next_page(walk)):
            yield page

    async def asweep(self, *, beside: Beside | None = None) -> int:
        """Remove some entries of threads that have expired from the registry; return how many.

        It is bounded, and made for being called with ordinary work, such as after each run. `beside` names a key that
        keeps an entry even when its thread holds nothing.
        """
        return await self._arun(self._plan_sweep(beside))

    async def aunlist(self, entries: Sequence[ThreadEntry]) -> int:
        """Remove entries of threads that are gone, but for those that have changed since; return how many."""
        return await self._arun(self._plan_unlist(entries))

    async def alist_quarantined(self) -> list[str]:
        """Return the ids of the threads that were put aside; scans the keys of the server."""
        client = self.client  # type: ignore[attr-defined] # each saver has one
        try:
            return sorted([_thread_of(key) async for key in client.scan_iter(match=KEY_PATTERN + ASIDE, count=1000)])
        except FAILURES as error:
            raise explain(error, client, "*") from error

    async def arestore(self, thread_id: str) -> bool:
        """Put a thread back that `quarantine` put aside, as it was; return whether there was one.

        Raises `ThreadConflict` when the thread has begun anew meanwhile.
        """
        found = await self._arun(self._plan_restore(str(thread_id)))
        if found:
            await self.anote_thread(str(thread_id))
            await self.areconcile([str(thread_id)])
        return found

    async def adiscard_quarantined(self, thread_id: str) -> bool:
        """Delete for good what `quarantine` put aside of a thread; return whether there was anything."""
        return await self._arun(self._plan_discard(str(thread_id)))


def _data_key(thread_id: str) -> str:
    return thread_keys(thread_id)[0]


def _aside(thread_id: str) -> tuple[str, str]:
    data, index = thread_keys(thread_id)
    return data + ASIDE, index + ASIDE


def _thread_of(key: str | bytes) -> str:
    return thread_of_key(key if isinstance(key, str) else key.decode())
