"""What `surefoot doctor` finds among the threads: stalled ones, overdue questions, broken ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from langgraph.errors import InvalidUpdateError

from checkpointers import KeyMissing, RecordDamaged, SaverError
from state import Checked, redact
from surefoot.doctor import Finding, told_keys
from surefoot.errors import UsageError
from surefoot.pipelines import Pipeline, pipeline
from surefoot.words import count, shell

if TYPE_CHECKING:
    from surefoot.store import Store
    from surefoot.threads import ThreadRecord

MAX_READ = 500
"""Most threads that are read in full: the unfinished ones first."""


async def examine_threads(store: Store, *, repair: bool = False, quarantine: bool = False) -> list[Finding]:
    """Look through the threads that the server holds."""
    findings = []
    if repair:
        told = f"{count(await store.repair(), 'thread')} read, the registry written anew"
        findings.append(Finding(name="registry", level="ok", told=told))
    records = await store.records()
    findings.append(Finding(name="threads", level="ok", told=count(len(records), "thread")))
    stalled = [record.key for record in records if record.status == "stalled"]
    if stalled:
        findings.append(Finding(name="stalled", level="warn", told=told_keys(stalled, "thread"),
                                advice=shell("resume", "--all")))  # fmt: skip
    now = time.time()
    late = [r.key for r in records if r.waits_for == "person" and r.status == "waiting" and (r.until or now) < now]
    if late:
        findings.append(Finding(name="overdue", level="warn", told=told_keys(late, "question"), advice=shell("inbox")))
    return findings + await _broken(store, records, quarantine=quarantine)


async def _broken(store: Store, records: list[ThreadRecord], *, quarantine: bool) -> list[Finding]:
    """Read threads and check every value against its field; finished ones only as far as time allows."""
    order = sorted(records, key=lambda record: record.status == "done")[:MAX_READ]
    broken: dict[str, str] = {}
    damaged: list[ThreadRecord] = []
    key_missing = False
    for record in order:
        try:
            why = await _why_broken(store, record)
        except RecordDamaged as error:
            why = redact(str(error))
            key_missing = key_missing or isinstance(error, KeyMissing)
            damaged.append(record)
        if why:
            broken[record.key] = why
    # Without a key nobody can tell what is whole: it is the key that has to be found first.
    if quarantine and damaged and not key_missing:
        for record in damaged:
            await store.put_aside(record)
        told = f"{told_keys([record.key for record in damaged], 'damaged thread')} put aside"
        return [Finding(name="quarantine", level="warn", told=told, advice="run these items again with --rerun")]
    if not broken:
        return [Finding(name="broken", level="ok", told=f"none, {count(len(order), 'thread')} read")]
    first = next(iter(broken))
    return [Finding(name="broken", level="fail", told=f"{told_keys(list(broken), 'thread')} ({broken[first]})",
                    advice=f"{shell('explain', first)}; run the item again with --rerun, or put damaged "
                    f"threads aside with {shell('doctor', '--quarantine')}")]  # fmt: skip


async def _why_broken(store: Store, record: ThreadRecord) -> str:
    try:
        raw = await store.channels(record.thread_id)
        return _why_unreadable(pipeline(record.pipeline, record.spec), raw.values)
    except RecordDamaged:
        raise
    except (UsageError, SaverError) as error:
        return redact(str(error))


def _why_unreadable(found: Pipeline, values: dict[str, Any]) -> str:
    """Return the first value that its field would not take, or an empty string."""
    channels = found.graph.channels
    for field, value in values.items():
        channel = channels.get(field)
        if isinstance(channel, Checked):
            try:
                channel.adapter.validate_python(value)
            except (ValueError, InvalidUpdateError):
                return f"field {field!r} holds a value that does not fit"
    return ""
