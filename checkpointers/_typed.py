"""Values with their types: the msgpack extensions of this package.

What msgpack has no type for stands in an extension whose code says what it is. A value is first packed by ormsgpack
alone, which hands over each object that it does not know by its exact type; that is as fast as a serializer that keeps
no types. Only where this is not enough (keys that are no text, bytearrays, broken surrogates) or where something cannot
be stored, the value is walked through in Python, which knows where it is and can say so.
"""

from __future__ import annotations

import gc
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
    content_of,
    fields_of,
    is_data,
    kind_of,
    shape_of,
    slots_of,
)
from ._refusals import Problem
from ._standard import SPECS, Unfit, is_numpy, numpy_parts, stored_as

DELTA: Final = 7
"""A snapshot of a delta channel, under the code that LangGraph's serializer uses too."""
TUPLE, SET, FROZENSET, MAP, PLAIN, NUMPY, CLASS = range(16, 23)
"""A tuple; sets; a dict as a list of keys and values in turn; a standard type; numpy's; a class itself."""

FAST: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
EXACT: Final = FAST | ormsgpack.OPT_NON_STR_KEYS
_NIL: Final = packb(None)
NATIVE: Final = frozenset({str, int, float, bool, type(None), bytes, list, dict})
"""Types that msgpack has."""
_KEYS: Final = frozenset({str, int, float, bool, bytes, type(None)})
"""Types of keys that msgpack has."""


FIELDS: Final = -1
"""As the depth of a part: a dict of an object's fields, shown as attributes in a path."""
Pack = Callable[..., bytes]
"""`pack(part, depth=0)` packs a part of a value. `depth` lists around it are of our own making, so no path shows them."""
Encoder = Callable[[Any, Pack], Ext]
Encoders = dict[type[Any], Encoder]


class NotFast(Exception):
    """A value has to be packed the exact way."""


def fast_pack(encoders: Encoders, encoder_of: Callable[[type[Any]], Encoder], *, keys: bool) -> Pack:
    """Return what packs a value by ormsgpack, which asks back for each object that it does not know.

    It raises any error where the exact way is needed: ormsgpack hides what was raised inside. `keys` lets it pack keys
    that are numbers and the like too, for which all dicts are looked into.
    """
    option, encoder_for = EXACT if keys else FAST, encoders.get

    def default(obj: Any) -> Ext:
        return (encoder_for(type(obj)) or encoder_of(type(obj)))(obj, pack)

    def pack(value: Any, depth: int = 0) -> bytes:  # noqa: ARG001 - the exact way uses it
        data = packb(value, default, option)
        if keys or may_hold_buffers(data):
            check_natives(value, keys=keys)
        return data

    return pack


def may_hold_buffers(data: bytes) -> bool:
    """Tell whether bytes have a marker of msgpack's binary types, or a byte of a text or number that looks like it."""
    return b"\xc4" in data or b"\xc5" in data or b"\xc6" in data


def check_natives(value: Any, *, keys: bool = False, plain: bool = False) -> None:
    """Raise `NotFast` when the lists and dicts of a value hold what ormsgpack packs as another type.

    That is bytearrays and the like, and with `keys` keys of other types than msgpack has. `plain` says that it holds
    nothing but what ormsgpack packs by itself.
    """
    level = value if type(value) is list else [value]
    while level:
        if plain and _are_numbers(level):
            return
        kinds = set(map(type, level))
        if not kinds.isdisjoint(_AS_BYTES):
            raise NotFast
        if kinds.isdisjoint(_CONTAINERS):
            return
        containers = [one for one in level if type(one) is list or type(one) is dict]
        if keys and not all(_KEYS.issuperset(map(type, one)) for one in containers if type(one) is dict):
            raise NotFast
        level = gc.get_referents(*containers)


def _are_numbers(values: list[Any]) -> bool:
    """Tell whether a list holds numbers alone, which add up where the others cannot be added. Embeddings are long."""
    if not values or type(values[0]) not in (float, int):
        return False
    try:
        sum(values)
    except TypeError:
        return False
    return True


