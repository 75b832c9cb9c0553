"""What `surefoot doctor` finds among the threads: stalled ones, overdue questions, broken ones.

All threads are looked at, a page at a time, and of each finding only a few names are kept, so that memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from langchain_core.runnables import RunnableConfig

from checkpointers import RecordDamaged, SaverError, SaverUnavailable, ThreadConflict, TypeNotAllowed
from nodes import clock
from state import redact
from surefoot.broken import Broken, Kind, broken_by, broken_record, broken_state, of_seal
from surefoot.doctor import Finding, told_keys
from surefoot.errors import UsageError
from surefoot.foreign import UNREADABLE
from surefoot.questions import answerable
from surefoot.words import count, shell

if TYPE_CHECKING:
    from surefoot.store import Store
    from surefoot.threads import ThreadRecord

AT_ONCE = 32
"""Threads that are read at the same time."""
DAY_S = 86_400.0

KEYS: Final[frozenset[Kind]] = frozenset({"key_missing", "key_wrong"})

ASIDE: Final[frozenset[Kind]] = frozenset({"damaged", "field"})
"""What `--quarantine` puts aside: nothing that a key, a version or a program brings back."""


@dataclass
class Some:
    """How many threads something is true of, and which the first ones are."""

    number: int = 0
    keys: list[str] = field(default_factory=list)
    why: str = ""
    """About the first."""
    broken: Broken | None = None
    """What is broken about the first."""

    def add(self, key: str, broken: Broken | None = None) -> None:
        """Count one."""
        self.number += 1
        if len(self.keys) < 3:
            self.keys.append(key)
        if broken is not None and self.broken is None:
            self.why, self.broken = broken.told, broken

    def told(self, noun: str) -> str:
        """Name a few of them."""
        return told_keys(self.keys, noun, self.number)


@dataclass
class Survey:
    """What a look at all threads has found."""

    threads: int = 0
    today: int = 0
    """Threads begun in the last 24 hours."""
    stalled: Some = field(default_factory=Some)
    overdue: Some = field(default_factory=Some)
    broken: dict[Kind, Some] = field(default_factory=dict)
    """Threads that cannot be read or go on, by what is broken."""
    newer: Some = field(default_factory=Some)
    """Of a format that a newer version writes."""
    others: Some = field(default_factory=Some)
    """With types that only the program knows that they belong to."""
    damaged: list[ThreadRecord] = field(default_factory=list)
    """Those that no key and no other version brings back."""
    poisoned: set[str] = field(default_factory=set)
    """Ids of those among them that can be read, and hold a value that does not fit."""
    sealed: list[tuple[ThreadRecord, RecordDamaged]] = field(default_factory=list)
    """Those that their key does not open: whether it is the right one is known once all threads were read."""

    def add_broken(self, record: ThreadRecord, broken: Broken) -> None:
        """Sort in a thread that cannot be read or go on."""
        if broken.kind in ASIDE:
            self.damaged.append(record)
        if broken.kind == "field":
            self.poisoned.add(record.thread_id)
        self.broken.setdefault(broken.kind, Some()).add(record.key, broken)


async def survey(store: Store, *, deep: bool = False, on_read: Callable[[int], None] = lambda _n: None) -> Survey:
    """Look at all threads; `deep` reads the whole history of each, not its latest checkpoint alone."""
    found, now = Survey(), clock.now()
    async for page in store.pages():
        for record in page:
            found.threads += 1
            found.today += record.created_at > now - DAY_S
            if record.status == "stalled":
                found.stalled.add(record.key)
            if record.status == "waiting" and record.waits_for == "person" and (record.until or now) < now:
                found.overdue.add(record.key)
        for start in range(0, len(page), AT_ONCE):
            await asyncio.gather(*(_look(store, record, found, deep) for record in page[start : start + AT_ONCE]))
        on_read(found.threads)
    for record, error in found.sealed:
        found.add_broken(record, broken_by(record, error))
    return found


async def _look(store: Store, record: ThreadRecord, found: Survey, deep: bool) -> None:
    """Read one thread and sort it in."""
    try:
        broken = await _broken_about(store, record, deep)
    except RecordDamaged as error:
        found.sealed.append((record, error))
        return
    except UsageError:
        found.others.add(record.key)
        return
    if broken is None:
        return
    if broken.kind in ("newer_format", "newer_record"):
        found.newer.add(record.key, broken)
    else:
        found.add_broken(record, broken)


async def _broken_about(store: Store, record: ThreadRecord, deep: bool) -> Broken | None:
    """Return what is broken about a thread, None for nothing.

    Raises `RecordDamaged` for what its key does not open, and `UsageError` for a thread of another program.
    """
    whole: RunnableConfig = {"configurable": {"thread_id": record.thread_id}}
    try:
        raw = await store.channels(record.thread_id)
        if deep:
            async for _ in store.saver.alist(whole):
                pass
    except TypeNotAllowed as error:
        if not answerable(record) or isinstance(error.__cause__, UsageError):
            raise UsageError(str(error)) from None
        return broken_by(record, error)
    except UNREADABLE as error:
        if of_seal(error):
            raise
        return broken_by(record, error)
    except SaverUnavailable:
        raise
    except SaverError as error:
        return broken_by(record, RecordDamaged(str(error)))
    if broken := broken_record(record):
        return broken
    if not answerable(record):
        return None
    broken = broken_state(record, raw)
    if broken is not None and broken.kind == "graph":
        raise UsageError(broken.told)
    # Threads of other versions are told when they are taken up: two versions may work side by side.
    return None if broken is not None and broken.kind == "version" else broken


async def examine_threads(
    store: Store,
    *,
    repair: bool = False,
    quarantine: bool = False,
    restore: Sequence[str] = (),
    discard: Sequence[str] = (),
    deep: bool = False,
    on_read: Callable[[int], None] = lambda _n: None,
) -> tuple[list[Finding], Survey]:
    """Look through the threads that the server holds, after what was asked for is done."""
    findings = [await _put_back(store, thread) for thread in restore]
    findings += [await _deleted(store, thread) for thread in discard]
    if repair:
        told = f"{count(await store.repair(), 'thread')} read, the registry written anew"
        if written := await _records_written_anew(store):
            told += f", and {told_keys(written, 'record')}"
        findings.append(Finding(name="registry", level="ok", told=told))
    found = await survey(store, deep=deep, on_read=on_read)
    findings.append(Finding(name="threads", level="ok", told=count(found.threads, "thread")))
    findings += _findings(found)
    if KEYS & found.broken.keys():
        # Which bytes are whole is known once every key is here.
        found.damaged = [record for record in found.damaged if record.thread_id in found.poisoned]
    if quarantine and found.damaged:
        findings.append(await _quarantined(store, found.damaged, deep))
        findings += _broken(found, but={"field"} if KEYS & found.broken.keys() else ASIDE)
    else:
        findings += _broken(found)
    return [*findings, *await _aside(store)], found


async def _records_written_anew(store: Store) -> list[str]:
    """Replace damaged records by what the checkpoints of their threads tell, where nobody works; return their keys."""
    written = []
    async with store.leases.renewing():
        for record in [one for one in await store.records() if one.damage == "record" and one.key != one.thread_id]:
            if not await store.acquire(record.thread_id):
                continue
            try:
                await store.save(record)
                written.append(record.key)
            finally:
                await store.release(record.thread_id)
    return written


def _findings(found: Survey) -> list[Finding]:
    findings = []
    if found.stalled.number:
        told = found.stalled.told("thread")
        findings.append(Finding(name="stalled", level="warn", told=told, advice=shell("resume", "--all")))
    if found.overdue.number:
        told = found.overdue.told("question")
        findings.append(Finding(name="overdue", level="warn", told=told, advice=shell("inbox")))
    if found.newer.number:
        findings.append(Finding(name="newer", level="warn", told=f"{found.newer.told('thread')} ({found.newer.why})",
                                advice="update this installation to the version of the others"))  # fmt: skip
    if found.others.number:
        number, _, keys = found.others.told("thread").partition(": ")
        verb, whose = ("holds", "its") if found.others.number == 1 else ("hold", "their")
        told = f"{number} {verb} types that only {whose} own program knows: {keys}"
        findings.append(Finding(name="types of others", level="ok", told=told))
    return findings


async def _quarantined(store: Store, damaged: Sequence[ThreadRecord], deep: bool) -> Finding:
    """Put threads aside that are damaged still, and that nobody works on."""
    aside, busy = [], []
    async with store.leases.renewing():
        for record in damaged:
            if not await store.acquire(record.thread_id):
                busy.append(record.key)
                continue
            try:
                # It may have been deleted, run again or put back since it was looked at.
                if await _is_damaged(store, record, deep):
                    await store.put_aside(await store.get(record.thread_id) or record)
                    aside.append(record.key)
            finally:
                await store.release(record.thread_id)
    told = [f"{told_keys(aside, 'damaged thread')} put aside"] if aside else []
    told += [f"{told_keys(busy, 'damaged thread')} left alone, because somebody works there"] if busy else []
    return Finding(name="quarantine", level="warn", told="; ".join(told) or "nothing is damaged any more",
                   advice="run these items again with --rerun" if aside else "")  # fmt: skip


async def _is_damaged(store: Store, record: ThreadRecord, deep: bool) -> bool:
    try:
        broken = await _broken_about(store, record, deep)
    except RecordDamaged as error:
        broken = broken_by(record, error)
    except UsageError:
        return False
    return broken is not None and broken.kind in ASIDE


def _broken(found: Survey, but: Collection[Kind] = ()) -> list[Finding]:
    """Return a finding for each way in which threads are broken, with the one thing that helps."""
    findings = []
    for kind, some in found.broken.items():
        if kind in but or some.broken is None:
            continue
        advice = f"{some.broken.advice}{f': {some.broken.command}' if some.broken.command else ''}"
        told = f"{some.told('thread')} ({some.why})"
        findings.append(Finding(name="broken", level="fail", told=told,
                                advice=f"{shell('explain', some.keys[0])} tells more; {advice}"))  # fmt: skip
    if not findings:
        told = f"none, {count(found.threads, 'thread')} looked at" if not found.broken else "none other"
        return [Finding(name="broken", level="ok", told=told)]
    return findings


async def _aside(store: Store) -> list[Finding]:
    """Tell of the threads that were put aside, now or earlier; with `--json` all of them are named."""
    keys = await store.put_aside_before()
    if not keys:
        return []
    advice = f"{shell('doctor', '--restore', keys[0])} puts one back as it was, --discard deletes it"
    return [Finding(name="put aside", level="warn", told=told_keys(keys, "thread"), advice=advice, threads=keys)]


async def _put_back(store: Store, thread: str) -> Finding:
    try:
        if await store.restore(thread):
            return Finding(name="restore", level="ok", told=f"{thread} is back as it was")
        told, advice = f"nothing of {thread} was put aside", shell("doctor")
    except ThreadConflict as error:
        told, advice = redact(str(error)), f"to have the old one back, delete the new one first, or {thread} stays"
    except SaverError as error:
        told, advice = redact(str(error)), ""
    return Finding(name="restore", level="fail", told=told, advice=advice)


async def _deleted(store: Store, thread: str) -> Finding:
    if await store.discard(thread):
        return Finding(name="discard", level="ok", told=f"what was put aside of {thread} is deleted")
    return Finding(name="discard", level="fail", told=f"nothing of {thread} was put aside", advice=shell("doctor"))
