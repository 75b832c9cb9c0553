"""What `surefoot doctor` finds out about the server: what it keeps on disk, what it throws away, how full it gets.

Of a cluster each primary is asked, because each keeps a part of the threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surefoot.doctor import Finding, Level
from surefoot.settings import settings
from surefoot.words import count

if TYPE_CHECKING:
    from surefoot.store import Store

SAMPLE = 100
"""Threads whose memory is asked for: those that changed last."""
FULL = 0.8
"""Part of the memory from which a server is nearly full: it needs room for copies while it writes to its disk."""


async def examine_server(store: Store, today: int = 0) -> list[Finding]:
    """Look at how each server is set up and how full it is; `today` is the number of threads of the last 24 hours."""
    infos = await store.server_infos()
    first = next(iter(infos.values()))
    name = "Valkey" if "valkey_version" in first else "Redis"
    versions = sorted({str(i.get("valkey_version") or i.get("redis_version", "?")) for i in infos.values()})
    used = sum(_number(info, "used_memory") for info in infos.values())
    primaries = f", {len(infos)} primaries" if len(infos) > 1 else ""
    told = f"{name} {', '.join(versions)}{primaries}, {told_bytes(used)} used"
    findings = [Finding(name="server", level="ok", told=told), persistence(infos)]
    worst = sorted(((eviction(info), node) for node, info in infos.items()), key=lambda one: -_LEVELS[one[0].level])
    found, node = worst[0]
    if found.level != "ok" and len(infos) > 1:
        found = found.model_copy(update={"told": f"{node}: {found.told}"})
    return [*findings, found, *await _memory(store, infos, today), _keys()]


_LEVELS = {"ok": 0, "warn": 1, "fail": 2}


def persistence(infos: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Say which servers lose what they were told last."""
    lacking = [
        n for n, i in infos.items() if str(i.get("aof_enabled", i.get("appendonly"))) not in ("1", "yes", "True")
    ]
    if not lacking:
        return Finding(name="persistence", level="ok", told="append-only file on")
    where = f" on {', '.join(lacking)}" if len(infos) > 1 else ""
    told = f"the append-only file is off{where}: a restart of the server loses what it has not saved"
    return Finding(name="persistence", level="warn", told=told, advice="set appendonly yes")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Say whether a full server would delete threads."""
    policy = str(info.get("maxmemory_policy") or info.get("maxmemory-policy") or "unknown")
    limited = str(info.get("maxmemory", 0)) != "0"
    if policy == "noeviction" or not limited:
        told = policy if limited else f"{policy}, no memory limit"
        return Finding(name="eviction", level="ok", told=told)
    level: Level = "fail" if policy.startswith("allkeys") else "warn"
    return Finding(name="eviction", level=level, told=f"{policy}: a full server deletes threads that are still needed",
                   advice="set maxmemory-policy noeviction")  # fmt: skip


async def _memory(store: Store, infos: Mapping[str, Mapping[str, Any]], today: int) -> list[Finding]:
    """Say how much room is left on the server that is fullest, and how much room a day of runs takes on all."""
    room: dict[str, tuple[float, float]] = {}
    for node, info in infos.items():
        if limit := _number(info, "maxmemory") or _number(info, "total_system_memory"):
            room[node] = _number(info, "used_memory"), limit
    findings = []
    if room:
        node, (used, limit) = max(room.items(), key=lambda one: one[1][0] / one[1][1])
        told = f"{told_bytes(used)} of {told_bytes(limit)} used" + (f" on {node}" if len(infos) > 1 else "")
        full = used > FULL * limit
        advice = "raise maxmemory, or keep finished threads for a shorter time" if full else ""
        findings.append(Finding(name="memory", level="warn" if full else "ok", told=told, advice=advice))
    newest = await store.saver.alist_threads(SAMPLE)
    sizes = await store.memory_of([entry.thread_id for entry in newest])
    if sizes:
        left = sum(limit - used for used, limit in room.values()) if room else None
        findings.append(day_of_runs(sum(sizes) / len(sizes), today, left))
    return findings


def day_of_runs(size: float, today: int, room: float | None) -> Finding:
    """Say what the runs of a day take, and those of all days for which finished threads are kept; bytes."""
    days = settings().retention_days
    told = f"a thread takes {told_bytes(size)}; {count(today, 'thread')} in 24 hours: {told_bytes(size * today)} a day"
    if not days:
        return Finding(name="a day of runs", level="ok", told=f"{told}, kept for ever")
    whole = size * today * days
    told += f", {told_bytes(whole)} for the {days:g} days that finished ones are kept"
    if room is None or whole <= room:
        return Finding(name="a day of runs", level="ok", told=told)
    return Finding(name="a day of runs", level="warn", told=f"{told}: more than the {told_bytes(room)} that are left",
                   advice="set SUREFOOT_RETENTION_DAYS lower, or give the server more memory")  # fmt: skip


def _keys() -> Finding:
    from checkpointers.encryption import VARIABLE, Encryption

    told = (
        "checkpoints and kept answers are encrypted"
        if Encryption.from_environment()
        else f"off; {VARIABLE} turns it on"
    )
    return Finding(name="encryption", level="ok", told=told)


def _number(info: Mapping[str, Any], name: str) -> float:
    try:
        return float(info.get(name) or 0)
    except (TypeError, ValueError):
        return 0.0


def told_bytes(size: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
