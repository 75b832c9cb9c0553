"""The standard library's types of data: what a value is stored as, and how it is built again.

A value is stored as a list: the name of its type, then what the type is built from.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import ipaddress
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from pydantic_core import TzInfo

PATHS: Final = (pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
ADDRESSES: Final = (
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network,
    ipaddress.IPv6Address, ipaddress.IPv6Interface, ipaddress.IPv6Network,
)  # fmt: skip


class Unfit(Exception):
    """A value cannot be stored for what it is, although others of its type can."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


def _when(value: datetime.datetime) -> list[Any]:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold]
    return parts if value.tzinfo is None else [*parts, value.tzinfo]


def _build_when(*parts: Any) -> datetime.datetime:
    *wall, fold, zone = parts if len(parts) > 8 else (*parts, None)
    year, month, day, *clock = wall
    return datetime.datetime.combine(datetime.date(year, month, day), _build_clock(*clock, fold, zone))


def _clock(value: datetime.time) -> list[Any]:
    parts = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    return parts if value.tzinfo is None else [*parts, value.tzinfo]


def _build_clock(*parts: Any) -> datetime.time:
    hour, minute, second, micro, fold, zone = parts if len(parts) > 5 else (*parts, None)
    return datetime.time(hour, minute, second, micro, zone, fold=fold)


def _offset(zone: datetime.timezone) -> list[Any]:
    span, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # its two arguments, without the name that it makes
    return [span, *name]


def _zone(zone: zoneinfo.ZoneInfo) -> list[Any]:
    if zone.key is None:
        raise Unfit("it has no key", "Use zoneinfo.ZoneInfo with the name of the zone")
    return [zone.key]


def _factory(value: Any) -> list[Any]:
    made_by = value.default_factory
    if made_by is not None and not isinstance(made_by, type):
        raise Unfit("its default_factory is no class", "Use a class such as list or int, or store dict(value)")
    return [made_by, dict(value)]


def _build_default(made_by: Any, items: dict[Any, Any]) -> Any:
    return collections.defaultdict(made_by, items)


def _build_counter(items: dict[Any, Any]) -> Any:
    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, items)
    return counter


_Spec = tuple[str, Callable[[Any], list[Any]], Callable[..., Any]]

SPECS: Final[dict[type[Any], _Spec]] = {
    int: (
        "int",
        lambda value: [value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)],
        lambda raw: int.from_bytes(raw, "big", signed=True),
    ),
    str: (
        "str",
        lambda value: [value.encode("utf-8", "surrogatepass")],
        lambda raw: raw.decode("utf-8", "surrogatepass"),
    ),
    bytearray: ("bytearray", lambda value: [bytes(value)], bytearray),
    complex: ("complex", lambda value: [value.real, value.imag], complex),
    range: ("range", lambda value: [value.start, value.stop, value.step], range),
    slice: ("slice", lambda value: [value.start, value.stop, value.step], slice),
    type(...): ("...", lambda _: [], lambda: ...),
    decimal.Decimal: ("Decimal", lambda value: [str(value)], decimal.Decimal),
    fractions.Fraction: ("Fraction", lambda value: [value.numerator, value.denominator], fractions.Fraction),
    uuid.UUID: ("UUID", lambda value: [value.bytes], lambda raw: uuid.UUID(bytes=raw)),
    datetime.datetime: ("datetime", _when, _build_when),
    datetime.date: ("date", lambda value: [value.year, value.month, value.day], datetime.date),
    datetime.time: ("time", _clock, _build_clock),
    datetime.timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        datetime.timedelta,
    ),
    datetime.timezone: ("timezone", _offset, datetime.timezone),
    zoneinfo.ZoneInfo: ("ZoneInfo", _zone, zoneinfo.ZoneInfo),
    TzInfo: ("TzInfo", lambda value: list(value.__reduce__()[1]), TzInfo),  # what pydantic parses an offset to
    collections.deque: (
        "deque",
        lambda value: [list(value), value.maxlen],
        collections.deque,
    ),
    collections.defaultdict: ("defaultdict", _factory, _build_default),
    collections.OrderedDict: ("OrderedDict", lambda value: [dict(value)], collections.OrderedDict),
    collections.Counter: ("Counter", lambda value: [dict(value)], _build_counter),
    collections.ChainMap: ("ChainMap", lambda value: list(value.maps), collections.ChainMap),
    types.MappingProxyType: ("mappingproxy", lambda value: [dict(value)], types.MappingProxyType),
    types.SimpleNamespace: (
        "SimpleNamespace",
        lambda value: [vars(value)],
        lambda attributes: types.SimpleNamespace(**attributes),
    ),
    array.array: ("array", lambda value: [value.typecode, value.tobytes()], array.array),
    re.Pattern: ("Pattern", lambda value: [value.pattern, value.flags], re.compile),
    **{cls: (cls.__name__, lambda value: [str(value)], cls) for cls in (*PATHS, *ADDRESSES)},
}
"""For each type its name, what a value of it is built from, and what builds it."""

