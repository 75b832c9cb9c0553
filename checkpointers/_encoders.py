"""How an object of each class becomes a msgpack extension: decided once a class, not for each object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

import ormsgpack
from langgraph.checkpoint.serde.types import _DeltaSnapshot  # what a delta channel stores; LangGraph has no public name
from ormsgpack import Ext, packb

from ._allowed import AllowList
from ._classes import ClassNotUsable, reference_of
from ._kinds import (
    EXTENDABLE,
    Kind,
    attributes_of,
    base_of,
    builtin_exception,
    computed_of,
    fields_of,
    is_data,
    kind_of,
    shape_of,
    slots_of,
)
from ._rebuild import content_of
from ._standard import SPECS, Unfit, is_numpy, numpy_parts, stored_as
from ._typed import CLASS, DELTA, FAST, FIELDS, FROZENSET, NUMPY, PLAIN, SET, TUPLE, Encoder, Encoders, Pack

_NIL: Final = packb(None)
_EMPTY: Final = packb({})
_MODEL, _DATACLASS, _TUPLE, _ENUM, _EXCEPTION, _EXTENDED, _OBJECT = map(int, Kind)


def make_encoder(cls: type[Any], allowed: AllowList) -> Encoder:
    """Return what packs objects of a class; raises `ClassNotUsable` when they could not be read back."""
    if cls in _BUILT_IN:
        return _BUILT_IN[cls]
    if issubclass(cls, type):
        return lambda obj, pack: Ext(CLASS, pack(reference_of(obj, allowed, plain=True)))
    if is_numpy(cls):
        return lambda obj, pack: Ext(NUMPY, pack(numpy_parts(obj), 1))
    if (spec := stored_as(cls)) is not None:
        return _standard_encoder(*spec)
    if not is_data(cls):
        raise ClassNotUsable(cls)
    kind = kind_of(cls)
    reference = packb(reference_of(cls, allowed), option=FAST)
    return _MAKERS[kind](cls, reference)  # type: ignore[index]  # one that is data has a kind


def _standard_encoder(name: str, take: Callable[[Any], Sequence[Any]]) -> Encoder:
    # What a standard type is built from stands in a list of its own, behind the name.
    return lambda obj, pack: Ext(PLAIN, pack([name, *take(obj)], 1))


def _plain_tuple(obj: tuple[Any, ...], pack: Pack) -> Ext:
    return Ext(TUPLE, pack(list(obj)))


def _set_encoder(code: int) -> Encoder:
    def encode(obj: Any, pack: Pack) -> Ext:
        # In an order of their own, because that of a set is another one in each process.
        parts = sorted([pack(element) for element in obj])
        return Ext(code, packb([ormsgpack.Fragment(part) for part in parts]))

    return encode


_BUILT_IN: Final[Encoders] = {
    tuple: _plain_tuple,
    set: _set_encoder(SET),
    frozenset: _set_encoder(FROZENSET),
    _DeltaSnapshot: lambda obj, pack: Ext(DELTA, pack(obj.value)),
    **{cls: _standard_encoder(name, take) for cls, (name, take, _build) in SPECS.items()},
}


def _model_encoder(cls: Any, reference: bytes) -> Encoder:
    names, whole_dict = cls.__pydantic_fields__.keys(), not computed_of(cls)
    has_slots, shape = bool(slots_of(cls)), packb(shape_of(cls))
    short, long = b"\x94" + reference + shape, b"\x97" + reference + shape
    # Most objects of a class were given one of few sets of fields; none is written for all of them.
    recent: list[tuple[set[str], bytes]] = [(set(names), _NIL)]

    def given_of(given: set[str]) -> bytes:
        for one, packed in recent:
            if one == given:
                return packed
        packed = packb(sorted(given))
        if len(recent) < MOST_SETS:
            recent.append((set(given), packed))
        return packed

    def encode(obj: Any, pack: Pack) -> Ext:
        fields, extra, private = obj.__dict__, obj.__pydantic_extra__, obj.__pydantic_private__
        if not whole_dict and not fields.keys() <= names:
            held = attributes_of(obj)
            fields = {name: held[name] for name in fields if name in held}
        if extra is None and private is None and not has_slots:
            return Ext(_MODEL, short + given_of(obj.__pydantic_fields_set__) + pack(fields, FIELDS))
        slots = _NIL
        if has_slots:
            held = attributes_of(obj)
            slots = pack({name: value for name, value in held.items() if name not in obj.__dict__}, FIELDS)
        more = (_NIL if extra is None else pack(extra, FIELDS) if extra else _EMPTY) + (
            _NIL if private is None else pack(private, FIELDS)
        )
        return Ext(_MODEL, long + given_of(obj.__pydantic_fields_set__) + pack(fields, FIELDS) + more + slots)

    return encode


MOST_SETS: Final = 8
"""Sets of a model's given fields of which the bytes are remembered."""


