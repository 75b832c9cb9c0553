"""Leases: one process works on a thread at a time, because LangGraph itself does not lock threads.

A lease is a key with an expiry that its holder renews. It names host, process and start time, so that on the same
host the lease of a killed process is taken over at once, not after it expires.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

_log = logging.getLogger("surefoot.leases")

TTL_S = 15.0
"""Seconds until a lease expires that nobody renews. Renewed at a third of it, so two renewals may fail."""

_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_TAKE_OVER = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end
return 0
"""


def lease_key(thread_id: str) -> str:
    """Return the key of a thread's lease; it shares the hash tag of the thread's id."""
    return f"surefoot:lease:{{{thread_id}}}"


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

    def __init__(self, client: Any) -> None:
        self._client = client
        self._me = {"scope": process_scope(), "pid": os.getpid(), "started": started_at(os.getpid())}
        self._held: dict[str, str] = {}
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
        value = json.dumps(self._me | {"token": uuid.uuid4().hex})
        key = lease_key(thread_id)
        taken = await self._client.set(key, value, nx=True, px=int(TTL_S * 1000))
        if not taken:
            current = await self._client.get(key)
            if current is None:
                return await self.acquire(thread_id)
            if not is_dead(json.loads(current)):
                return False
            taken = await self._client.eval(_TAKE_OVER, 1, key, current, value, int(TTL_S * 1000))
        if taken:
            self._held[thread_id] = value
            self.lost.discard(thread_id)
        return bool(taken)

    async def release(self, thread_id: str) -> None:
        """Give a lease back; one that was lost meanwhile is left to its new holder."""
        value = self._held.pop(thread_id, None)
        if value is not None:
            await self._client.eval(_RELEASE, 1, lease_key(thread_id), value)

    async def alive(self, thread_ids: list[str]) -> list[bool]:
        """Tell for each thread whether a living process holds its lease."""
        if not thread_ids:
            return []
        pipe = self._client.pipeline(transaction=False)
        for thread_id in thread_ids:
            pipe.get(lease_key(thread_id))
        return [value is not None and not is_dead(json.loads(value)) for value in await pipe.execute()]

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(TTL_S / 3)
            held = dict(self._held)
            if not held:
                continue
            pipe = self._client.pipeline(transaction=False)
            for thread_id, value in held.items():
                pipe.eval(_RENEW, 1, lease_key(thread_id), value, int(TTL_S * 1000))
            try:
                renewed = await pipe.execute(raise_on_error=False)
            except Exception as error:
                # The saver meets the same outage and stops the run; here the next round tries again.
                _log.warning("leases were not renewed: %s", type(error).__name__)
                continue
            for (thread_id, value), ok in zip(held.items(), renewed, strict=True):
                # A lease that was given back and taken anew meanwhile is another one.
                if ok == 0 and self._held.get(thread_id) == value:
                    self.lost.add(thread_id)
