"""What an item gives back while one of its requests waits for an endpoint: whoever runs it knows what that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Parking = Callable[[], AbstractContextManager[None]]
"""Gives back what an item holds, such as its slot among those that run in parallel, while the block runs."""

_parking: ContextVar[Parking] = ContextVar("surefoot_parking", default=nullcontext)


@contextmanager
def parking_with(parking: Parking) -> Iterator[None]:
    """Park the items of the block in this way."""
    token = _parking.set(parking)
    try:
        yield
    finally:
        _parking.reset(token)


@contextmanager
def parked_item() -> Iterator[bool]:
    """Park the item that runs here while the block runs."""
    with _parking.get()():
        yield True
