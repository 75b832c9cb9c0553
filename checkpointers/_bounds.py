"""How large a stored value may be, in bytes and in objects: known before anything is unpacked or built.

A few hundred bytes can unpack to a gigabyte, and each byte of MessagePack can stand for an empty dictionary of 64
bytes. So a compressed record declares its size, and what is large has its objects counted before they are made. Writers
are held to the same bounds as readers: what could not be read back is not stored.
"""

from __future__ import annotations

import os
import re
import struct
from functools import lru_cache
from typing import Final

from .errors import SaverError

VARIABLE: Final = "SUREFOOT_MAX_VALUE_BYTES"
"""Most bytes of one value (a channel, a write, the metadata) before compression; all processes should have the same."""
MAX_VALUE_BYTES: Final = 64 * 2**20
"""The default: beyond what belongs into a state. Redis itself takes strings of up to 512 MB."""
UNCHECKED: Final = 2**20
"""Bytes below which no setting may be: a checkpoint of an ordinary graph has to fit."""
BYTES_AN_OBJECT: Final = 16
"""A value may hold as many objects as it may have bytes, divided by this: 4,194,304 by default, some 400 MB at most."""


class TooLarge(ValueError):
    """A value has more bytes or objects than one may have."""


def most_bytes() -> int:
    """Return how many bytes a value may have; raises `SaverError` for a setting that is none."""
    return _most_bytes(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=4)
def _most_bytes(given: str) -> int:
    text = given.strip().replace("_", "")
    if not text:
        return MAX_VALUE_BYTES
    if not text.isascii() or not text.isdigit() or int(text) < UNCHECKED:
        raise SaverError(f"{VARIABLE} must be a whole number of bytes from {UNCHECKED} on, not {given[:40]!r}.")
    return int(text)


def check_size(size: int, compressed: int | None = None) -> None:
    """Raise `TooLarge` for a value of more bytes than one may have; `compressed` is what it takes as it is stored."""
    if size > UNCHECKED and size > (most := most_bytes()):
        stored = f" from {_told(compressed)}" if compressed is not None else ""
        raise TooLarge(
            f"it takes {_told(size)}{' unpacked' + stored if stored else ''}, and a value may take {_told(most)}: "
            f"{VARIABLE} raises that"
        )


def check_objects(data: bytes) -> None:
    """Raise `TooLarge` for a MessagePack text that stands for more objects than a value may hold."""
    # An object takes a byte or more.
    if len(data) <= UNCHECKED // BYTES_AN_OBJECT or len(data) <= (most := most_bytes() // BYTES_AN_OBJECT):
        return
    if count_objects(data, most) > most:
        raise TooLarge(
            f"it holds more than {most:,} objects, which is the most that a value may: {VARIABLE} raises that"
        )


_FIXED: Final = {
    1: rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]+",
    2: rb"(?:[\xcc\xd0][\s\S])+",
    3: rb"(?:[\xcd\xd1][\s\S]{2}|[\xdc\xde][\s\S]{2})+",
    5: rb"(?:[\xca\xce\xd2\xdd\xdf][\s\S]{4})+",
    9: rb"(?:[\xcb\xcf\xd3][\s\S]{8})+",
}
"""Runs of objects of one size by their first bytes, headers of arrays and maps among them (the MessagePack format)."""
_RUNS: Final = {
    first: (re.compile(pattern), size)
    for size, pattern in _FIXED.items()
    for first in range(256)
    if re.match(pattern, bytes((first,)) + bytes(8))
}
_LENGTHS: Final = {
    **{0xA0 + size: (1, size, "") for size in range(1, 32)},
    **{first: (1, 0, fmt) for first, fmt in zip(b"\xc4\xc5\xc6\xd9\xda\xdb", (">B", ">H", ">I") * 2, strict=True)},
    **{first: (2, size, "") for first, size in zip(b"\xd4\xd5\xd6\xd7\xd8", (1, 2, 4, 8, 16), strict=True)},
    **{first: (2, 0, fmt) for first, fmt in zip(b"\xc7\xc8\xc9", (">B", ">H", ">I"), strict=True)},
}
"""Of texts, bytes and extensions: bytes of the head without the length, the length, or how the length is written."""


def count_objects(data: bytes, most: int) -> int:
    """Return how many objects a MessagePack text stands for, or some number above `most` as soon as it is passed.

    What is no such text is counted up to where that shows: whoever reads it then finds it damaged.
    """
    count, at = 0, 0
    ends = [len(data)]
    while ends and count <= most:
        if at >= ends[-1]:
            at = ends.pop()
            continue
        first = data[at]
        if (run := _RUNS.get(first)) is not None:
            # What would pass the end of an extension shows that it holds something else.
            found = run[0].match(data, at, ends[-1])
            if found is None:
                at = ends[-1]
                continue
            count += (found.end() - at) // run[1]
            at = found.end()
            continue
        head, size, fmt = _LENGTHS[first]
        if fmt:
            try:
                (size,) = struct.unpack_from(fmt, data, at + 1)
            except struct.error:
                at = ends[-1]
                continue
            head += struct.calcsize(fmt)
        count += 1
        at += head
        if first in _EXTENSIONS and size:
            ends.append(min(at + size, ends[-1]))
        else:
            at += size
    return count


_EXTENSIONS: Final = frozenset(b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8")


def _told(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"
