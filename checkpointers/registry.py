"""A registry of threads and an inbox, so that nobody has to scan a server to know what is on it.

A saver with `registry=True` notes beside each write what changed: the latest checkpoint of the root namespace, whether
anything is next, the `outcome`, pending interrupts with their tier and due time, the class of an error. Notes go into
one of 64 shards by the thread's id, so that no key is hot and no script needs two slots of a cluster. A note that was
lost (an outage between the two commands) is made up for by `reconcile`.

A note is sent together with its write, because waiting for the answer would double the time of each superstep. So it
cannot know whether the write was refused. It carries the token of the writer's lease instead, and whoever takes a lease
notes its token before anything else: from then on the notes of former holders are refused as their writes are. Where a
holder was replaced who had not given the lease back, the thread is then read once, in case that one's last note came in
between. Deletions are rare, and are noted when they are done. Left are writes that the server refuses for other reasons
(its memory is full, the thread is of a newer format) and holders that were frozen for more than the day that a lease is
known for: `reconcile` mends what they leave.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from . import _scripts as scripts
from ._base import Plan, config_of
from ._notes import SHARDS, key_of, keys_of, raw_of, standing_of, told_by
from ._reading import ReadPlans
from ._scripts import Argument, Call
from .errors import RecordDamaged, SaverError, ThreadFormatUnknown, TypeNotAllowed

T = TypeVar("T")
_log = logging.getLogger("surefoot.saver")
UNREADABLE: Final = (RecordDamaged, TypeNotAllowed, ThreadFormatUnknown)
Order = Literal["newest", "soonest"]
Status = Literal["done", "failed", "waiting", "running", "stalled"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A pending interrupt."""

    id: str
    tier: str = ""
    due_at: float | None = None
    """Seconds since the epoch, from the `due_at` of the interrupt's value."""


@dataclass(frozen=True, slots=True)
class ThreadEntry:
    """What the registry knows of a thread."""

    thread_id: str
    checkpoint_id: str
    """The latest of the root namespace; empty before the first."""
    changed_at: float
    """Seconds since the epoch, by the server's clock."""
    next: bool
    """Whether a node is to run next."""
    outcome: str = ""
    """The text in the channel `outcome`, of graphs that have one; with keys only `done` or `failed`."""
    interrupts: tuple[Asked, ...] = ()
    error: str = ""
    """The class of the exception that a task ended with at the latest checkpoint."""

    def status(self, *, held: bool) -> Status:
        """Say where the thread stands; `held` tells whether a living worker has its lease."""
        if self.interrupts:
            return "waiting"
        if held:
            return "running"
        if self.outcome:
            return "failed" if self.outcome.startswith("failed") else "done"
        if self.error:
            return "failed"
        return "stalled" if self.next or not self.checkpoint_id else "done"