_AS_BYTES: Final = frozenset({bytearray, memoryview, Ext, ormsgpack.Fragment})
_CONTAINERS: Final = frozenset({list, dict})


_MODEL, _DATACLASS, _TUPLE, _ENUM, _EXCEPTION, _EXTENDED, _OBJECT = map(int, Kind)


class Exact:
    """One value on its way to bytes, walked through in Python; `problems` says what cannot be stored."""

    def __init__(self, encoder_of: Callable[[type[Any]], Encoder]) -> None:
        self._encoder_of = encoder_of
        self._path: list[str] = []
        self._hidden = 0
        self.typed = False
        self.problems: list[Problem] = []

    def pack(self, value: Any, depth: int = 0) -> bytes:
        """Pack a part; what cannot be stored is noted and left out."""
        before, self._hidden = self._hidden, max(depth, 0)
        try:
            return _packed(self._fields(value) if depth == FIELDS else self._exact(value))
        finally:
            self._hidden = before

    def _fields(self, value: dict[str, Any]) -> Any:
        return {name: self._at(f".{name}", part) for name, part in value.items()}

    def _at(self, step: str, value: Any) -> Any:
        if self._hidden:
            step, self._hidden, hidden = "", self._hidden - 1, True
        else:
            hidden = False
        self._path.append(step)
        try:
            return self._exact(value)
        finally:
            self._path.pop()
            self._hidden += hidden

    def _exact(self, value: Any) -> Any:
        kind = type(value)
        if kind is list:
            return [self._at(f"[{at}]", part) for at, part in enumerate(value)]
        if kind is dict:
            return self._dict(value)
        if kind in (float, bool, bytes, type(None)) or (kind is int and -(2**63) <= value < 2**64):
            return value
        if kind is str and _is_text(value):
            return value
        self.typed = True
        hidden, self._hidden = self._hidden, 0
        path = "".join(self._path)
        try:
            return self._encoder_of(kind)(value, self.pack)
        except ClassNotUsable as error:
            self.problems.append(Problem(path, error.cls, str(error), not_allowed=error.not_allowed))
        except Unfit as error:
            self.problems.append(Problem(path, kind, error.reason, error.advice))
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - an object may raise anything when it is looked into
            self.problems.append(Problem(path, kind, f"it cannot be looked into ({type(error).__name__})"))
        finally:
            self._hidden = hidden
        return None

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) in _KEYS and _is_native(key) for key in value):
            return {key: self._at(f"[{key!r}]", part) for key, part in value.items()}
        self.typed = True
        flat = []
        for key, part in value.items():
            flat += [self._at("{a key}", key), self._at(f"[{_shown(key)}]", part)]
        return Ext(MAP, _packed(flat))


def _packed(tree: Any) -> bytes:
    try:
        return packb(tree, option=EXACT)
    except TypeError:
        # All that is in it can be packed; what is left is a depth that ormsgpack does not go to.
        raise RecursionError from None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_native(key: Any) -> bool:
    return _is_text(key) if type(key) is str else type(key) is not int or -(2**63) <= key < 2**64


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."


# --- encoders ---


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
        slots = {name: value for name, value in attributes_of(obj).items() if name not in obj.__dict__}
        rest = [_NIL if part is None else pack(part, FIELDS) for part in (extra, private, slots or None)]
        return Ext(_MODEL, long + given_of(obj.__pydantic_fields_set__) + pack(fields, FIELDS) + b"".join(rest))

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


def _enum_encoder(cls: type[Enum], reference: bytes) -> Encoder:
    head = b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        value = obj.value
        if type(value) in (str, int) and _same(cls, value, obj):
            return Ext(_ENUM, head + pack([False, value])[1:])
        if cls.__members__.get(obj.name) is not obj:
            raise Unfit("it is no member of its class", "Store a member of it")
        return Ext(_ENUM, head + pack([True, obj.name])[1:])

    return encode


def _same(cls: type[Enum], value: Any, member: Enum) -> bool:
    try:
        return cls(value) is member
    except ValueError:
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
        _cls, arguments, *_state = base.__reduce__(obj)
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
