"""Bytes: names of fields, frames of records, and the serializer with its allow-list.

Nothing here talks to a server. Ids may hold any character, so names are built from escaped parts that contain no NUL,
joined by NUL; keys are percent-encoded, so that a thread id can neither end the hash tag early nor look like another
id.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextvars import ContextVar
from enum import Enum
from typing import Any, get_args, get_type_hints
from urllib.parse import quote, unquote

import ormsgpack
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .errors import TypeNotAllowed

FORMAT = b"1"
"""The version of everything stored for a thread; scripts refuse a thread that carries another one."""

KEY_PATTERN = "surefoot:{t.*}:data"

Version = str | int | float
AllowedType = type[Any] | tuple[str, ...]

_LENGTH = struct.Struct(">I")
_WRITE = struct.Struct(">iII")


def thread_keys(thread_id: str) -> tuple[str, str]:
    """Return the two keys of a thread, which share a hash tag and so a cluster slot.

    The tag starts with `t.` because an empty tag would not count as one.
    """
    tag = "surefoot:{t." + quote(thread_id, safe="", errors="surrogatepass") + "}"
    return tag + ":data", tag + ":index"


def thread_of_key(key: str) -> str:
    """Return the thread id that `thread_keys` put into a key."""
    return unquote(key[key.index("{t.") + 3 : key.rindex("}")], errors="surrogatepass")


def escape(text: str) -> bytes:
    """Return UTF-8 without NUL, injective and in the same order as the text."""
    raw = text.encode("utf-8", "surrogatepass")
    if b"\0" in raw or b"\1" in raw:
        raw = raw.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1")
    return raw


def unescape(raw: bytes) -> str:
    """Undo `escape`."""
    if b"\1" in raw:
        raw = raw.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1")
    return raw.decode("utf-8", "surrogatepass")


def value_name(channel: str, version: Version) -> bytes:
    """Return the name of one channel value; versions of different types never meet."""
    if isinstance(version, str):
        tail = b"s" + escape(version)
    elif isinstance(version, float):
        tail = b"f" + repr(version).encode()
    else:
        tail = b"i" + str(int(version)).encode()
    return escape(channel) + b"\0" + tail


def channel_of(name: bytes) -> str:
    """Return the channel that `value_name` put into a name."""
    return unescape(name.partition(b"\0")[0])


def frame(parts: Iterable[bytes]) -> bytes:
    """Join byte strings so that `unframe` (and `struct.unpack('>I4c0')` in Lua) can take them apart."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def unframe(data: bytes) -> list[bytes]:
    """Undo `frame`."""
    parts, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        parts.append(data[at : at + size])
        at += size
    return parts


def unframe_writes(record: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield `(idx, escaped channel, body)` of one task's writes record, which the script put together."""
    at = 0
    while at < len(record):
        idx, name_size, body_size = _WRITE.unpack_from(record, at)
        at += _WRITE.size
        yield idx, record[at : at + name_size], record[at + name_size : at + name_size + body_size]
        at += name_size + body_size


def tagged(typed: tuple[str, bytes]) -> bytes:
    """Pack what a serializer's `dumps_typed` returns into one byte string."""
    tag, data = typed
    return tag.encode() + b"\0" + data


def untagged(data: bytes) -> tuple[str, bytes]:
    """Undo `tagged`."""
    tag, _, body = data.partition(b"\0")
    return tag.decode(), body


def type_names(allow: Collection[AllowedType]) -> set[tuple[str, ...]]:
    """Return `(module, name)` of the given types and of every type their fields mention.

    A model dumps its fields as they are, so an enum inside an allowed model has to be allowed with it.
    """
    names: set[tuple[str, ...]] = set()
    seen: set[int] = set()
    for entry in allow:
        if isinstance(entry, tuple):
            names.add(entry)
        else:
            _collect(entry, names, seen)
    return names


def _collect(annotation: Any, names: set[tuple[str, ...]], seen: set[int]) -> None:
    if id(annotation) in seen:
        return
    seen.add(id(annotation))
    for argument in get_args(annotation):
        _collect(argument, names, seen)
    if not isinstance(annotation, type) or annotation.__module__ == "builtins":
        return
    names.add((annotation.__module__, annotation.__name__))
    if issubclass(annotation, Enum):
        return
    fields = getattr(annotation, "model_fields", None)
    if isinstance(fields, dict):
        hints: Iterable[Any] = [field.annotation for field in fields.values() if hasattr(field, "annotation")]
    elif dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields") or hasattr(annotation, "__total__"):
        hints = get_type_hints(annotation).values()
    else:
        hints = ()
    for hint in hints:
        _collect(hint, names, seen)


_refused: ContextVar[list[str] | None] = ContextVar("surefoot_refused_types", default=None)


def _note_refusal(event: SerdeEvent) -> None:
    found = _refused.get()
    if found is not None and event["kind"] in ("msgpack_blocked", "msgpack_method_blocked"):
        found.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_note_refusal)

# The extension codes 0 to 5 stand for constructed objects, 6 for a numpy array (see the base serializer). A plain value
# in their place is what the base serializer falls back to when it refuses a type or fails to build it.
_PLAIN = frozenset({dict, list, tuple, str, int, float, bool, bytes, type(None)})
_LAST_CONSTRUCTED = 6


class SafeSerializer(JsonPlusSerializer):
    """`JsonPlusSerializer` without pickle and JSON constructors, which raises where the base one degrades a value.

    The base serializer returns a refused or unbuildable object as the plain data it was stored as; a graph would go on
    with a dict in the place of a model. Here reading such a value raises `TypeNotAllowed`.
    """

    def __init__(self, allow: Collection[AllowedType] = ()) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=type_names(allow))

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Rebuild a value.

        Raises `TypeNotAllowed` for a type outside the allow-list, one that can no longer be built, or a tag this
        package never writes.
        """
        tag, body = data
        if tag in ("null", "bytes", "bytearray"):
            return super().loads_typed(data)
        if tag != "msgpack":
            raise TypeNotAllowed(
                f"A stored value has the encoding {tag!r}, which is not read because it could run code."
            )
        found: list[str] = []
        token = _refused.set(found)
        try:
            value = ormsgpack.unpackb(body, ext_hook=self._build, option=ormsgpack.OPT_NON_STR_KEYS)
        finally:
            _refused.reset(token)
        if found:
            raise TypeNotAllowed(_refusal(found))
        return value

    def _build(self, code: int, data: bytes) -> Any:
        value = self._unpack_ext_hook(code, data)
        if code <= _LAST_CONSTRUCTED and type(value) in _PLAIN:
            found = _refused.get()
            if found is not None:
                found.append(_stored_name(data))
        return value


def _stored_name(data: bytes) -> str:
    try:
        header = ormsgpack.unpackb(data, ext_hook=lambda _code, _data: None, option=ormsgpack.OPT_NON_STR_KEYS)
        return f"{header[0]}.{header[1]}"
    except (ValueError, TypeError, LookupError):
        return "an unknown type"


def _refusal(found: Sequence[str]) -> str:
    names = ", ".join(sorted(set(found)))
    return (
        f"The checkpoint holds a type that may not be rebuilt: {names}. If it is yours, pass the class when the saver "
        "is made (allow=[...]); if it was renamed or moved, keep the old name importable."
    )
