"""Ids of checkpoints are times, and hosts' clocks differ: one that was read is always older than one that follows it.

LangGraph makes the id of a checkpoint of the time of its process, and the latest one is that with the highest id. A
process that takes a thread over from one whose clock is ahead would write checkpoints that nobody ever finds: they are
older than the one that they follow. So a process that has read an id makes higher ones from then on (a hybrid logical
clock: Kulkarni et al., "Logical Physical Clocks", 2014).
"""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from langgraph.checkpoint.base import id as langgraph_ids

EPOCH: Final = 0x01B21DD213814000
"""Intervals of 100 ns between the epoch of UUIDs (1582-10-15) and that of Unix (RFC 9562)."""

FURTHEST: Final = 366 * 24 * 3600 * 10_000_000
"""Furthest into the future, in 100 ns, that an id is followed: no clock is wrong by more than a year, and an id that is
made up must not use the time up."""


def follow(checkpoint_id: str) -> None:
    """Let the ids that this process makes be higher than one that it has read; ids that are no times are left alone."""
    try:
        found = UUID(checkpoint_id)
    except ValueError:
        return
    if found.version != 6:
        return
    moment = (found.int >> 80) << 12 | (found.int >> 64) & 0xFFF
    # LangGraph keeps the last time that it has used in a private variable, and has no other way to set it.
    last = getattr(langgraph_ids, "_last_v6_timestamp", None)
    if moment <= time.time_ns() // 100 + EPOCH + FURTHEST and (last is None or moment > last):
        langgraph_ids._last_v6_timestamp = moment  # type: ignore[assignment]  # noqa: SLF001 - it is declared as None
