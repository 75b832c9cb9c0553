"""Lists that grow: what a saver remembers of them, so that only what is new is sent.

A stored list is a log: segments of elements, each what the serializer made of a list of them. A longer list becomes the
same log with one segment more, when the saver knows the log's end and sees that no earlier element has changed. It sees
that by identity: of each element, of all containers inside of it, and of all plain values in those. An element that is
another object, that was changed in place, or that holds what cannot be looked into, makes the list a new log.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import is_
from typing import Any, Final

from ._marks import CONTAINER, Marks
from .errors import ValueNotStorable

LEAST: Final = 512
"""Bytes of a stored list below which it is no log: a directory and segments would be longer."""
SEGMENTS: Final = 32
"""Segments of single puts that are merged into one."""
MOST_BYTES: Final = 64_000_000
"""Bytes of values that are remembered in all, about: those of runs at work, which have them anyway."""
ENDED_BYTES: Final = 8_000_000
"""The same for what was read of threads that have ended: most is only looked at, some conversations go on."""

_APPEND: Final = struct.Struct(">IIII")
_COUNT: Final = struct.Struct(">I")


@dataclass(frozen=True)
class Log:
    """The beginning of a log that one version of a channel is."""

    id: bytes
    starts: tuple[int, ...]
    """First element of each segment."""
    single: int
    """Segments at the end that hold the elements of one put each."""
    elements: tuple[Any, ...]
    marks: Marks

    def begins(self, value: Sequence[Any]) -> bool:
        """Tell whether a list begins with the elements of this log, none of them changed."""
        count = len(self.elements)
        return len(value) >= count and all(map(is_, value, self.elements)) and self.marks.unchanged()

    def payload(self) -> bytes:
        """Return what an entry of refs says."""
        return self.id + _COUNT.pack(len(self.elements))


def new_log(value: Sequence[Any], marks: Marks) -> Log:
    """Return a log with one segment."""
    return Log(os.urandom(8), (0,), 0, tuple(value), marks)


def known_log(log_id: bytes, starts: tuple[int, ...], value: Sequence[Any], marks: Marks) -> Log:
    """Return a log that was read."""
    single = 0
    ends = (*starts[1:], len(value))
    while single < min(SEGMENTS, len(starts) - 1) and ends[-1 - single] - starts[-1 - single] < SEGMENTS:
        single += 1
    return Log(log_id, starts, single, tuple(value), marks)


def longer(log: Log, value: Sequence[Any], marks: Marks, dump: Callable[[int, list[Any]], bytes]) -> tuple[Log, bytes]:
    """Return the log with the elements that a list has more, and the argument that stores them.

    `dump` makes the bytes of a segment from the number of its first element and its elements.
    """
    has = len(log.elements)
    starts, single, merged, packed, first = (*log.starts, has), log.single + 1, b"", b"", 0
    if single >= SEGMENTS:
        single, left = 0, starts[: -log.single]
        # Segments that are too large together stay what they are.
        with suppress(ValueNotStorable):
            merged = dump(left[-1], list(value[left[-1] :]))
            starts, first = left, left[-1]
    if not merged:
        packed = dump(has, list(value[has:]))
    head = log.id + _APPEND.pack(has, len(value) - has, first, len(merged))
    return Log(log.id, starts, single, tuple(value), log.marks + marks), head + packed + merged


class Logs:
    """The logs of the checkpoints that were last put or read, by thread and namespace; bounded, and thread-safe."""

    def __init__(self) -> None:
        self._known = _Known()
        self._ended = _Known()
        self._lock = threading.Lock()

    def at(self, thread_id: str, ns: str, checkpoint_id: str) -> dict[str, Log] | None:
        """Return the logs of one checkpoint by channel, None when nothing is known of it."""
        key = (thread_id, ns)
        with self._lock:
            known = self._known.logs.get(key) or self._ended.logs.get(key)
            return known[1] if known is not None and known[0] == checkpoint_id else None

    def drop(self, thread_id: str, ns: str) -> None:
        """Forget a thread that has come to its end: whoever goes on with it reads it first."""
        with self._lock:
            self._drop((thread_id, ns))

    def keep(self, thread_id: str, ns: str, checkpoint_id: str, logs: dict[str, Log], *, ended: bool = False) -> None:
        """Remember the logs of a checkpoint in the place of those of an earlier one."""
        key = (thread_id, ns)
        with self._lock:
            self._drop(key)
            if ended:
                self._ended.keep(key, checkpoint_id, logs, ENDED_BYTES)
            else:
                self._known.keep(key, checkpoint_id, logs, MOST_BYTES)

    def _drop(self, key: tuple[str, str]) -> None:
        self._known.drop(key)
        self._ended.drop(key)


class _Known:
    """The logs of checkpoints by thread and namespace, the ones that were kept last."""

    def __init__(self) -> None:
        self.logs: OrderedDict[tuple[str, str], tuple[str, dict[str, Log]]] = OrderedDict()
        self.size = 0

    def keep(self, key: tuple[str, str], checkpoint_id: str, logs: dict[str, Log], most: int) -> None:
        self.logs[key] = (checkpoint_id, logs)
        self.size += _size(logs)
        while self.size > most and len(self.logs) > 1:
            self.drop(next(iter(self.logs)))

    def drop(self, key: tuple[str, str]) -> None:
        if (known := self.logs.pop(key, None)) is not None:
            self.size -= _size(known[1])


def _size(logs: dict[str, Log]) -> int:
    # Something for the thread itself, so that those without a log are bounded too.
    return CONTAINER + sum(log.marks.size for log in logs.values())
