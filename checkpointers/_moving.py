"""A thread under another id: encrypted records are bound to their thread, so each is encrypted anew for the copy."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ._codec import escape, frame, ref_of, unframe, unframe_writes
from ._sealing import body_of, channels_of, log_seal_of, metadata_of, task_of
from .encryption import Encryption

_BLOCK: Final = struct.Struct(">HHI")
_PATH: Final = struct.Struct(">H")
_ENTRY: Final = struct.Struct(">iHI")


def moved(flat: Sequence[bytes], source: str, target: str, encryption: Encryption) -> list[bytes]:
    """Return the fields and values of a thread as its copy has them."""
    move = _Move(escape(source), escape(target), encryption)
    return [part for name, value in zip(flat[::2], flat[1::2], strict=True) for part in (name, move.field(name, value))]


class _Move:
    def __init__(self, source: bytes, target: bytes, encryption: Encryption) -> None:
        self.source, self.target, self.encryption = source, target, encryption

    def field(self, name: bytes, value: bytes) -> bytes:
        kind, (ns, _, rest) = name[:1], name[1:].partition(b"\0")
        if kind == b"c":
            return self._checkpoint(ns, rest, value)
        if kind == b"b":
            # A variant's digest is no part of the place.
            return self._again(value, ns, b"\0".join(rest.split(b"\0")[:2]), b"value")
        if kind == b"s":
            channel, _, tail = rest.partition(b"\0")
            (first,) = struct.unpack(">I", tail[8:])
            return self._again(value, ns, channel, tail[:8], str(first).encode(), b"segment")
        if kind == b"w":
            checkpoint, _, task = rest.partition(b"\0")
            # A task's name has no NUL: a number of more blocks has.
            own = task and not task.startswith(b"\0")
            return self._own(ns, checkpoint, task, value) if own else self._blocks(ns, checkpoint, value)
        return value

    def _again(self, sealed: bytes, *place: bytes) -> bytes:
        data = self.encryption.unseal(sealed, frame((self.source, *place)))
        return self.encryption.seal(data, frame((self.target, *place)))

    def _checkpoint(self, ns: bytes, checkpoint: bytes, record: bytes) -> bytes:
        parent, refs, histories, run, body, metadata = unframe(record)
        entries = unframe(refs)
        place = body_of(ns, checkpoint, (parent, histories, run), channels_of(map(ref_of, entries)))
        again = self._again(body, *place)
        story = self.encryption.unseal(metadata, frame((self.source, *metadata_of(ns, checkpoint, body))))
        metadata = self.encryption.seal(story, frame((self.target, *metadata_of(ns, checkpoint, again))))
        return frame((parent, frame(self._ref(ns, entry) for entry in entries), histories, run, again, metadata))

    def _ref(self, ns: bytes, entry: bytes) -> bytes:
        ref = ref_of(entry)
        if ref.kind == "i":
            return ref.name + b"\0i" + self._again(ref.payload, ns, ref.name, b"value")
        if ref.kind == "l":
            log = ref.payload[:12]
            return ref.name + b"\0l" + log + self._again(ref.payload[12:], *log_seal_of(ns, ref.name, log))
        return entry

    def _blocks(self, ns: bytes, checkpoint: bytes, value: bytes) -> bytes:
        at, parts = 0, []
        while at < len(value):
            task, path, size = _BLOCK.unpack_from(value, at)
            at += _BLOCK.size
            name, head = value[at : at + task], value[at + task : at + task + path]
            entries = self._entries(ns, checkpoint, name, value[at + task + path : at + task + path + size])
            again = self._again(head, *task_of(ns, checkpoint, name)) if size else head
            parts.append(_BLOCK.pack(task, len(again), len(entries)) + name + again + entries)
            at += task + path + size
        return b"".join(parts)

    def _own(self, ns: bytes, checkpoint: bytes, task: bytes, value: bytes) -> bytes:
        (size,) = _PATH.unpack_from(value)
        head, entries = value[_PATH.size : _PATH.size + size], value[_PATH.size + size :]
        again = self._again(head, *task_of(ns, checkpoint, task))
        return _PATH.pack(len(again)) + again + self._entries(ns, checkpoint, task, entries)

    def _entries(self, ns: bytes, checkpoint: bytes, task: bytes, entries: bytes) -> bytes:
        parts = []
        for idx, channel, body in unframe_writes(entries):
            sealed = self._again(body, ns, checkpoint, task, str(idx).encode(), channel, b"write")
            parts.append(_ENTRY.pack(idx, len(channel), len(sealed)) + channel + sealed)
        return b"".join(parts)
