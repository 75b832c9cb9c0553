"""What a note for the registry says, and where it goes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from ._codec import follows

SHARDS: Final = 64


def standing_of(checkpoint: Checkpoint) -> tuple[str, str]:
    """Return whether anything is next, and the outcome."""
    outcome = checkpoint["channel_values"].get("outcome")
    return ("1" if follows(checkpoint) else "", outcome[:100] if isinstance(outcome, str) else "")


def told_by(writes: Sequence[tuple[str, Any]]) -> tuple[str, list[str]]:
    """Return the class of an error, and id, tier and due time of each interrupt; nothing of what they say."""
    error, asked = "", list[str]()
    for channel, value in writes:
        if channel == ERROR:
            error = type(value).__name__ if isinstance(value, BaseException) else "Error"
        elif channel == INTERRUPT:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                due = _field(one, "due_at")
                tier = _field(one, "tier")
                told = (str(getattr(one, "id", "")), tier[:40] if isinstance(tier, str) else "",
                        str(float(due)) if isinstance(due, (int, float)) else "")  # fmt: skip
                asked += told
    return error, asked


def _field(interrupt: Any, name: str) -> Any:
    value = getattr(interrupt, "value", None)
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def raw_of(text: str) -> bytes:
    """Return the bytes of an id, whatever characters it has."""
    return text.encode("utf-8", "surrogatepass")


def keys_of(thread_id: str) -> tuple[str, str, str, str]:
    """Return the keys of the shard that a thread is in."""
    shard = zlib.crc32(raw_of(thread_id)) % SHARDS
    return key_of(shard, "threads"), key_of(shard, "changed"), key_of(shard, "waiting"), key_of(shard, "tokens")


def key_of(shard: int, name: str) -> str:
    """Return one key of a shard."""
    return f"surefoot:{{r.{shard:02}}}:{name}"
