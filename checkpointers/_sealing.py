"""What encrypted records are bound to beside their own place: none is changed by changing what is around it.

A checkpoint's body is bound to its parent, its run and its list of channels, each with its version and whether it has a
value; the metadata is bound to the body. A value is bound to its channel and version, an entry that means a log to the
log and the number of its elements. The task of a block of writes is sealed with its path and with which writes its last
call made.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Final

from ._codec import Ref, frame, unframe

_RANGE: Final = struct.Struct(">ii")
_TAG: Final = 16
"""Bytes at the end of what AES-GCM makes that stand for all of it."""


def body_of(
    ns: bytes, checkpoint: bytes, around: tuple[bytes, bytes, bytes], channels: Iterable[tuple[bytes, bool]]
) -> tuple[bytes, ...]:
    """Return the place of a checkpoint's body.

    `around` are its parent, histories and run; channels are names of values, and whether there is one.
    """
    listed = frame(name + (b"\1" if has_value else b"\0") for name, has_value in channels)
    return ns, checkpoint, *around, listed, b"body"


def metadata_of(ns: bytes, checkpoint: bytes, body: bytes) -> tuple[bytes, ...]:
    """Return the place of the metadata beside a sealed body."""
    return ns, checkpoint, body[-_TAG:], b"metadata"


def channels_of(refs: Iterable[Ref]) -> Iterable[tuple[bytes, bool]]:
    """Return what `body_of` takes, of the entries of a record."""
    return ((ref.name, ref.kind != "e") for ref in refs)


def log_seal_of(ns: bytes, name: bytes, log: bytes) -> tuple[bytes, ...]:
    """Return the place of the seal at the end of an entry that means a log: its id and the number of elements."""
    return ns, name, log, b"log"


def task_of(ns: bytes, checkpoint: bytes, task: bytes) -> tuple[bytes, ...]:
    """Return the place of what `task_head` makes."""
    return ns, checkpoint, task, b"task"


def task_head(path: bytes, indices: Collection[int]) -> bytes:
    """Return what is sealed of a task: its path, and the indices of its writes, as ranges."""
    ranges, first = [], 0
    ordered = sorted(indices)
    for at, (one, following) in enumerate(pairwise([*ordered, ordered[-1] + 2]), 1):
        if following != one + 1:
            ranges.append(_RANGE.pack(ordered[first], one))
            first = at
    return frame((path, b"".join(ranges)))


def path_of(head: bytes, indices: Collection[int]) -> bytes:
    """Return the path of a task; raises `ValueError` when a write that it made is not among those that are there."""
    path, ranges = unframe(head)
    there = set(indices)
    for first, last in _RANGE.iter_unpack(ranges):
        if not there.issuperset(range(first, last + 1)):
            raise ValueError("writes of a task are missing")
    return path
