"""Leases of threads: one worker writes to a thread at a time, because LangGraph itself locks none.

A lease expires unless its holder renews it. Each has a fencing token (Kleppmann, "How to do distributed locking", 2016)
that grows with every holder. All that a saver does to a thread whose lease it took carries the token, and the server
refuses it once somebody else has taken the thread (`LeaseLost`), also from a process that was frozen and does not
know, and whatever became of the thread meanwhile. A lease that expired while nobody took the thread may be written
under for a day. Giving a lease back ends this, except for one that was lost: the saver is refused until it takes the
thread again. Who takes no leases is not held up by them.

The token belongs to the saver and the thread, not to who asked for it. Two workers of one process that may hold the
same thread in turn need a saver each; else the writes of the first go out with the token of the second.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TypeVar

from . import _scripts as scripts
from ._base import Plan
from ._codec import lease_key
from ._scripts import Argument, Call
from .registry import RegistryPlans

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder has in hand."""

    thread_id: str
    token: str
    holder: str
    """What the holder says of itself, such as its host and process."""


class LeasePlans(RegistryPlans):
    """Each operation on leases, as a plan."""

    def _plan_acquire(self, thread_id: str, holder: str, ttl: float, instead_of: str) -> Plan[Lease | str]:
        """Return the lease, or what its present holder says of itself."""
        request = secrets.token_hex(8)
        token, current, left = yield _call(thread_id, "acquire", _ms(ttl), request, holder, instead_of)
        if not int(token):
            return _text(current)
        lease = Lease(thread_id, _text(token), holder)
        self._fences[thread_id] = lease.token
        yield from self._plan_taken(_renewal(lease, ttl), thread_id, left=bool(left))
        return lease

    def _plan_renew(self, lease: Lease, ttl: float) -> Plan[bool]:
        return bool((yield _renewal(lease, ttl)))

    def _plan_release(self, lease: Lease) -> Plan[bool]:
        ours = bool((yield _call(lease.thread_id, "release", lease.token)))
        # Who lost a lease may have work under way that does not know it yet: that stays refused.
        if ours and self._fences.get(lease.thread_id) == lease.token:
            del self._fences[lease.thread_id]
        return ours

    def _plan_holder(self, thread_id: str) -> Plan[str]:
        return _text((yield _call(thread_id, "holder")))


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
        """Hold a lease for `ttl` seconds from now; False when it was given back or to somebody else."""
        return self._run(self._plan_renew(lease, ttl))

    def release_lease(self, lease: Lease) -> bool:
        """Give a lease back; False when somebody else has taken the thread since.

        After that this saver's writes to the thread stay refused until it takes the thread again.
        """
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
        """Hold a lease for `ttl` seconds from now; False when it was given back or to somebody else."""
        return await self._arun(self._plan_renew(lease, ttl))

    async def arelease_lease(self, lease: Lease) -> bool:
        """Give a lease back; False when somebody else has taken the thread since.

        After that this saver's writes to the thread stay refused until it takes the thread again.
        """
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


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw


def _call(thread_id: str, *args: Argument) -> Call:
    return Call(scripts.LEASE, thread_id, args, keys=(lease_key(thread_id),))


def _renewal(lease: Lease, ttl: float) -> Call:
    return _call(lease.thread_id, "renew", _ms(ttl), lease.token)