class RegistryPlans(ReadPlans):
    """Notes beside writes, and what is asked of the registry."""

    def _note(self, thread_id: str, ns: str, kind: str, checkpoint_id: str, *args: Argument) -> Call | None:
        """Return the command beside a write, None for a saver without a registry and for subgraphs."""
        if not self.registry or ns:
            return None
        token = self._fence(thread_id)
        told = (
            raw_of(thread_id),
            token,
            kind,
            raw_of(checkpoint_id),
            *(raw_of(a) if isinstance(a, str) else a for a in args),
        )
        return Call(scripts.REGISTER, thread_id, told, keys=keys_of(thread_id))

    def _note_put(self, thread_id: str, ns: str, checkpoint: Checkpoint) -> Call | None:
        if not self.registry or ns:
            return None
        return self._note(thread_id, ns, "put", checkpoint["id"], *self._standing(checkpoint))

    def _note_writes(
        self, thread_id: str, ns: str, checkpoint_id: str, task_id: str, writes: Iterable[tuple[str, Any]]
    ) -> Call | None:
        """Return a note where a task asks or fails; other writes change nothing that is registered."""
        if not self.registry or ns:
            return None
        told = [(channel, value) for channel, value in writes if channel in (INTERRUPT, ERROR)]
        if not told:
            return None
        error, asked = told_by(told)
        return self._note(thread_id, ns, "write", checkpoint_id, task_id, error, *asked)

    def _standing(self, checkpoint: Checkpoint) -> tuple[str, str]:
        """Return whether anything is next, and the outcome; with keys only what it means, for its text is content."""
        goes_on, outcome = standing_of(checkpoint)
        if outcome and self.encryption is not None:
            outcome = "failed" if outcome.startswith("failed") else "done"
        return goes_on, outcome

    def _plan_seen(self, thread_id: str) -> Plan[None]:
        if (note := self._note(thread_id, "", "seen", "")) is not None:
            yield note

    def _plan_drop(self, thread_id: str) -> Plan[None]:
        """Note that a thread is gone, which it is whatever becomes of the note."""
        if (note := self._note(thread_id, "", "drop", "")) is None:
            return
        try:
            yield note
        except SaverError as error:
            _log.warning("a note for the registry was lost: %s", type(error).__name__)

    def _plan_taken(self, lease: Call, thread_id: str, *, left: bool) -> Plan[None]:
        """Note the token of a lease that was just taken, and what the thread is where its last holder may be wrong.

        The note goes beside another call for the lease, so that it holds nobody up when it is lost.
        """
        if (note := self._note(thread_id, "", "taken", "")) is None:
            return
        try:
            yield replace(lease, beside=note)
            if left:
                # A thread that was seen and has no checkpoint yet keeps its entry.
                yield from self._plan_reconcile(thread_id, keep_seen=True)
        except SaverError as error:
            _log.warning("a thread was not noted anew: %s", type(error).__name__)

    def _unlist(self, entry: ThreadEntry) -> Call:
        """Return the call that removes an entry as it was read."""
        told = (raw_of(entry.thread_id), time_of(entry))
        return Call(scripts.UNLIST, entry.thread_id, told, keys=keys_of(entry.thread_id))

    def _plan_registered(self, order: Order, limit: int | None) -> Plan[list[ThreadEntry]]:
        """Read the first entries of all shards in one go."""
        name = "changed" if order == "newest" else "waiting"
        calls = [
            Call(scripts.REGISTERED, "", (order, limit or 10**9), keys=(key_of(shard, "threads"), key_of(shard, name)))
            for shard in range(SHARDS)
        ]
        replies = yield calls
        found = [entry for reply in replies for entry in entries_of(reply)]
        if order == "newest":
            found.sort(key=lambda entry: (-entry.changed_at, entry.thread_id))
        else:
            found.sort(key=lambda entry: (_due(entry), entry.thread_id))
        return found if limit is None else found[:limit]

    def _plan_entry(self, thread_id: str) -> Plan[ThreadEntry | None]:
        keys = keys_of(thread_id)
        found = entries_of((yield Call(scripts.REGISTERED, thread_id, (raw_of(thread_id),), keys=keys[:2])))
        return found[0] if found else None

    def _plan_noted(self, thread_id: str) -> Plan[None]:
        """Note what a thread is after a change that was no put."""
        if self.registry:
            yield from self._plan_reconcile(thread_id)

    def _plan_reconcile(self, thread_id: str, *, keep_seen: bool = False) -> Plan[None]:
        """Write what a reading of a thread says, unless a note has come meanwhile; one without checkpoints goes."""
        known = yield from self._plan_entry(thread_id)
        found = yield from self._plan_get(latest_of(thread_id))
        if found is None:
            if known is not None and not (keep_seen and not known.checkpoint_id):
                yield self._unlist(known)
            return
        error, asked = told_by([(channel, value) for _task, channel, value in found.pending_writes or ()])
        args = (*self._standing(found.checkpoint), error, "" if known is None else time_of(known), *asked)
        if (note := self._note(thread_id, "", "set", found.checkpoint["id"], *args)) is not None:
            yield note


