"""An entry of the registry: what it tells of a thread, and how it is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from .errors import RecordDamaged

Status = Literal["done", "failed", "waiting", "running", "stalled"]

DAMAGED: Final = RecordDamaged.__name__
"""The error of a thread whose entry cannot be read; `reconcile` writes it anew from the thread's checkpoints."""


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


def entries_of(flat: Sequence[bytes]) -> list[ThreadEntry]:
    """Return the entries of pairs of thread and what is stored for it; one that is damaged says so."""
    return [_entry_of(thread, raw) for thread, raw in zip(flat[::2], flat[1::2], strict=True)]


def _entry_of(thread: bytes, raw: bytes) -> ThreadEntry:
    name = thread.decode("utf-8", "surrogatepass") if _is_text(thread) else thread.decode("utf-8", "replace")
    try:
        told = json.loads(raw.decode("utf-8", "surrogatepass"))
        latest, written, outcome, error = (_text(told[key]) for key in "cwoe")
        # An empty table of Lua may be either.
        tasks = told["i"].values() if told["i"] != [] else ()
        asked = [Asked(_text(id_), _text(tier), _time(_text(due))) for task in tasks for id_, tier, due in task]
        # What was written belongs to the latest checkpoint or to one that is history.
        now = written == latest and bool(latest)
        return ThreadEntry(
            thread_id=name,
            checkpoint_id=latest,
            changed_at=_microseconds(_text(told["t"])) / 1e6,
            next=bool(told["n"]),
            outcome=outcome,
            interrupts=tuple({one.id: one for one in asked}.values()) if now else (),
            error=error if now else "",
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return ThreadEntry(name, "", 0.0, next=False, error=DAMAGED)


_MICROSECONDS: Final = re.compile(r"[0-9]{1,17}")


def _microseconds(text: str) -> int:
    if not _MICROSECONDS.fullmatch(text):
        raise ValueError("no time")
    return int(text)


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _time(text: str) -> float | None:
    """Return seconds since the epoch; None where there are none, or none that any clock shows."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def is_damaged(entry: ThreadEntry) -> bool:
    """Tell whether an entry could not be read."""
    return entry.error == DAMAGED and not entry.changed_at


def time_of(entry: ThreadEntry) -> str:
    """Return when an entry changed, as it is stored: in microseconds."""
    return f"{entry.changed_at * 1e6:.0f}"
