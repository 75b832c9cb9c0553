"""Checks of arguments that hold several of something: a single one is a mistake that would not be noticed.

A text is a sequence of its characters, so that `prune("ab")` would delete the threads "a" and "b".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def several(values: Iterable[T], name: str, of: str) -> list[T]:
    """Return the values as a list; raises `TypeError` for a single text, for bytes, and for what is no collection."""
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of {of}, not {_shown(values)}: put a single one in brackets")
    return list(values)


def ids_of(values: Iterable[Any], name: str, of: str) -> list[str]:
    """Return ids as texts, each once; raises `TypeError` for a single one, and for one that is None or bytes."""
    found = several(values, name, of)
    for value in found:
        if value is None or isinstance(value, (bytes, bytearray)):
            raise TypeError(f"{name} must be a list of {of}, and one of them is {_shown(value)}")
    return list(dict.fromkeys(map(str, found)))


def one_id(value: Any) -> str:
    """Return a thread id as text; raises `TypeError` for several of them, for None and for bytes."""
    if value is None or isinstance(value, (bytes, bytearray, list, tuple, set, frozenset, dict)):
        raise TypeError(f"a thread id must be one text, not {_shown(value)}")
    return str(value)


def at_most(limit: int | None) -> int | None:
    """Return a limit, None for none; raises `ValueError` for a negative one, which savers read in different ways."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be 0 or more, or None for no limit, not {limit}")
    return limit


def types_of(allow: Collection[T]) -> Collection[T]:
    """Return the types that may be rebuilt; raises `TypeError` for a single one, and for a name without its module."""
    for entry in several(allow, "allow", "classes"):
        if isinstance(entry, (str, bytes)):
            raise TypeError(
                f"allow must be a list of classes or of pairs (module, name), and one of them is {_shown(entry)}"
            )
    return allow


def _shown(value: Any) -> str:
    """Return what a wrong argument is, without the whole of it."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:60] + '...'}"
