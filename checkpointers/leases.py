"""Leases of threads: one worker writes to a thread at a time, because LangGraph itself locks none.

A lease expires unless its holder renews it. Each has a fencing token (Kleppmann, "How to do distributed locking", 2016)
that grows with every holder. While a saver holds a lease, all that it writes to the thread carries the token,
and the server refuses it once somebody else has taken the thread (`LeaseLost`), also from a process that was frozen and
does not know. Who takes no leases is not held up by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from . import _scripts as scripts
from ._base import Plan, SaverBase
from ._scripts import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder has in hand."""

    thread_id: str
    token: str
    holder: str
    """What the holder says of itself, such as its host and process."""

    @property
    def value(self) -> str:
        """What is stored."""
        return f"{self.token} {self.holder}"


class LeasePlans(SaverBase):
    """Each operation on leases, as a plan."""

    def _plan_acquire(self, thread_id: str, holder: str, ttl: float, instead_of: str) -> Plan[Lease | str]:
        """Return the lease, or what its present holder says of itself."""
        last = ""
        if instead_of:
            last = _text((yield Call(scripts.LEASE, thread_id, ("holder",))))
            if _holder(last) != instead_of:
                return _holder(last) or instead_of
        token, current = yield Call(scripts.LEASE, thread_id, ("acquire", _ms(ttl), holder, last))
        if not int(token):
            return _holder(_text(current))
        lease = Lease(thread_id, _text(token), holder)
        self._fences[thread_id] = lease.token
        return lease

    def _plan_renew(self, lease: Lease, ttl: float) -> Plan[bool]:
        return bool((yield Call(scripts.LEASE, lease.thread_id, ("renew", _ms(ttl), lease.value))))

    def _plan_release(self, lease: Lease) -> Plan[bool]:
        ours = bool((yield Call(scripts.LEASE, lease.thread_id, ("release", "", lease.value))))
        if self._fences.get(lease.thread_id) == lease.token:
            del self._fences[lease.thread_id]
        return ours

    def _plan_holder(self, thread_id: str) -> Plan[str]:
        return _holder(_text((yield Call(scripts.LEASE, thread_id, ("holder",)))))


class SyncLeases(LeasePlans):
    """The operations of a sync saver."""

    def acquire_lease(
        self, thread_id: str, *, holder: str = "", ttl: float = 15.0, instead_of: str = ""
    ) -> Lease | str:
        """Take the lease of a thread for `ttl` seconds, or return what its present holder says of itself.

        With `instead_of` it is taken from the holder that says so, whom the caller knows to be dead. From now on this
        saver's writes to the thread are refused (`LeaseLost`) as soon as anybody else has taken it.
        """
        return self._run(self._plan_acquire(thread_id, holder, ttl, instead_of))

    def renew_lease(self, lease: Lease, ttl: float = 15.0) -> bool:
        """Hold a lease for `ttl` seconds from now; False when it has expired or somebody else has it."""
        return self._run(self._plan_renew(lease, ttl))

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; False when it was somebody else's already, who keeps it."""
        return self._run(self._plan_release(lease))

    def lease_holder(self, thread_id: str) -> str:
        """Return what the holder of a thread's lease says of itself, an empty text for a thread that nobody holds."""
        return self._run(self._plan_holder(thread_id))

    def _run(self, plan: Plan[T]) -> T:
        raise NotImplementedError


class AsyncLeases(LeasePlans):
    """The operations of an async saver, as those of `SyncLeases`."""

    async def aacquire_lease(
        self, thread_id: str, *, holder: str = "", ttl: float = 15.0, instead_of: str = ""
    ) -> Lease | str:
        """Take the lease of a thread for `ttl` seconds, or return what its present holder says of itself.

        With `instead_of` it is taken from the holder that says so, whom the caller knows to be dead. From now on this
        saver's writes to the thread are refused (`LeaseLost`) as soon as anybody else has taken it.
        """
        return await self._arun(self._plan_acquire(thread_id, holder, ttl, instead_of))

    async def arenew_lease(self, lease: Lease, ttl: float = 15.0) -> bool:
        """Hold a lease for `ttl` seconds from now; False when it has expired or somebody else has it."""
        return await self._arun(self._plan_renew(lease, ttl))

    async def arelease_lease(self, lease: Lease) -> bool:
        """Give a lease back; False when it was somebody else's already, who keeps it."""
        return await self._arun(self._plan_release(lease))

    async def alease_holder(self, thread_id: str) -> str:
        """Return what the holder of a thread's lease says of itself, an empty text for a thread that nobody holds."""
        return await self._arun(self._plan_holder(thread_id))

    async def _arun(self, plan: Plan[T]) -> T:
        raise NotImplementedError


def _ms(seconds: float) -> int:
    if seconds <= 0:
        raise ValueError(f"a lease lasts more than 0 seconds, not {seconds:g}")
    return max(1, int(seconds * 1000))


def _text(raw: bytes | str | None) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw or ""


def _holder(value: str) -> str:
    return value.partition(" ")[2]
