"""What `surefoot doctor` finds among the threads: stalled ones, overdue questions, broken ones.

All threads are looked at, a page at a time, and of each finding only a few names are kept, so that memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import InvalidUpdateError

from checkpointers import (
    KeyMissing,
    RecordDamaged,
    SaverError,
    SaverUnavailable,
    ThreadConflict,
    ThreadFormatUnknown,
    TypeNotAllowed,
)
from nodes import clock
from state import Checked, redact
from surefoot.doctor import Finding, told_keys
from surefoot.errors import UsageError
from surefoot.foreign import UNREADABLE
from surefoot.pipelines import Pipeline, pipeline
from surefoot.questions import answerable
from surefoot.words import count, shell

if TYPE_CHECKING:
    from surefoot.store import Store
    from surefoot.threads import ThreadRecord

AT_ONCE = 32
"""Threads that are read at the same time."""
DAY_S = 86_400.0


@dataclass
class Some:
    """How many threads something is true of, and which the first ones are."""

    number: int = 0
    keys: list[str] = field(default_factory=list)
    why: str = ""
    """About the first."""

    def add(self, key: str, why: str = "") -> None:
        """Count one."""
        self.number += 1
        if len(self.keys) < 3:
            self.keys.append(key)
        self.why = self.why or why

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
    broken: Some = field(default_factory=Some)
    newer: Some = field(default_factory=Some)
    """Of a format that a newer version writes."""
    others: Some = field(default_factory=Some)
    """With types that only the program knows that they belong to."""
    damaged: list[ThreadRecord] = field(default_factory=list)
    key_missing: bool = False


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
    return found


async def _look(store: Store, record: ThreadRecord, found: Survey, deep: bool) -> None:
    """Read one thread and sort it in."""
    try:
        why = await _why_broken(store, record, deep)
    except RecordDamaged as error:
        why = redact(str(error))
        found.key_missing = found.key_missing or isinstance(error, KeyMissing)
        found.damaged.append(record)
        if found.key_missing:
            # Nobody can tell what is whole, so nothing will be put aside.
            found.damaged.clear()
    except ThreadFormatUnknown as error:
        found.newer.add(record.key, redact(str(error)))
        return
    except UsageError:
        found.others.add(record.key)
        return
    except TypeNotAllowed as error:
        if not answerable(record) or isinstance(error.__cause__, UsageError):
            found.others.add(record.key)
            return
        why = redact(str(error))
    if why:
        found.broken.add(record.key, why)


async def _why_broken(store: Store, record: ThreadRecord, deep: bool) -> str:
    """Return what is wrong with a thread's values, an empty text for nothing.

    Raises what reading it raises, and `UsageError` where its graph cannot be imported.
    """
    whole: RunnableConfig = {"configurable": {"thread_id": record.thread_id}}
    try:
        raw = await store.channels(record.thread_id)
        if deep:
            async for _ in store.saver.alist(whole):
                pass
        if not answerable(record):
            return ""
        return _why_unreadable(pipeline(record.pipeline, record.spec), raw.values)
    except (SaverUnavailable, *UNREADABLE):
        raise
    except SaverError as error:
        return redact(str(error))


def _why_unreadable(found: Pipeline, values: dict[str, Any]) -> str:
    """Return the first value that its field would not take, or an empty string."""
    channels = found.graph.channels
    for name, value in values.items():
        channel = channels.get(name)
        if isinstance(channel, Checked):
            try:
                channel.adapter.validate_python(value)
            except (ValueError, InvalidUpdateError):
                return f"field {name!r} holds a value that does not fit"
    return ""


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
        findings.append(Finding(name="registry", level="ok", told=told))
    found = await survey(store, deep=deep, on_read=on_read)
    findings.append(Finding(name="threads", level="ok", told=count(found.threads, "thread")))
    findings += _findings(found)
    # Without a key nobody can tell what is whole: it is the key that has to be found first.
    if quarantine and found.damaged and not found.key_missing:
        findings.append(await _quarantined(store, found.damaged, deep))
    else:
        findings.append(_broken(found))
    return [*findings, *await _aside(store)], found


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
        await _why_broken(store, record, deep)
    except RecordDamaged as error:
        return not isinstance(error, KeyMissing)
    except (TypeNotAllowed, ThreadFormatUnknown, UsageError):
        pass
    return False


def _broken(found: Survey) -> Finding:
    if not found.broken.number:
        return Finding(name="broken", level="ok", told=f"none, {count(found.threads, 'thread')} looked at")
    first = found.broken.keys[0]
    return Finding(name="broken", level="fail", told=f"{found.broken.told('thread')} ({found.broken.why})",
                   advice=f"{shell('explain', first)}; run the item again with --rerun, or put damaged "
                   f"threads aside with {shell('doctor', '--quarantine')}")  # fmt: skip


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
