"""Threads of format 1 (0.1 before its release): they take on the present format when they are first used.

Format 1 kept a value as `tag NUL bytes`, all versions in the checkpoint's body too, the tasks of a checkpoint in a
field `p`, and a task path with every write.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import ormsgpack

from ._codec import frame, unframe
from ._pack import check, pack

OLD: Final = b"1"
_WRITE: Final = struct.Struct(">iII")
_TASK: Final = struct.Struct(">HHI")
_NEW_WRITE: Final = struct.Struct(">iHI")


def upgraded(
    fields: Mapping[bytes, bytes], load: Callable[[tuple[str, bytes]], Any], dump: Callable[[Any], bytes]
) -> dict[bytes, bytes]:
    """Return the fields of a thread in the present format; raises `ValueError` for what format 1 never stored."""
    try:
        return _upgraded(fields, load, dump)
    except (AttributeError, TypeError) as error:
        raise ValueError("its parts are of other kinds than format 1 had") from error


def _upgraded(
    fields: Mapping[bytes, bytes], load: Callable[[tuple[str, bytes]], Any], dump: Callable[[Any], bytes]
) -> dict[bytes, bytes]:
    new: dict[bytes, bytes] = {}
    for name, value in fields.items():
        kind = name[:1]
        if kind == b"c":
            prefix = b"b" + name[1:].partition(b"\0")[0] + b"\0"
            held = {value_name[len(prefix) :] for value_name in fields if value_name.startswith(prefix)}
            new[name] = _checkpoint(value, held, load, dump)
        elif kind == b"b":
            new[_value_name(name)] = _packed(value)
        elif kind == b"p":
            blocks = (_block(task, fields.get(b"w" + name[1:] + b"\0" + task, b"")) for task in unframe(value))
            new[b"w" + name[1:]] = b"".join(blocks)
    return new


def _typed(old: bytes) -> tuple[str, bytes]:
    tag, _, data = old.partition(b"\0")
    return tag.decode(), data


def _packed(old: bytes) -> bytes:
    return pack(_typed(old))


def _value_name(name: bytes) -> bytes:
    """A variant's digest is marked now."""
    parts = name.split(b"\0")
    return b"\0".join((*parts[:3], b"x" + parts[3])) if len(parts) > 3 else name


def _checkpoint(
    record: bytes,
    has_value: Collection[bytes],
    load: Callable[[tuple[str, bytes]], Any],
    dump: Callable[[Any], bytes],
) -> bytes:
    parent, refs, histories, run, body, metadata = unframe(record)
    typed = _typed(body)
    check(*typed)
    stated = load(typed)
    for name in ("channel_versions", "id"):
        stated.pop(name, None)
    # The namespace is not part of an entry of refs.
    entries = (_value_name(b"\0" + entry)[1:] if entry in has_value else entry + b"\0e" for entry in unframe(refs))
    return frame((parent, frame(entries), histories, run, dump(stated), _packed(metadata)))


def _block(task: bytes, record: bytes) -> bytes:
    at, path, entries = 0, b"", []
    while at < len(record):
        idx, name, body = _WRITE.unpack_from(record, at)
        at += _WRITE.size
        channel, raw = record[at : at + name], record[at + name : at + name + body]
        path, value = ormsgpack.unpackb(raw)
        packed = _packed(value)
        entries.append(_NEW_WRITE.pack(idx, len(channel), len(packed)) + channel + packed)
        at += name + body
    joined = b"".join(entries)
    return _TASK.pack(len(task), len(path), len(joined)) + task + path + joined
