"""The serializer with its allow-list: what comes back is what went in, and what could not come back is not written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import CellType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import ormsgpack
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import (
    JsonPlusSerializer,
    _create_msgpack_ext_hook,  # reads what LangGraph's own serializer stored, as older versions of this package did
)
from ormsgpack import packb

from ._allowed import AllowedType, AllowList, AnyClass, type_names
from ._encoders import make_encoder
from ._read_typed import Reader
from ._refusals import Found, refused_reading, refused_writing
from ._typed import FAST, NATIVE, SCALARS, Encoders, Exact, NotFast, check_natives, fast_pack, may_hold_buffers
from .errors import TypeNotAllowed, ValueNotStorable

__all__ = ["AllowedType", "SafeSerializer", "type_names"]

TYPED: Final = "typed"
"""The tag of a value with extensions of this package: whoever does not know them refuses the value as a whole."""
_MOST: Final = 4096
"""Classes whose encoders are remembered; a program that makes classes as it runs has no end of them."""

_found: ContextVar[list[Found] | None] = ContextVar("surefoot_refused_types", default=None)


def _note_refusal(event: SerdeEvent) -> None:
    found = _found.get()
    if found is not None and event["kind"] in ("msgpack_blocked", "msgpack_method_blocked"):
        found.append(Found(event["module"], event["name"]))


register_serde_event_listener(_note_refusal)

# In records of LangGraph's own serializer the extension codes 0 to 5 stand for constructed objects, 6 for a numpy
# array, 7 for a delta channel's snapshot. A plain value in their place is what that serializer falls back to when it
# refuses a type or fails to build it.
_PLAIN = frozenset({dict, list, tuple, str, int, float, bool, bytes, type(None)})
_LAST_CONSTRUCTED, _LAST_OF_LANGGRAPH = 6, 7

_Hook = Callable[[int, bytes], Any]


class SafeSerializer(JsonPlusSerializer):
    """A serializer without pickle, which stores each value with its type and rebuilds allowed classes alone.

    It reads what `JsonPlusSerializer` stores too, but raises where that one returns the plain data of a refused or
    unbuildable object: a graph would go on with a dict in the place of a model.
    """

    def __init__(self, allow: Iterable[Any] = (), extends: AllowList | None = None) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)
        self.allowed = AllowList(allow, extends)
        self._encoders: Encoders = {}
        self._packs = [fast_pack(self._encoders, self._encoder_of, keys=keys) for keys in (False, True)]
        self._reader = Reader(self.allowed, self._build)
        self._for_owners: WeakKeyDictionary[Any, SafeSerializer] = WeakKeyDictionary()
        self._added_owners: WeakSet[Any] = WeakSet()
        self._old_hook = _nested_through(self._build, _create_msgpack_ext_hook(self.allowed))  # type: ignore[arg-type]  # asked `in` alone

    def allow(self, types: Iterable[Any]) -> None:
        """Allow more, here and in every serializer that was derived from this one."""
        self.allowed.add(types)

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Any]) -> SafeSerializer:
        """Return a serializer that allows more types; this one when it allows them all."""
        extra = AllowList(extra_allowlist)
        if all(len(name) == 2 and self.allowed.has(name[0], name[1]) for name in extra.names):
            return self
        return SafeSerializer(extra_allowlist, self.allowed)

    def for_owner(self, owner: Any, types: Callable[[], Iterable[Any]]) -> SafeSerializer:
        """Return a serializer that allows the types of a graph too, the same each time."""
        found = self._for_owners.get(owner)
        if found is None:
            found = self._for_owners[owner] = self.with_msgpack_allowlist(list(types()))
        return found

    def allow_owner(self, owner: Any, types: Callable[[], Iterable[Any]]) -> None:
        """Allow the types of a graph, here and in every serializer that was derived from this one."""
        if owner not in self._added_owners:
            self.allow(list(types()))
            self._added_owners.add(owner)

    def _encoder_of(self, cls: type[Any]) -> Callable[..., Any]:
        encoder = self._encoders.get(cls)
        if encoder is None:
            # Only those that can be used are remembered: an allow-list becomes longer, never shorter.
            encoder = make_encoder(cls, self.allowed)
            if len(self._encoders) >= _MOST:
                self._encoders.clear()
            self._encoders[cls] = encoder
        return encoder

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Store a value with its type; raises `ValueNotStorable`, naming the part, when it could not be read back."""
        kind = type(obj)
        try:
            if kind in SCALARS:
                return "msgpack", packb(obj)
            if kind is dict or (kind is list and (not obj or type(obj[0]) in NATIVE)):
                data = packb(obj, None, FAST)
                if may_hold_buffers(data):
                    check_natives(obj, plain=True)
                return "msgpack", data
        except (TypeError, NotFast):
            pass
        if obj is None:
            return "null", b""
        if kind is bytes:
            return "bytes", obj
        if kind is bytearray:
            return "bytearray", bytes(obj)
        for pack in self._packs:
            try:
                return TYPED, pack(obj)
            except Exception:  # noqa: S112 - ormsgpack hides what was raised; the exact way finds out
                continue
        return self._dumps_exactly(obj)

    def _dumps_exactly(self, obj: Any) -> tuple[str, bytes]:
        exact = Exact(self._encoder_of, lambda cls: make_encoder(cls, AnyClass()))
        try:
            data = exact.pack(obj)
        except RecursionError:
            raise ValueNotStorable("it is nested too deep, or contains itself") from None
        if exact.problems:
            raise refused_writing(exact.problems)
        return (TYPED if exact.typed else "msgpack"), data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Rebuild a value.

        Raises `TypeNotAllowed` for a type outside the allow-list, one that can no longer be built, or a tag this
        package never writes, and `ValueError` for bytes that it never writes.
        """
        tag, body = data
        if tag in ("null", "bytes", "bytearray"):
            return super().loads_typed(data)
        if tag not in ("msgpack", TYPED):
            raise TypeNotAllowed(
                f"A stored value has the encoding {tag!r}, which is not read because it could run code."
            )
        found: list[Found] = []
        token = _found.set(found)
        try:
            value = ormsgpack.unpackb(body, ext_hook=self._build, option=ormsgpack.OPT_NON_STR_KEYS)
        except RecursionError:
            raise ValueError("a value is nested too deep") from None
        finally:
            _found.reset(token)
        if found:
            raise TypeNotAllowed(refused_reading(found))
        return value

    def _build(self, code: int, data: bytes) -> Any:
        if code > _LAST_OF_LANGGRAPH:
            return self._reader.build(code, data, _found.get())
        value = self._old_hook(code, data)
        if code <= _LAST_CONSTRUCTED and type(value) in _PLAIN:
            found = _found.get()
            if found is not None:
                found.append(_stored_name(data))
        return value


def _nested_through(build: _Hook, hook: _Hook) -> _Hook:
    """Return a hook of the base serializer that leaves what is inside of an object to `build` instead of itself.

    It is a closure that calls itself by name, which it offers no other way to change.
    """
    if not isinstance(hook, FunctionType):
        return hook
    code, cells = hook.__code__, hook.__closure__ or ()
    own = tuple(
        CellType(build) if name == code.co_name else cell for name, cell in zip(code.co_freevars, cells, strict=True)
    )
    return FunctionType(code, hook.__globals__, code.co_name, hook.__defaults__, own)


def _stored_name(data: bytes) -> Found:
    try:
        header = ormsgpack.unpackb(data, ext_hook=lambda _code, _data: None, option=ormsgpack.OPT_NON_STR_KEYS)
        return Found(str(header[0]), str(header[1]))
    except (ValueError, TypeError, LookupError):
        return Found("", "")
