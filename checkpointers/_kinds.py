"""The kinds of classes that hold data: what their objects consist of, and how one is put together again.

An object is stored as its parts and comes back with the same parts. Its constructor, its validators and its
`__post_init__` have run once, when the program made it, and do not run again; only where a class has other fields by
now are they asked to make the new object from the old parts.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import re
import sys
import zlib
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import Any, Final

from langgraph.store.base import Item
from pydantic import BaseModel, RootModel, SecretBytes, SecretStr
from pydantic.types import Secret


class Kind(enum.IntEnum):
    """What an object is, as the code of the msgpack extension that holds it."""

    MODEL = 24
    DATACLASS = 25
    TUPLE = 26
    ENUM = 27
    EXCEPTION = 28
    EXTENDED = 29
    """An object of a class that extends a built-in type, such as `class UserId(str)`."""
    OBJECT = 30
    """An object of a few classes of which all attributes are data."""


EXTENDABLE: Final[dict[type[Any], str]] = {
    cls: cls.__name__
    for cls in (
        str, int, float, complex, bytes, bytearray, tuple, frozenset, set, list, dict,
        collections.OrderedDict, collections.defaultdict, collections.Counter, collections.deque,
        decimal.Decimal, datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    )
}  # fmt: skip
"""Built-in types that classes of data extend, by the name that a record gives them."""

_SEND: Final = ("langgraph.types", "Send")
"""By its name, because its module takes a second to import and a saver alone does not need it."""

_OBJECTS: Final[tuple[type[Any], ...]] = (
    Item, SecretStr, SecretBytes, Secret, collections.UserDict, collections.UserList, collections.UserString,
)  # fmt: skip


@lru_cache(maxsize=4096)
def kind_of(cls: type[Any]) -> Kind | None:
    """Return the kind of a class; None for one that holds no data, or a built-in one."""
    if issubclass(cls, enum.Enum):
        return Kind.ENUM
    if issubclass(cls, BaseModel):
        return Kind.MODEL
    if issubclass(cls, BaseException):
        return Kind.EXCEPTION
    if cls in EXTENDABLE:
        return None
    if base_of(cls) is not None:
        return Kind.TUPLE if issubclass(cls, tuple) and hasattr(cls, "_fields") else Kind.EXTENDED
    if issubclass(cls, _OBJECTS) or _is_old_model(cls) or (cls.__module__, cls.__name__) == _SEND:
        return Kind.OBJECT
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return Kind.DATACLASS
    return None


def _is_old_model(cls: type[Any]) -> bool:
    old = sys.modules.get("pydantic.v1")
    return old is not None and issubclass(cls, old.BaseModel)


def is_data(cls: type[Any]) -> bool:
    """Tell whether objects of a class are data that can be rebuilt; `object` and the bases of whole kinds are not."""
    return cls not in (object, BaseModel, enum.Enum) and kind_of(cls) is not None


def base_of(cls: type[Any]) -> type[Any] | None:
    """Return the built-in type that a class extends; None for none."""
    return next((base for base in cls.__mro__ if base in EXTENDABLE), None)


# --- attributes ---


@lru_cache(maxsize=4096)
def slots_of(cls: type[Any]) -> tuple[str, ...]:
    """Return the attributes of a class's objects that are not in their `__dict__`."""
    found = []
    for part in cls.__mro__:
        slots = vars(part).get("__slots__", ())
        for slot in [slots] if isinstance(slots, str) else slots:
            if slot in ("__dict__", "__weakref__") or part in (BaseModel, RootModel):
                continue
            private = slot.startswith("__") and not slot.endswith("__")
            found.append(f"_{part.__name__.lstrip('_')}{slot}" if private else slot)
    return tuple(found)


@lru_cache(maxsize=4096)
def computed_of(cls: type[Any]) -> frozenset[str]:
    """Return the names under which an object caches what it has computed from its other parts."""
    cached = (
        name for part in cls.__mro__ for name, value in vars(part).items() if isinstance(value, cached_property)
    )
    return frozenset(cached)


def attributes_of(obj: Any) -> dict[str, Any]:
    """Return everything that an object holds, without what it has cached."""
    cls = type(obj)
    found = dict(getattr(obj, "__dict__", ()))
    found.pop("__orig_class__", None)  # what typing adds to an object of a generic class
    for name in computed_of(cls):
        found.pop(name, None)
    for name in slots_of(cls):
        try:
            found[name] = object.__getattribute__(obj, name)
        except AttributeError:  # noqa: PERF203 - a slot may be empty
            continue
    return found


