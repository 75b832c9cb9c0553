"""Channels that validate every update of their field and store it as plain JSON-able data.

LangGraph validates the input of a node, not what is written. A wrong value, once it is in a checkpoint or among its
pending writes, makes `get_state`, the history and the resume raise. These channels are the last line: `check` is
called before a write is stored (see `nodes.graph`), and `update` again when it is applied.

Storing plain data keeps class paths out of the checkpoint: a class may move, and any program can read the thread.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from langgraph.channels.base import BaseChannel
from langgraph.channels.last_value import LastValue
from langgraph.errors import EmptyChannelError, InvalidUpdateError
from langgraph.types import Overwrite
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from state.reducers import Plain, append, merge, replace, sticky

_EMPTY: Any = LastValue(object).checkpoint()
"""LangGraph's own mark for an empty channel, taken from one that is empty because the constant is private."""
_OVERWRITE_KEY = "__overwrite__"


def describe(error: ValidationError) -> str:
    """Say in one line where and why a value does not fit, without the value itself."""
    parts = []
    for item in error.errors(include_input=False, include_url=False)[:3]:
        place = ".".join(str(part) for part in item["loc"])
        why = item["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {why}" if place else why)
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f" (and {more} more)" if more > 0 else "")


class Checked(BaseChannel[Any, Any, Any]):
    """A field with one value: each update replaces it."""

    __slots__ = ("adapter", "update_adapter", "value")

    reduce: ClassVar[Callable[[Plain, Plain], Plain]] = staticmethod(replace)

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Plain = _EMPTY
        self.adapter: TypeAdapter[Any] = TypeAdapter(typ)
        self.update_adapter: TypeAdapter[Any] = self.adapter_of_updates(typ)

    def adapter_of_updates(self, _typ: Any) -> TypeAdapter[Any]:
        """Return the validator of one update, where it differs from that of the whole value."""
        return self.adapter

    @property
    def ValueType(self) -> Any:  # noqa: N802 - the name is LangGraph's
        """The type of the field."""
        return self.typ

    @property
    def UpdateType(self) -> Any:  # noqa: N802 - the name is LangGraph's
        """The type of an update."""
        return self.typ

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.typ == self.typ

    __hash__ = None  # type: ignore[assignment] # channels are mutable

    def copy(self) -> Self:
        """Return an independent channel with the same value; validators are shared, they cost milliseconds to build."""
        twin = type(self).__new__(type(self))
        twin.typ, twin.key, twin.value = self.typ, self.key, self.value
        twin.adapter, twin.update_adapter = self.adapter, self.update_adapter
        return twin

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Return a channel that holds a stored value; it is not validated, so that every thread can be read."""
        twin = self.copy()
        twin.value = checkpoint
        return twin

    def checkpoint(self) -> Any:
        """Return the value to store."""
        return self.value

    def get(self) -> Plain:
        """Return the value, or raise `EmptyChannelError`."""
        if self.value is _EMPTY:
            raise EmptyChannelError
        return self.value

    def is_available(self) -> bool:
        """Tell whether a value was ever written."""
        return self.value is not _EMPTY

    def check(self, update: Any) -> Plain:
        """Validate one update and return its stored form; raises `InvalidUpdateError` that names the field."""
        whole, payload = _overwrite(update)
        plain = self._plain(payload, whole=whole)
        return {_OVERWRITE_KEY: plain} if whole else plain

    def _plain(self, payload: Any, *, whole: bool) -> Plain:
        adapter = self.adapter if whole else self.update_adapter
        try:
            return adapter.dump_python(adapter.validate_python(payload), mode="json")
        except ValidationError as error:
            raise InvalidUpdateError(f"field {self.key!r}: {describe(error)}") from None
        except PydanticSerializationError:
            raise InvalidUpdateError(f"field {self.key!r}: the value is no plain data and cannot be stored") from None

    def update(self, values: Sequence[Any]) -> bool:
        """Apply the updates of one superstep."""
        if not values:
            return False
        checked = [(whole, self._plain(payload, whole=whole)) for whole, payload in map(_overwrite, values)]
        if type(self).reduce is replace and any(plain != checked[0][1] for _, plain in checked):
            raise InvalidUpdateError(f"field {self.key!r}: two nodes wrote different values in one superstep")
        for whole, plain in sorted(checked, key=lambda item: not item[0]):
            old = None if self.value is _EMPTY else self.value
            self.value = plain if whole else type(self).reduce(old, plain)
        return True


class Sticky(Checked):
    """A flag that stays true once true."""

    __slots__ = ()
    reduce: ClassVar[Callable[[Plain, Plain], Plain]] = staticmethod(sticky)


class Merged(Checked):
    """A dict: updates are merged by key, None removes a key."""

    __slots__ = ()
    reduce: ClassVar[Callable[[Plain, Plain], Plain]] = staticmethod(merge)

    def adapter_of_updates(self, typ: Any) -> TypeAdapter[Any]:
        """Updates may hold None for keys to remove."""
        key, value = typing.get_args(typ)
        return TypeAdapter(dict[key, value | None])  # type: ignore[valid-type] # built from the annotation at run time


class Appended(Checked):
    """A list that only grows: updates are lists of items, known items are skipped."""

    __slots__ = ()
    reduce: ClassVar[Callable[[Plain, Plain], Plain]] = staticmethod(append)


def _overwrite(update: Any) -> tuple[bool, Any]:
    """Recognise LangGraph's `Overwrite`, also in the two forms that it takes after a trip through JSON."""
    if isinstance(update, Overwrite):
        return True, update.value
    if isinstance(update, dict):
        if len(update) == 1 and _OVERWRITE_KEY in update:
            return True, update[_OVERWRITE_KEY]
        if update.get("type") == _OVERWRITE_KEY and "value" in update:
            return True, update["value"]
    return False, update
