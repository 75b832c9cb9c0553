"""Objects put together from their stored parts.

Constructors, validators and `__post_init__` have run once, when the program made the object, and do not run again. Only
where a class has other fields by now are they asked to make the new object from the old parts.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, RootModel

from ._kinds import EXTENDABLE, Kind, base_of, builtin_exception, fields_of, kind_of, restore, shape_of


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
    obj = tuple.__new__(cls, fields.values()) if tuple(fields) == cls._fields else _made_anew(cls, fields)
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
        base: Any = type(content)
        obj = base.__new__(cls)
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