BUILDERS: Final = {name: build for name, _take, build in SPECS.values()}

PLAIN_CLASSES: Final[dict[tuple[str, str], type[Any]]] = {
    (cls.__module__, cls.__qualname__): cls
    for cls in (*SPECS, bool, float, bytes, tuple, list, dict, set, frozenset, object, type(None))
}
"""Classes that may be stored as such, as a default_factory is."""


def foreign_spec(cls: type[Any]) -> _Spec | None:
    """Return how values of a class are stored that other libraries define and hand out all the time."""
    if cls.__module__ == "pydantic.networks" and hasattr(cls, "build"):
        return cls.__name__, lambda value: [cls.__name__, str(value)], _build_url
    if cls.__module__.startswith("dateutil.tz") and cls.__name__ in _DATEUTIL:
        return cls.__name__, lambda value: [cls.__name__, *_DATEUTIL[cls.__name__](value)], _build_dateutil
    return None


def _build_url(name: str, text: str) -> Any:
    import pydantic.networks

    found = getattr(pydantic.networks, name)
    if not (isinstance(found, type) and hasattr(found, "build")):
        raise ValueError("it is no URL")
    return found(text)


_DATEUTIL: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "tzutc": lambda _: [],
    "tzlocal": lambda _: [],
    "tzoffset": lambda zone: [zone._name, zone._offset.total_seconds()],  # noqa: SLF001 - as its repr shows them
}
"""The time zones that dateutil's parser returns, boto3 with it, and what each is built from."""


def _build_dateutil(name: str, *arguments: Any) -> Any:
    import dateutil.tz  # type: ignore[import-untyped]  # only there when a program has it

    if name not in _DATEUTIL:
        raise ValueError("it is no time zone")
    return getattr(dateutil.tz, name)(*arguments)


def builder_of(name: str) -> Callable[..., Any]:
    """Return what builds the values of a type by the type's stored name; raises `ValueError` for none."""
    if name in BUILDERS:
        return BUILDERS[name]
    if name == "url":
        return _build_url
    if name == "dateutil":
        return _build_dateutil
    raise ValueError("the type of a value is unknown")


def stored_as(cls: type[Any]) -> tuple[str, Callable[[Any], list[Any]]] | None:
    """Return the stored name of a type, and what takes its values apart; None for other types."""
    if (spec := SPECS.get(cls)) is not None:
        return spec[0], spec[1]
    if (spec := foreign_spec(cls)) is not None:
        return ("url" if spec[2] is _build_url else "dateutil"), spec[1]
    return None


# --- numpy ---


def is_numpy(cls: type[Any]) -> bool:
    """Tell whether a class is numpy's array or one of its scalars."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and (cls is numpy.ndarray or (issubclass(cls, numpy.generic) and cls is not numpy.object_))


def numpy_parts(value: Any) -> list[Any]:
    """Return what an array or a scalar is built from: type, shape, order and bytes, or elements."""
    import numpy as np

    if isinstance(value, (np.str_, np.bytes_)):
        # As text: an array would cut off NULs at the end.
        return ["str", str.__str__(value)] if isinstance(value, np.str_) else ["bytes", b"".join([value, b""])]
    if not isinstance(value, np.ndarray):
        found = np.asarray(value)
        return [_descr(found.dtype), None, "C", found.tobytes()]
    if value.dtype == object:
        return [None, list(value.shape), "C", value.ravel().tolist()]
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return [_descr(value.dtype), list(value.shape), order, value.tobytes(order="A" if order == "F" else "C")]


def _descr(dtype: Any) -> Any:
    from numpy.lib import format as npy

    if dtype.hasobject or dtype.kind == "T":
        raise Unfit(f"elements of its type {dtype} are of no fixed size", "Store its .tolist()")
    found = dtype.str if dtype.names is None and dtype.subdtype is None else npy.dtype_to_descr(dtype)
    if npy.descr_to_dtype(found) != dtype:
        raise Unfit(f"numpy does not rebuild its type {dtype}", "Store its .tolist()")
    return found


def build_numpy(descr: Any, shape: list[int] | None, order: str = "C", data: Any = b"") -> Any:
    """Build an array that can be written to, or a scalar."""
    import numpy as np
    from numpy.lib import format as npy

    if descr in ("str", "bytes") and isinstance(shape, (str, bytes)):
        return np.str_(shape) if isinstance(shape, str) else np.bytes_(shape)
    if descr is None:
        flat = np.empty(len(data), dtype=object)
        for at, element in enumerate(data):
            flat[at] = element
        return flat.reshape(shape)
    dtype = npy.descr_to_dtype(descr)
    size = dtype.itemsize
    for count in shape or ():
        size *= count
    if dtype.hasobject or size != len(data):
        raise ValueError("a numpy value is damaged")
    found = np.ndarray(tuple(shape or ()), dtype, buffer=bytearray(data) if data else None, order=order)  # type: ignore[arg-type]  # C or F
    return found[()] if shape is None else found
