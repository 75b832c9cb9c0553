"""What `surefoot doctor` finds out about the server: what it keeps on disk, what it throws away, how full it gets."""

from __future__ import annotations

import time
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
DAY_S = 86_400.0


async def examine_server(store: Store) -> list[Finding]:
    """Look at how the server is set up and how full it is."""
    info = await store.server_info()
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "?")
    findings = [
        Finding(name="server", level="ok", told=f"{name} {version}, {told_bytes(_number(info, 'used_memory'))} used")
    ]
    if str(info.get("aof_enabled", info.get("appendonly"))) in ("1", "yes", "True"):
        findings.append(Finding(name="persistence", level="ok", told="append-only file on"))
    else:
        findings.append(Finding(name="persistence", level="warn", told="the append-only file is off: a restart of the "
                                "server loses what it has not saved", advice="set appendonly yes"))  # fmt: skip
    return [*findings, eviction(info), *await _memory(store, info), _keys()]


def eviction(info: dict[str, Any]) -> Finding:
    """Say whether a full server would delete threads."""
    policy = str(info.get("maxmemory_policy") or info.get("maxmemory-policy") or "unknown")
    limited = str(info.get("maxmemory", 0)) != "0"
    if policy == "noeviction" or not limited:
        told = policy if limited else f"{policy}, no memory limit"
        return Finding(name="eviction", level="ok", told=told)
    level: Level = "fail" if policy.startswith("allkeys") else "warn"
    return Finding(name="eviction", level=level, told=f"{policy}: a full server deletes threads that are still needed",
                   advice="set maxmemory-policy noeviction")  # fmt: skip


async def _memory(store: Store, info: dict[str, Any]) -> list[Finding]:
    """Say how much room is left, and how much of it a day of runs takes."""
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory") or _number(info, "total_system_memory")
    findings = []
    if limit:
        told = f"{told_bytes(used)} of {told_bytes(limit)} used"
        full = used > FULL * limit
        advice = "raise maxmemory, or keep finished threads for a shorter time" if full else ""
        findings.append(Finding(name="memory", level="warn" if full else "ok", told=told, advice=advice))
    records = await store.records()
    sizes = await store.memory_of([record.thread_id for record in records[:SAMPLE]])
    if sizes:
        today = sum(record.created_at > time.time() - DAY_S for record in records)
        findings.append(day_of_runs(sum(sizes) / len(sizes), today, limit - used if limit else None))
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

    told = "checkpoints are encrypted" if Encryption.from_environment() else f"off; {VARIABLE} turns it on"
    return Finding(name="encryption", level="ok", told=told)


def _number(info: dict[str, Any], name: str) -> float:
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
