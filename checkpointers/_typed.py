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
from typing import Any, Final, Protocol

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
_KEYS: Final = frozenset({str, int, float, bool, bytes, type(None)})
"""Types of keys that msgpack has."""


class Pack(Protocol):
    """Packs a part of a value. `depth` lists around it are not shown in a path; `fields` are shown as attributes."""

    def __call__(self, value: Any, depth: int = 0, *, fields: bool = False) -> bytes: ...


Encoder = Callable[[Any, Pack], Ext]
Encoders = dict[type[Any], Encoder]


class _Retry(Exception):
    """A value needs the exact way."""


class Fast:
    """One value on its way to bytes, packed by ormsgpack."""

    __slots__ = ("_encoder_of", "_encoders", "typed")

    def __init__(self, encoders: Encoders, encoder_of: Callable[[type[Any]], Encoder]) -> None:
        self._encoders, self._encoder_of = encoders, encoder_of
        self.typed = False
        """Whether some part is in an extension."""

    def pack(self, value: Any, depth: int = 0, *, fields: bool = False) -> bytes:  # noqa: ARG002 - see `Pack`
        """Pack a part; raises what says no more than that the exact way is needed."""
        data = packb(value, default=self._default, option=FAST)
        if (b"\xc4" in data or b"\xc5" in data or b"\xc6" in data) and _has_buffers(value):
            raise _Retry
        return data

    def _default(self, obj: Any) -> Ext:
        self.typed = True
        encode = self._encoders.get(type(obj))
        if encode is None:
            encode = self._encoder_of(type(obj))
        return encode(obj, self.pack)


def _has_buffers(value: Any) -> bool:
    """Tell whether the lists and dicts of a value hold bytearrays or the like, which ormsgpack packs as bytes."""
    level = [value]
    while level:
        kinds = set(map(type, level))
        if kinds & {bytearray, memoryview, Ext, ormsgpack.Fragment}:
            return True
        containers = [one for one in level if type(one) is list or type(one) is dict]
        level = gc.get_referents(*containers) if containers else []
    return False


class Exact:
    """One value on its way to bytes, walked through in Python; `problems` says what cannot be stored."""

    def __init__(self, encoder_of: Callable[[type[Any]], Encoder]) -> None:
        self._encoder_of = encoder_of
        self._path: list[str] = []
        self._hidden = 0
        self.typed = False
        self.problems: list[Problem] = []

    def pack(self, value: Any, depth: int = 0, *, fields: bool = False) -> bytes:
        """Pack a part; what cannot be stored is noted and left out."""
        before, self._hidden = self._hidden, depth
        try:
            return _packed(self._fields(value) if fields else self._exact(value))
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


def _tuple(obj: tuple[Any, ...], pack: Pack) -> Ext:
    return Ext(TUPLE, pack(list(obj)))


def _set_encoder(code: int) -> Encoder:
    def encode(obj: Any, pack: Pack) -> Ext:
        # In an order of their own, because that of a set is another one in each process.
        parts = sorted([pack(element) for element in obj])
        return Ext(code, packb([ormsgpack.Fragment(part) for part in parts]))

    return encode


_BUILT_IN: Final[Encoders] = {
    tuple: _tuple,
    set: _set_encoder(SET),
    frozenset: _set_encoder(FROZENSET),
    _DeltaSnapshot: lambda obj, pack: Ext(DELTA, pack(obj.value)),
    **{cls: _standard_encoder(name, take) for cls, (name, take, _build) in SPECS.items()},
}


def _model_encoder(cls: Any, reference: bytes) -> Encoder:
    names, has_slots = cls.__pydantic_fields__.keys(), bool(slots_of(cls))
    shape = packb(shape_of(cls))
    short, long = b"\x94" + reference + shape, b"\x97" + reference + shape

    def encode(obj: Any, pack: Pack) -> Ext:
        fields, given = obj.__dict__, obj.__pydantic_fields_set__
        extra, private = obj.__pydantic_extra__, obj.__pydantic_private__
        if not fields.keys() <= names:
            whole = attributes_of(obj)
            fields = {name: whole[name] for name in fields if name in whole}
        marked = _NIL if given == fields.keys() else packb(sorted(given))
        if extra is None and private is None and not has_slots:
            return Ext(Kind.MODEL, short + marked + pack(fields, fields=True))
        rest = [part if part is None else pack(part, fields=True) for part in (extra, private)]
        whole = {name: value for name, value in attributes_of(obj).items() if name not in obj.__dict__}
        parts = [_NIL if part is None else part for part in (*rest, pack(whole, fields=True) if whole else None)]
        return Ext(Kind.MODEL, long + marked + pack(fields, fields=True) + b"".join(parts))

    return encode


def _dataclass_encoder(cls: type[Any], reference: bytes) -> Encoder:
    names, head = fields_of(cls).keys(), b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        held = attributes_of(obj)
        if held.keys() == names:
            return Ext(Kind.DATACLASS, head + pack(held, fields=True) + _NIL)
        rest = {name: held.pop(name) for name in held.keys() - names}
        return Ext(Kind.DATACLASS, head + pack(held, fields=True) + pack(dict(sorted(rest.items())), fields=True))

    return encode


def _tuple_encoder(cls: Any, reference: bytes) -> Encoder:
    head = b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        fields = dict(zip(cls._fields, tuple.__iter__(obj), strict=True))
        return Ext(Kind.TUPLE, head + pack(fields, fields=True) + _rest(obj, pack))

    return encode


def _rest(obj: Any, pack: Pack) -> bytes:
    held = attributes_of(obj)
    return pack(held, fields=True) if held else _NIL


def _enum_encoder(cls: type[Enum], reference: bytes) -> Encoder:
    head = b"\x93" + reference

    def encode(obj: Any, pack: Pack) -> Ext:
        value = obj.value
        if type(value) in (str, int) and _same(cls, value, obj):
            return Ext(Kind.ENUM, head + pack([False, value])[1:])
        if cls.__members__.get(obj.name) is not obj:
            raise Unfit("it is no member of its class", "Store a member of it")
        return Ext(Kind.ENUM, head + pack([True, obj.name])[1:])

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
        return Ext(Kind.EXCEPTION, head + pack(list(arguments), 1) + pack(held, fields=True))

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
    return lambda obj, pack: Ext(Kind.EXTENDED, head + pack(content_of(obj, base)) + _rest(obj, pack))


def _object_encoder(_cls: type[Any], reference: bytes) -> Encoder:
    head = b"\x92" + reference
    return lambda obj, pack: Ext(Kind.OBJECT, head + pack(attributes_of(obj), fields=True))


_MAKERS: Final[dict[Kind, Callable[[Any, bytes], Encoder]]] = {
    Kind.MODEL: _model_encoder,
    Kind.DATACLASS: _dataclass_encoder,
    Kind.TUPLE: _tuple_encoder,
    Kind.ENUM: _enum_encoder,
    Kind.EXCEPTION: _exception_encoder,
    Kind.EXTENDED: _extended_encoder,
    Kind.OBJECT: _object_encoder,
}
