"""Leases: one process works on a thread at a time, because LangGraph itself does not lock threads.

The saver keeps the leases and refuses the writes of a holder that was superseded. Here they name host, process and
start time, so that on the same host the lease of a killed process is taken over at once, not after it expires.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpointers import AsyncRedisSaver, Lease, SaverError, ThreadFormatUnknown

if TYPE_CHECKING:
    from surefoot.records import Records

_log = logging.getLogger("surefoot.leases")

TTL_S = 15.0
"""Seconds until a lease expires that nobody renews. Renewed at a third of it, so two renewals may fail."""


def started_at(pid: int) -> str:
    """Return when a local process started, or an empty string where that cannot be known or it has ended.

    Process ids are reused, above all in containers, where every first process has the same one. A process that was
    killed keeps its id until its parent takes note.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def is_dead(holder: dict[str, Any]) -> bool:
    """Tell whether the holder of a lease was a process of this host that no longer lives."""
    if holder.get("scope") != process_scope():
        return False
    pid = int(holder.get("pid", 0))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(holder.get("started")) and started_at(pid) != holder["started"]


def process_scope() -> str:
    """Name where this process's id means something: the host since its last boot, and the process namespace.

    Two containers may share a host name and not see each other's processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


class Leases:
    """The leases that this process holds, renewed together."""

    def __init__(self, saver: AsyncRedisSaver, name: str = "") -> None:
        self._saver = saver
        me = {"scope": process_scope(), "pid": os.getpid(), "started": started_at(os.getpid())}
        self._me = json.dumps({**me, "name": name} if name else me)
        self._held: dict[str, Lease] = {}
        self.lost: set[str] = set()
        """Threads whose lease expired under us, as happens to a process that is frozen: stop working on them."""

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[Leases]:
        """Renew all held leases while the block runs."""
        task = asyncio.create_task(self._renew_forever())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def acquire(self, thread_id: str) -> bool:
        """Take the lease of a thread; False when a living process holds it."""
        taken = await self._saver.aacquire_lease(thread_id, holder=self._me, ttl=TTL_S)
        # Beside the loop: Studio's server lets nothing block on its own, not even a look at a process.
        if isinstance(taken, str) and await asyncio.to_thread(_has_ended, taken):
            taken = await self._saver.aacquire_lease(thread_id, holder=self._me, ttl=TTL_S, instead_of=taken)
        if isinstance(taken, str):
            return False
        self._held[thread_id] = taken
        self.lost.discard(thread_id)
        return True

    async def acquire_with(self, records: Records, thread_id: str) -> bool:
        """Take the lease of a thread, and shut out from its record who had the thread before; all of it, or nothing.

        False when a living process holds it, or has taken it meanwhile.
        """
        if not await self.acquire(thread_id):
            return False
        taken = False
        try:
            taken = await records.take(thread_id, self.token(thread_id))
        finally:
            if not taken:
                # A server that is gone lets it expire.
                with suppress(SaverError):
                    await self.release(thread_id)
        return taken

    async def release(self, thread_id: str) -> None:
        """Give a lease back; one that was lost meanwhile is left to its new holder."""
        lease = self._held.pop(thread_id, None)
        if lease is not None:
            await self._saver.arelease_lease(lease)

    def token(self, thread_id: str) -> str:
        """Return the fencing token of the lease that this process holds on a thread, an empty text for none."""
        lease = self._held.get(thread_id)
        return lease.token if lease is not None else ""

    async def holder(self, thread_id: str) -> str:
        """Return what the holder of a lease calls itself, to tell a person who works on a thread."""
        try:
            told = json.loads(await self._saver.alease_holder(thread_id))
        except ValueError:
            told = None
        return str(told.get("name") or "another process") if isinstance(told, dict) else "another process"

    async def alive(self, thread_ids: list[str]) -> list[bool | None]:
        """Tell for each thread whether a living process holds its lease, None for a thread of an unknown format."""

        async def one(thread_id: str) -> bool | None:
            try:
                holder = await self._saver.alease_holder(thread_id)
            except ThreadFormatUnknown:
                return None
            return bool(holder) and not _has_ended(holder)

        return list(await asyncio.gather(*map(one, thread_ids)))

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(TTL_S / 3)
            held = dict(self._held)
            renewed = await asyncio.gather(
                *(self._saver.arenew_lease(lease, TTL_S) for lease in held.values()), return_exceptions=True
            )
            for (thread_id, lease), ours in zip(held.items(), renewed, strict=True):
                if isinstance(ours, BaseException):
                    # The saver meets the same outage and stops the run; here the next round tries again.
                    _log.warning("a lease was not renewed: %s", type(ours).__name__)
                # A lease that was given back and taken anew meanwhile is another one.
                elif not ours and self._held.get(thread_id) == lease:
                    self.lost.add(thread_id)


def _has_ended(holder: str) -> bool:
    try:
        told = json.loads(holder)
    except ValueError:
        return False
    return isinstance(told, dict) and is_dead(told)