def _dataclass_encoder(cls: type[Any], reference: bytes) -> Encoder:
    names, head = fields_of(cls).keys(), b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        held = attributes_of(obj)
        if held.keys() == names:
            return Ext(_DATACLASS, head + pack(held, FIELDS) + _NIL)
        rest = {name: held.pop(name) for name in held.keys() - names}
        return Ext(_DATACLASS, head + pack(held, FIELDS) + pack(dict(sorted(rest.items())), FIELDS))

    return encode


def _tuple_encoder(cls: Any, reference: bytes) -> Encoder:
    head = b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        fields = dict(zip(cls._fields, tuple.__iter__(obj), strict=True))
        return Ext(_TUPLE, head + pack(fields, FIELDS) + _rest(obj, pack))

    return encode


def _rest(obj: Any, pack: Pack) -> bytes:
    held = attributes_of(obj)
    return pack(held, FIELDS) if held else _NIL


def _enum_encoder(cls: Any, reference: bytes) -> Encoder:
    head = b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        value = obj.value
        if type(value) in (str, int) and _same(cls, value, obj):
            return Ext(_ENUM, head + pack([False, value])[1:])
        if cls.__members__.get(obj.name) is not obj:
            raise Unfit("it is no member of its class", "Store a member of it")
        return Ext(_ENUM, head + pack([True, obj.name])[1:])

    return encode


def _same(cls: type[Enum], value: Any, member: Any) -> bool:
    try:
        return cls(value) is member
    except Exception:
        return False


def _exception_encoder(cls: type[BaseException], reference: bytes) -> Encoder:
    base, head = builtin_exception(cls), b"\x93" + reference
    try:
        if not isinstance(base.__new__(cls), cls):
            raise ClassNotUsable(cls)
    except TypeError:
        # Groups want arguments; other classes of C extensions make no objects this way.
        if not issubclass(cls, BaseExceptionGroup):
            raise ClassNotUsable(cls) from None

    def encode(obj: Any, pack: Pack) -> Ext:
        arguments: Any = base.__reduce__(obj)[1]
        held = attributes_of(obj)
        held |= {name: getattr(obj, name) for name in _MORE.get(base, ()) if getattr(obj, name, None) is not None}
        return Ext(_EXCEPTION, head + pack(list(arguments), 1) + pack(held, FIELDS))

    return encode


_MORE: Final[dict[type[BaseException], tuple[str, ...]]] = {
    ImportError: ("name", "path"),
    ModuleNotFoundError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}
"""What built-in exceptions hold beside their arguments. An AttributeError's object is no part of the error."""


def _extended_encoder(cls: type[Any], reference: bytes) -> Encoder:
    base = base_of(cls)
    assert base is not None  # noqa: S101 - of this kind are those that have one
    head = b"\x94" + reference + packb(EXTENDABLE[base])
    return lambda obj, pack: Ext(_EXTENDED, head + pack(content_of(obj, base)) + _rest(obj, pack))


def _object_encoder(_cls: type[Any], reference: bytes) -> Encoder:
    head = b"\x92" + reference
    return lambda obj, pack: Ext(_OBJECT, head + pack(attributes_of(obj), FIELDS))


_MAKERS: Final[dict[Kind, Callable[[Any, bytes], Encoder]]] = {
    Kind.MODEL: _model_encoder,
    Kind.DATACLASS: _dataclass_encoder,
    Kind.TUPLE: _tuple_encoder,
    Kind.ENUM: _enum_encoder,
    Kind.EXCEPTION: _exception_encoder,
    Kind.EXTENDED: _extended_encoder,
    Kind.OBJECT: _object_encoder,
}