def restore(obj: Any, attributes: dict[str, Any]) -> None:
    """Give an object its attributes, whatever its class says about setting them."""
    for name, value in attributes.items():
        object.__setattr__(obj, name, value)


# --- fields ---


@lru_cache(maxsize=4096)
def fields_of(cls: type[Any]) -> dict[str, str]:
    """Return the fields of a dataclass or attrs class; of those that its constructor takes, the name that it takes."""
    if dataclasses.is_dataclass(cls):
        return {field.name: field.name if field.init else "" for field in dataclasses.fields(cls)}
    return {field.name: field.alias if field.init else "" for field in cls.__attrs_attrs__}


_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


@lru_cache(maxsize=4096)
def shape_of(cls: type[BaseModel]) -> int:
    """Return a number that changes when a model's fields do: their names, their order or their types."""
    shown = [(name, _ADDRESS.sub("", repr(field.annotation))) for name, field in cls.__pydantic_fields__.items()]
    return zlib.crc32(repr(shown).encode("utf-8", "surrogatepass"))


class OtherFields(Exception):
    """A class has other fields than the stored object, and makes no object of it."""


def rebuilt(cls: type[Any], kind: int, parts: list[Any]) -> Any:
    """Put an object together from its parts, which follow the class in a record.

    Raises `OtherFields` when the class has changed so that it does not take them.
    """
    own = kind_of(cls)
    if own == kind:
        return _REBUILD[own](cls, *parts)
    if own in _FIELDS_OF_RECORD and kind in _FIELDS_OF_RECORD:
        # A dataclass has become a model, or the like.
        return _made_anew(cls, parts[_FIELDS_OF_RECORD[kind]])
    raise OtherFields(f"{cls.__qualname__} is of another kind than what is stored")


def _made_anew(cls: type[Any], arguments: dict[str, Any]) -> Any:
    try:
        if issubclass(cls, RootModel):
            return cls.model_validate(arguments["root"])
        if issubclass(cls, BaseModel):
            return cls.model_validate(arguments, by_name=True, by_alias=False)
        return cls(**arguments)
    except (TypeError, ValueError, LookupError) as error:
        raise OtherFields(f"its fields are others by now ({type(error).__name__})") from error


def _model(
    cls: type[BaseModel],
    shape: int,
    given: list[str] | None,
    fields: dict[str, Any],
    extra: dict[str, Any] | None = None,
    private: dict[str, Any] | None = None,
    slots: dict[str, Any] | None = None,
) -> BaseModel:
    if shape == shape_of(cls):
        model = object.__new__(cls)
        object.__setattr__(model, "__dict__", fields)
        if not issubclass(cls, RootModel):
            object.__setattr__(model, "__pydantic_extra__", extra)
            object.__setattr__(model, "__pydantic_private__", private)
    else:
        model = _made_anew(cls, {**fields, **(extra or {})})
        if private and model.__pydantic_private__ is not None:
            model.__pydantic_private__.update(
                {name: value for name, value in private.items() if name in cls.__private_attributes__}
            )
    stored = set(fields) if given is None else set(given)
    object.__setattr__(model, "__pydantic_fields_set__", stored)
    if slots:
        restore(model, slots)
    return model


def _dataclass(cls: type[Any], fields: dict[str, Any], rest: dict[str, Any] | None) -> Any:
    now = fields_of(cls)
    if now.keys() == fields.keys():
        obj = object.__new__(cls)
        restore(obj, fields)
    else:
        unknown = fields.keys() - now.keys()
        if unknown:
            raise OtherFields(f"it has no field {', '.join(sorted(unknown))} any more")
        obj = _made_anew(cls, {now[name]: value for name, value in fields.items() if now[name]})
        restore(obj, {name: value for name, value in fields.items() if not now[name]})
    restore(obj, rest or {})
    return obj


def _tuple(cls: type[Any], fields: dict[str, Any], rest: dict[str, Any] | None) -> Any:
    if tuple(fields) == cls._fields:
        obj = tuple.__new__(cls, fields.values())
    else:
        obj = _made_anew(cls, fields)
    restore(obj, rest or {})
    return obj


def _enum(cls: type[enum.Enum], by_name: bool, stored: Any) -> Any:
    try:
        return cls[stored] if by_name else cls(stored)
    except (KeyError, ValueError) as error:
        raise OtherFields("it has no such member any more") from error


def _exception(cls: type[BaseException], arguments: list[Any], attributes: dict[str, Any]) -> BaseException:
    base = builtin_exception(cls)
    found: BaseException = base.__new__(cls, *arguments)
    base.__init__(found, *arguments)
    for name, value in attributes.items():
        object.__setattr__(found, name, value)
    return found


