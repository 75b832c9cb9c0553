"""The kinds of classes that hold data, and what their objects consist of."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import re
import sys
import zlib
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Final, TypeVar, cast

from langgraph.store.base import Item
from pydantic import BaseModel, RootModel, SecretBytes, SecretStr
from pydantic.types import Secret

T = TypeVar("T")


def by_class(function: Callable[[type[Any]], T]) -> Callable[[type[Any]], T]:
    """Let a function of a class work once for each of the classes that were asked for last."""
    remembered: Any = lru_cache(maxsize=4096)(function)
    return cast(Callable[[type[Any]], T], remembered)


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


@by_class
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


@by_class
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


@by_class
def computed_of(cls: type[Any]) -> frozenset[str]:
    """Return the names under which an object caches what it has computed from its other parts."""
    cached = (name for part in cls.__mro__ for name, value in vars(part).items() if isinstance(value, cached_property))
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
        except AttributeError:
            continue
    return found


def restore(obj: Any, attributes: dict[str, Any]) -> None:
    """Give an object its attributes, whatever its class says about setting them."""
    for name, value in attributes.items():
        object.__setattr__(obj, name, value)


# --- fields ---


@by_class
def fields_of(cls: Any) -> dict[str, str]:
    """Return the fields of a dataclass or attrs class; of those that its constructor takes, the name that it takes."""
    if dataclasses.is_dataclass(cls):
        return {field.name: field.name if field.init else "" for field in dataclasses.fields(cls)}
    return {field.name: field.alias if field.init else "" for field in cls.__attrs_attrs__}


_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


@by_class
def shape_of(cls: Any) -> int:
    """Return a number that changes when a model's fields do: their names, their order or their types."""
    shown = [(name, _ADDRESS.sub("", repr(field.annotation))) for name, field in cls.__pydantic_fields__.items()]
    return zlib.crc32(repr(shown).encode("utf-8", "surrogatepass"))


def builtin_exception(cls: type[BaseException]) -> type[BaseException]:
    """Return the built-in exception that a class extends."""
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")
