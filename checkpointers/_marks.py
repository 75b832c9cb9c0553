"""What values were when they were stored, to see later that nothing in them was changed in place.

Remembered is each container inside of them with what it held: an object's fields, a model's extra and private ones, a
dict's keys and values, a list's items. They are compared by identity, and side by side for all containers of a kind,
because that is done without a loop in Python: a thousand messages take a fraction of a millisecond.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from ._kinds import Kind, by_class, kind_of, slots_of

_ATOMS: Final = frozenset(
    {str, int, float, bool, bytes, type(None), complex, datetime.datetime, datetime.date, datetime.time,
     datetime.timedelta, decimal.Decimal, uuid.UUID}
)  # fmt: skip
"""Types whose values never change."""

CONTAINER: Final = 200
"""Bytes that a container takes, about, beside the texts in it."""
MOST: Final = 1_000_000
"""Values that are looked at; what contains itself has no end."""

_fields_of: Final = attrgetter("__dict__")
_extra_of: Final = attrgetter("__pydantic_extra__")
_private_of: Final = attrgetter("__pydantic_private__")


_Look: TypeAlias = Callable[[Any], Any] | None
"""Returns the dict in a container, asked each time, as a model may get another one; None for the container itself."""
_KINDS: Final[tuple[tuple[_Look, bool], ...]] = (
    (_fields_of, True),
    (_extra_of, True),
    (_private_of, True),
    (None, True),
    (None, False),
)
"""How to look into each kind of container, and whether that is a dict: fields, extra and private ones, dicts, lists."""
_FIELDS, _EXTRA, _PRIVATE, _DICTS, _LISTS = range(5)


@dataclass(frozen=True, slots=True)
class _Held:
    """What the containers of one kind held."""

    containers: tuple[Any, ...] = ()
    sizes: tuple[int, ...] = ()
    keys: tuple[Any, ...] = ()
    items: tuple[Any, ...] = ()

    def __add__(self, more: _Held) -> _Held:
        return _Held(
            self.containers + more.containers,
            self.sizes + more.sizes,
            self.keys + more.keys,
            self.items + more.items,
        )

    def unchanged(self, look: _Look, is_dict: bool) -> bool:
        if not self.containers:
            return True
        now: Sequence[Any] = self.containers if look is None else list(map(look, self.containers))
        return tuple(map(len, now)) == self.sizes and (
            # Most containers of messages are empty.
            not self.items
            or (
                all(map(is_, _items(now, is_dict), self.items))
                # An object that has as many fields with the same values has the same fields.
                and (not self.keys or all(map(is_, chain.from_iterable(now), self.keys)))
            )
        )


def _items(found: Iterable[Any], is_dict: bool) -> Iterator[Any]:
    return chain.from_iterable(map(dict.values, found) if is_dict else found)


@dataclass(frozen=True, slots=True)
class Marks:
    """The containers inside of some values, by kind, with what they held."""

    held: tuple[_Held, ...] = (_Held(),) * len(_KINDS)
    size: int = 0
    """Bytes of the values in memory, about."""

    def __add__(self, more: Marks) -> Marks:
        held = tuple(own + others for own, others in zip(self.held, more.held, strict=True))
        return Marks(held, self.size + more.size)

    def unchanged(self) -> bool:
        """Tell whether every container still holds the same objects."""
        return all(held.unchanged(*kind) for held, kind in zip(self.held, _KINDS, strict=True))


@by_class
def _is_text(kind: type[Any]) -> bool:
    """Tell whether objects of a type are texts that hold nothing else, as `message.text` is."""
    return issubclass(kind, str) and not kind.__dictoffset__


@by_class
def _holds_in_dict(kind: type[Any]) -> bool:
    """Tell whether all that the objects of a dataclass or the like hold is in their `__dict__`."""
    return kind_of(kind) is Kind.DATACLASS and not slots_of(kind)


def marks_of(values: Sequence[Any]) -> Marks | None:
    """Return the marks of some values; None when some part of them cannot be looked into, or they never end."""
    found: tuple[list[Any], ...] = tuple([] for _ in _KINDS)
    left, size = list(values), 0
    for _ in range(MOST):
        if not left:
            held = tuple(_held(containers, *kind) for containers, kind in zip(found, _KINDS, strict=True))
            return Marks(held, size + CONTAINER * sum(map(len, found)))
        value = left.pop()
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
            continue
        if kind in _ATOMS or isinstance(value, enum.Enum):
            continue
        if kind is list or kind is tuple:
            found[_LISTS].append(value)
            left.extend(value)
        elif kind is dict:
            found[_DICTS].append(value)
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, BaseModel) and not slots_of(kind):
            found[_FIELDS].append(value)
            left.extend(value.__dict__.values())
            if (extra := value.__pydantic_extra__) is not None:
                found[_EXTRA].append(value)
                left.extend(extra.values())
            if (private := value.__pydantic_private__) is not None:
                found[_PRIVATE].append(value)
                left.extend(private.values())
        elif _holds_in_dict(kind):
            found[_FIELDS].append(value)
            left.extend(vars(value).values())
        elif not _is_text(kind):
            return None
    return None


def _held(containers: list[Any], look: _Look, is_dict: bool) -> _Held:
    now = containers if look is None else list(map(look, containers))
    keys = tuple(chain.from_iterable(now)) if is_dict and look is not _fields_of else ()
    return _Held(tuple(containers), tuple(map(len, now)), keys, tuple(_items(now, is_dict)))