def builtin_exception(cls: type[BaseException]) -> type[BaseException]:
    """Return the built-in exception that a class extends."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _extended(cls: type[Any], base_name: str, content: Any, rest: dict[str, Any] | None) -> Any:
    base = base_of(cls)
    if base is None or EXTENDABLE[base] != base_name:
        raise OtherFields(f"it does not extend {base_name} any more")
    obj = _MAKE.get(base, base.__new__)(cls, content)
    restore(obj, rest or {})
    return obj


def _of_datetime(cls: type[Any], content: Any) -> Any:
    parts = (content.hour, content.minute, content.second, content.microsecond, content.tzinfo)
    if issubclass(cls, datetime.time):
        return datetime.time.__new__(cls, *parts, fold=content.fold)
    return datetime.datetime.__new__(cls, content.year, content.month, content.day, *parts, fold=content.fold)


def _filled(fill: Callable[[Any, Any], Any]) -> Callable[[type[Any], Any], Any]:
    def make(cls: type[Any], content: Any) -> Any:
        obj = type(content).__new__(cls)
        fill(obj, content)
        return obj

    return make


def _fill_default(obj: Any, content: Any) -> None:
    collections.defaultdict.__init__(obj, content.default_factory, content)


_MAKE: Final[dict[type[Any], Callable[[type[Any], Any], Any]]] = {
    datetime.datetime: _of_datetime,
    datetime.time: _of_datetime,
    datetime.date: lambda cls, day: datetime.date.__new__(cls, day.year, day.month, day.day),
    datetime.timedelta: lambda cls, span: datetime.timedelta.__new__(cls, span.days, span.seconds, span.microseconds),
    list: _filled(list.__init__),
    set: _filled(set.__init__),
    bytearray: _filled(bytearray.__init__),
    dict: _filled(dict.update),
    collections.Counter: _filled(dict.update),
    collections.OrderedDict: _filled(collections.OrderedDict.update),
    collections.defaultdict: _filled(_fill_default),
    collections.deque: _filled(lambda obj, content: collections.deque.__init__(obj, content, content.maxlen)),
}


def _object(cls: type[Any], attributes: dict[str, Any]) -> Any:
    obj = object.__new__(cls)
    restore(obj, attributes)
    return obj


_REBUILD: Final[dict[Kind, Callable[..., Any]]] = {
    Kind.MODEL: _model,
    Kind.DATACLASS: _dataclass,
    Kind.TUPLE: _tuple,
    Kind.ENUM: _enum,
    Kind.EXCEPTION: _exception,
    Kind.EXTENDED: _extended,
    Kind.OBJECT: _object,
}
_FIELDS_OF_RECORD: Final[dict[int, int]] = {Kind.MODEL: 2, Kind.DATACLASS: 0, Kind.TUPLE: 0}
"""The part of a record that holds the fields by name."""


def content_of(obj: Any, base: type[Any]) -> Any:
    """Return what an object of a class that extends a built-in type holds, as an object of that type.

    It is read with the type's own methods: a class may show its items in another way than it holds them.
    """
    return _CONTENT[base](obj)


def _deque(obj: Any) -> Any:
    return collections.deque(collections.deque.__iter__(obj), obj.maxlen)


_CONTENT: Final[dict[type[Any], Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    complex: lambda obj: complex(obj.real, obj.imag),
    bytes: lambda obj: b"".join([obj, b""]),
    bytearray: lambda obj: bytearray(memoryview(obj)),
    tuple: lambda obj: tuple(tuple.__iter__(obj)),
    frozenset: lambda obj: frozenset(frozenset.__iter__(obj)),
    set: lambda obj: set(set.__iter__(obj)),
    list: lambda obj: list(list.__iter__(obj)),
    dict: lambda obj: dict(dict.items(obj)),
    collections.OrderedDict: lambda obj: collections.OrderedDict(collections.OrderedDict.items(obj)),
    collections.defaultdict: lambda obj: collections.defaultdict(obj.default_factory, dict.items(obj)),
    collections.Counter: lambda obj: collections.Counter(dict(dict.items(obj))),
    collections.deque: _deque,
    decimal.Decimal: lambda obj: decimal.Decimal(decimal.Decimal.__str__(obj)),
    datetime.datetime: lambda obj: _of_datetime(datetime.datetime, obj),
    datetime.time: lambda obj: _of_datetime(datetime.time, obj),
    datetime.date: lambda obj: datetime.date(obj.year, obj.month, obj.day),
    datetime.timedelta: lambda obj: datetime.timedelta(obj.days, obj.seconds, obj.microseconds),
}
