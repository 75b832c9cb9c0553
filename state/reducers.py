"""Pure reducers over the stored form of a field: plain JSON-able data in, plain data out.

Each is idempotent: applying the same update twice changes nothing. So a person who sends a whole edited state
back from Studio doubles no list and no sum.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

Plain = Any
"""JSON-able data: what a channel stores."""


def replace(_old: Plain, new: Plain) -> Plain:
    """Take the newest value."""
    return new


def sticky(old: Plain, new: Plain) -> bool:
    """Stay true once true."""
    return bool(old) or bool(new)


def merge(old: Plain, new: Plain) -> dict[str, Plain]:
    """Merge two dicts key by key; a value of None removes its key."""
    merged = {**(old or {}), **new}
    return {key: value for key, value in merged.items() if value is not None}


def append(old: Plain, new: Plain) -> list[Plain]:
    """Append the items that are not in the list yet, by `identity`; items that are there stay as they were."""
    items = list(old or [])
    seen = {identity(item) for item in items}
    for item in new:
        mark = identity(item)
        if mark not in seen:
            seen.add(mark)
            items.append(item)
    return items


IDENTITY_FIELDS = ("step", "member", "gate", "check", "visit", "attempt", "n", "id")
"""Fields that tell one record of a list from another."""


def identity(item: Plain) -> Hashable:
    """Return what makes a list item unique: its identifying fields for a record, its value otherwise."""
    if not isinstance(item, dict):
        return repr(item)
    return tuple(repr(item.get(name)) for name in IDENTITY_FIELDS)