class SyncRegistry(RegistryPlans):
    """The registry of a sync saver."""

    def list_threads(self, limit: int | None = None) -> list[ThreadEntry]:
        """Return the threads that changed last, at most `limit`; one trip, whatever else is on the server."""
        return self._run(self._plan_registered("newest", limit))

    def list_waiting(self, limit: int | None = None) -> list[ThreadEntry]:
        """Return the threads with pending interrupts, those first whose answer is due first."""
        return self._run(self._plan_registered("soonest", limit))

    def find_thread(self, thread_id: str) -> ThreadEntry | None:
        """Return what the registry knows of one thread."""
        return self._run(self._plan_entry(thread_id))

    def reconcile(self, thread_ids: Iterable[str] | None = None) -> int:
        """Write the entries of threads anew from their checkpoints, those of all threads by default; return how many.

        Threads without checkpoints lose their entry, those that cannot be read keep it. All threads means a scan of
        the server.
        """
        done = 0
        known = [entry.thread_id for entry in self.list_threads()] if thread_ids is None else []
        for thread_id in dict.fromkeys([*known, *self._threads()] if thread_ids is None else thread_ids):
            with suppress(*UNREADABLE):
                self._run(self._plan_reconcile(thread_id))
                done += 1
        return done

    def _run(self, plan: Plan[T]) -> T:
        raise NotImplementedError

    def _threads(self) -> Iterator[str]:
        raise NotImplementedError


class AsyncRegistry(RegistryPlans):
    """The registry of an async saver, as that of `SyncRegistry`."""

    async def alist_threads(self, limit: int | None = None) -> list[ThreadEntry]:
        """Return the threads that changed last, at most `limit`; one trip, whatever else is on the server."""
        return await self._arun(self._plan_registered("newest", limit))

    async def alist_waiting(self, limit: int | None = None) -> list[ThreadEntry]:
        """Return the threads with pending interrupts, those first whose answer is due first."""
        return await self._arun(self._plan_registered("soonest", limit))

    async def afind_thread(self, thread_id: str) -> ThreadEntry | None:
        """Return what the registry knows of one thread."""
        return await self._arun(self._plan_entry(thread_id))

    async def anote_thread(self, thread_id: str) -> None:
        """Put a thread to the registry before its first checkpoint."""
        await self._arun(self._plan_seen(thread_id))

    async def areconcile(self, thread_ids: Iterable[str] | None = None) -> int:
        """Write the entries of threads anew from their checkpoints, those of all threads by default; return how many.

        Threads without checkpoints lose their entry, those that cannot be read keep it. All threads means a scan of
        the server.
        """
        if thread_ids is None:
            known = [entry.thread_id for entry in await self.alist_threads()]
            thread_ids = dict.fromkeys([*known, *[thread_id async for thread_id in self._threads()]])
        done = 0
        for thread_id in thread_ids:
            with suppress(*UNREADABLE):
                await self._arun(self._plan_reconcile(thread_id))
                done += 1
        return done

    async def _arun(self, plan: Plan[T]) -> T:
        raise NotImplementedError

    def _threads(self) -> AsyncIterator[str]:
        raise NotImplementedError


def latest_of(thread_id: str) -> Any:
    """Return the config that names the latest checkpoint of a thread's root namespace."""
    config = config_of(thread_id, "", "")
    del config["configurable"]["checkpoint_id"]
    return config


def entries_of(flat: Sequence[bytes]) -> list[ThreadEntry]:
    """Return the entries of pairs of thread and what is stored for it."""
    found = []
    for thread, raw in zip(flat[::2], flat[1::2], strict=True):
        told = json.loads(raw.decode("utf-8", "surrogatepass"))
        # What was written belongs to the latest checkpoint or to one that is history.
        now = told["w"] == told["c"] and bool(told["c"])
        listed = [one for asked in told["i"].values() for one in asked] if now and isinstance(told["i"], dict) else []
        asked = tuple(Asked(id_, tier, float(due) if due else None) for id_, tier, due in listed)
        found.append(
            ThreadEntry(
                thread_id=thread.decode("utf-8", "surrogatepass"),
                checkpoint_id=told["c"],
                changed_at=int(told["t"]) / 1e6,
                next=told["n"],
                outcome=told["o"],
                interrupts=tuple({one.id: one for one in asked}.values()),
                error=told["e"] if now else "",
            )
        )
    return found


def _due(entry: ThreadEntry) -> float:
    return min((one.due_at for one in entry.interrupts if one.due_at is not None), default=float("inf"))


def time_of(entry: ThreadEntry) -> str:
    """Return when an entry changed, as it is stored: in microseconds."""
    return f"{entry.changed_at * 1e6:.0f}"
