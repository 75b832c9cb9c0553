"""The serializer with its allow-list: what comes back is what went in, or an error says why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from enum import Enum
from types import CellType, FunctionType
from typing import Any, get_args, get_type_hints

import ormsgpack
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .errors import TypeNotAllowed

AllowedType = type[Any] | tuple[str, ...]


def type_names(allow: Collection[AllowedType]) -> set[tuple[str, ...]]:
    """Return `(module, name)` of the given types and of every type their fields mention.

    A model dumps its fields as they are, so an enum inside an allowed model has to be allowed with it.
    """
    names: set[tuple[str, ...]] = set()
    seen: set[type[Any]] = set()
    for entry in allow:
        if isinstance(entry, tuple):
            names.add(entry)
        else:
            _collect(entry, names, seen)
    return names


def _collect(annotation: Any, names: set[tuple[str, ...]], seen: set[type[Any]]) -> None:
    for argument in get_args(annotation):
        _collect(argument, names, seen)
    if not isinstance(annotation, type) or annotation.__module__ == "builtins" or annotation in seen:
        return
    seen.add(annotation)
    names.add((annotation.__module__, annotation.__name__))
    if issubclass(annotation, Enum):
        return
    fields = getattr(annotation, "model_fields", None)
    if isinstance(fields, dict):
        hints: Iterable[Any] = [field.annotation for field in fields.values() if hasattr(field, "annotation")]
    elif dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields") or hasattr(annotation, "__total__"):
        hints = _hints_of(annotation)
    else:
        hints = ()
    for hint in hints:
        _collect(hint, names, seen)


def _hints_of(annotation: type[Any]) -> Iterable[Any]:
    try:
        return get_type_hints(annotation).values()
    except NameError:
        # Imported for type checkers alone. Whoever stores such a field is told the type when it is read.
        return ()


_Name = tuple[str, str]
"""Module and name of a type."""

_refused: ContextVar[list[_Name] | None] = ContextVar("surefoot_refused_types", default=None)


def _note_refusal(event: SerdeEvent) -> None:
    found = _refused.get()
    if found is not None and event["kind"] in ("msgpack_blocked", "msgpack_method_blocked"):
        found.append((event["module"], event["name"]))


register_serde_event_listener(_note_refusal)

# The extension codes 0 to 5 stand for constructed objects, 6 for a numpy array (see the base serializer). A plain value
# in their place is what the base serializer falls back to when it refuses a type or fails to build it.
_PLAIN = frozenset({dict, list, tuple, str, int, float, bool, bytes, type(None)})
_LAST_CONSTRUCTED = 6

_Hook = Callable[[int, bytes], Any]


class SafeSerializer(JsonPlusSerializer):
    """`JsonPlusSerializer` without pickle and JSON constructors, which raises where the base one degrades a value.

    The base serializer returns a refused or unbuildable object as the plain data it was stored as; a graph would go on
    with a dict in the place of a model. Here reading such a value raises `TypeNotAllowed`, however deep it is.
    """

    def __init__(self, allow: Collection[AllowedType] = ()) -> None:
        super().__init__(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=type_names(allow))
        self._build_nested()

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[tuple[str, ...] | type]) -> JsonPlusSerializer:
        """Return a serializer that allows more types."""
        wider = super().with_msgpack_allowlist(extra_allowlist)
        if isinstance(wider, SafeSerializer) and wider is not self:
            wider._build_nested()  # noqa: SLF001 - one of ours
        return wider

    def _build_nested(self) -> None:
        self._unpack_ext_hook = _nested_through(self._build, self._unpack_ext_hook)

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
        found: list[_Name] = []
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


def _stored_name(data: bytes) -> _Name:
    try:
        header = ormsgpack.unpackb(data, ext_hook=lambda _code, _data: None, option=ormsgpack.OPT_NON_STR_KEYS)
        return str(header[0]), str(header[1])
    except (ValueError, TypeError, LookupError):
        return "", "an unknown type"


def _refusal(found: Sequence[_Name]) -> str:
    names = sorted(set(found))
    told = ", ".join(f"{module}.{name}" if module else name for module, name in names)
    # What is stored may be anything; a line to copy is made of names only.
    known = [(m, n) for m, n in names if all(part.isidentifier() for part in (*m.split("."), n))]
    line = ""
    if known:
        imports = "; ".join(f"from {module} import {name}" for module, name in known if module != "__main__")
        line = f": RedisSaver.from_url(url, allow=[{', '.join(name for _, name in known)}])"
        line += f"  # {imports}" if imports else ""
    return (
        f"The checkpoint holds a type that may not be rebuilt: {told}. If it was renamed, moved or given other fields, "
        f"keep the old name importable and buildable. If it is yours, pass the class when the saver is made{line}"
    )
