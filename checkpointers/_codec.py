"""Bytes: names of keys and fields, and frames of records.

Nothing here talks to a server. Ids may hold any character, so names are built from escaped parts that contain no NUL,
joined by NUL; keys are percent-encoded, so that a thread id can neither end the hash tag early nor look like another
id.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from langgraph.checkpoint.base import Checkpoint

FORMAT = b"2"
"""The version of everything stored for a thread; scripts refuse a thread that carries another one."""

KEY_PATTERN = "surefoot:{t.*}:data"

Version = str | int | float

_LENGTH = struct.Struct(">I")
_WRITE = struct.Struct(">iHI")


@lru_cache(maxsize=4096)
def thread_keys(thread_id: str) -> tuple[str, str]:
    """Return the two keys of a thread, which share a hash tag and so a cluster slot.

    The tag starts with `t.` because an empty tag would not count as one.
    """
    tag = "surefoot:{t." + quote(thread_id, safe="", errors="surrogatepass") + "}"
    return tag + ":data", tag + ":index"


@lru_cache(maxsize=4096)
def lease_key(thread_id: str) -> str:
    """Return the key of a thread's lease, in the same slot."""
    return thread_keys(thread_id)[0].removesuffix("data") + "lease"


def thread_of_key(key: str) -> str:
    """Return the thread id that `thread_keys` put into a key."""
    return unquote(key[key.index("{t.") + 3 : key.rindex("}")], errors="surrogatepass")


@lru_cache(maxsize=4096)
def escape_name(name: str) -> bytes:
    """Escape the name of a channel, of which a process knows few."""
    return escape(name)


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


_TAIL: Final = r"\.(?:[0-9a-f]{8}|0\.[0-9]{16})"
"""What follows the counter in a version: the random bits of this saver, or those of LangGraph's API server."""
_WIDE: Final = re.compile(rf"0{{22}}[0-9]{{10}}{_TAIL}")
_SHORT: Final = re.compile(rf"[0-9a-f]{{8}}{_TAIL}")


@lru_cache(maxsize=16_384)
def short_version(version: str) -> str:
    """Return how a version is stored: its 32-digit decimal counter as eight hexadecimal digits, any other as it is.

    A checkpoint holds one for each channel and for what each node has seen.
    """
    if _WIDE.fullmatch(version) and (count := int(version[:32])) < 2**32:
        return f"{count:08x}{version[32:]}"
    return version


@lru_cache(maxsize=16_384)
def wide_version(version: str) -> str:
    """Undo `short_version`.

    What was stored before versions were wide reads as wide ones too, so that a thread holds one kind: as texts, the
    two kinds do not compare.
    """
    return f"{int(version[:8], 16):032}{version[8:]}" if _SHORT.fullmatch(version) else version


def short_seen(seen: dict[str, dict[str, Version]]) -> dict[str, dict[str, Version]]:
    """Return the versions that each node has seen as they are stored."""
    return {
        node: {name: short_version(ver) if isinstance(ver, str) else ver for name, ver in versions.items()}
        for node, versions in seen.items()
    }


def wide_seen(seen: dict[str, dict[str, Version]]) -> dict[str, dict[str, Version]]:
    """Undo `short_seen`."""
    return {
        node: {name: wide_version(ver) if isinstance(ver, str) else ver for name, ver in versions.items()}
        for node, versions in seen.items()
    }


@lru_cache(maxsize=16_384)
def _name_of_text(channel: str, version: str) -> bytes:
    """The name of one value, which the checkpoints that share it ask for in turn."""
    return escape_name(channel) + b"\0s" + escape(short_version(version))


def value_name(channel: str, version: Version) -> bytes:
    """Return the name of one channel value; versions of different types never meet."""
    if isinstance(version, str):
        return _name_of_text(channel, version)
    tail = b"f" + repr(version).encode() if isinstance(version, float) else b"i" + str(int(version)).encode()
    return escape_name(channel) + b"\0" + tail


def frame(parts: Iterable[bytes]) -> bytes:
    """Join byte strings so that `unframe` (and `struct.unpack('>I4c0')` in Lua) can take them apart."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def unframe(data: bytes) -> list[bytes]:
    """Undo `frame`; raises `ValueError` and `struct.error` for what it never makes."""
    parts, at = [], 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        parts.append(data[at : at + size])
        at += size
    if at != len(data):
        raise ValueError("it is cut off")
    return parts


class Ref(NamedTuple):
    """What a checkpoint's record says about one channel: its version, and where the value is.

    `kind` is empty for a value in a field of its own, `e` for none, `i` for one that stands here, `l` for the
    beginning of a log, `x` for a variant (see the put script).
    """

    channel: str
    version: Version
    name: bytes
    """Name of the value without `kind` and payload."""
    kind: str
    payload: bytes


def ref_of(entry: bytes) -> Ref:
    """Read one entry of a record's refs."""
    channel, _, rest = entry.partition(b"\0")
    version, _, payload = rest.partition(b"\0")
    name = entry[: len(channel) + 1 + len(version)]
    return Ref(unescape(channel), _version_of(version), name, payload[:1].decode(), payload[1:])


def _version_of(raw: bytes) -> Version:
    text = unescape(raw[1:])
    return wide_version(text) if raw[:1] == b"s" else float(text) if raw[:1] == b"f" else int(text)


def field_of(ns: bytes, entry: bytes, ref: Ref) -> bytes:
    """Return the field that an entry of refs means; empty for an entry that says all by itself."""
    if ref.kind in ("i", "e"):
        return b""
    if ref.kind == "l":
        return b"g" + ns + b"\0" + escape(ref.channel) + b"\0" + ref.payload[:8]
    return b"b" + ns + b"\0" + entry


def log_of(ref: Ref) -> tuple[bytes, int]:
    """Return the id of a log, and how many of its elements an entry of refs means."""
    return ref.payload[:8], _LENGTH.unpack_from(ref.payload, 8)[0]


def follows(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint says that a node is to run next.

    What triggers a node is known to its graph alone. Here it is told by the names that LangGraph gives the channels of
    edges, branches, joins and sends, and by what the nodes have seen that ran before. So one that is triggered by an
    ordinary channel, as in a bare `Pregel`, is missed before its first run.
    """
    values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
    return any(_triggers(name, value) for name, value in values.items()) or any(
        name in values and _holds(name, values[name]) and _newer(versions.get(name), last)
        for node, seen in checkpoint.get("versions_seen", {}).items()
        if not node.startswith("__")
        for name, last in seen.items()
    )


def _triggers(name: str, value: Any) -> bool:
    """Tell whether a channel is one that LangGraph itself makes to trigger a node, and does."""
    if name.startswith("join:"):
        # The names that it waits for, and those that have come; a deferred node's are kept with whether all else ended.
        come = value[0] if isinstance(value, (list, tuple)) else value
        return isinstance(come, (set, frozenset)) and len("+".join(come)) == len(name[5:].rpartition(":")[0])
    return name.startswith(("branch:to:", "__start__")) or (name == "__pregel_tasks" and bool(value))


def _holds(name: str, value: Any) -> bool:
    """Tell whether a channel has something; one of messages that were all taken holds an empty list."""
    return not name.startswith("join:") and not (type(value) is list and not value)


def _newer(version: Any, than: Any) -> bool:
    return type(version) is type(than) and version > than


def starts_of(directory: bytes) -> tuple[int, ...]:
    """Return the number of elements of a log, and the first element of each of its segments."""
    if len(directory) < _LENGTH.size:
        raise ValueError("the directory of a list is cut off")
    return struct.unpack(f">{len(directory) // 4}I", directory)


def unframe_writes(entries: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield `(idx, escaped channel, body)` of one task's entries."""
    at = 0
    while at < len(entries):
        idx, name, body = _WRITE.unpack_from(entries, at)
        at += _WRITE.size
        yield idx, entries[at : at + name], entries[at + name : at + name + body]
        at += name + body
    if at != len(entries):
        raise ValueError("its writes are cut off")
