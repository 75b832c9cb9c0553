"""What every operation needs: the serializer, the versions, and a plan's shape.

An operation is a generator that yields calls and is sent their replies, so that the sync and the async saver differ
only in how they send a call. It yields exactly one `Call` in the ordinary case: an operation is one round trip.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Collection, Generator, Iterable
from datetime import timedelta
from typing import Any, Final, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ._arguments import types_of
from ._bounds import TooLarge
from ._codec import escape, frame, unescape
from ._logs import Logs
from ._pack import pack, unpack
from ._scripts import Argument, Call, Reply, Script
from ._sealing import body_of
from ._serial import AllowedType, SafeSerializer, type_names
from .encryption import Encryption, NoKey
from .errors import KeyMissing, RecordDamaged, RecordTooLarge, ValueNotStorable

_NUL: Final = b"\0"
T = TypeVar("T")
Place = tuple[str, *tuple[bytes, ...]]
"""Where a record stands: the thread, and what names it there. An encrypted one is bound to it."""
Plan = Generator[Call | list[Call], Reply, T]
"""What is yielded is sent at once; a list of calls is answered with a list of their answers."""


class SaverBase(BaseCheckpointSaver[str]):
    """Knows the serializer and the versions, and no connection."""

    def __init__(
        self,
        *,
        ttl: float | timedelta | None = None,
        refresh_on_read: bool = False,
        allow: Collection[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        encryption: Encryption | None = None,
        registry: bool = False,
    ) -> None:
        if serde is not None and allow:
            raise TypeError("give allow or serde, not both: a serializer of yours knows which types it may rebuild")
        super().__init__(serde=serde or SafeSerializer(types_of(allow)))
        if serde is None:
            # Not before: the graph's module takes a second to import.
            from ._schemas import install

            install()
        self.ttl = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        if self.ttl is not None and self.ttl <= 0:
            raise ValueError(f"ttl must be more than 0 seconds, not {self.ttl:g}")
        if refresh_on_read and self.ttl is None:
            raise ValueError("refresh_on_read needs a ttl: without one a thread does not expire")
        self.refresh_on_read = refresh_on_read
        self.encryption = encryption
        self.registry = registry
        # Shared by the copies that LangGraph makes of a saver.
        self._logs = Logs()
        self._fences: dict[str, str] = {}

    def allow(self, types: Collection[AllowedType]) -> None:
        """Let more types come back from the store than the saver was made with: these, and those of their fields."""
        if isinstance(self.serde, SafeSerializer):
            self.serde.allow(types_of(types))
            return
        if not isinstance(self.serde, JsonPlusSerializer):
            raise TypeError("the saver was given a serializer of its own: tell that one which types it may rebuild")
        self.serde = self.serde.with_msgpack_allowlist(type_names(types_of(types)))

    def with_types(self, owner: Any, types: Callable[[], Iterable[Any]]) -> Self:
        """Return a saver that shares everything with this one and allows more types: those of `owner`, a graph.

        With a serializer of the caller's own it is this one: that serializer knows what it may rebuild.
        """
        if not isinstance(self.serde, SafeSerializer):
            return self
        serde = self.serde.for_owner(owner, types)
        if serde is self.serde:
            return self
        clone = copy.copy(self)
        clone.serde = serde
        return clone

    def add_types(self, owner: Any, types: Callable[[], Iterable[Any]]) -> None:
        """Allow the types of `owner`, a graph, in this saver itself: for one that cannot be exchanged for another."""
        if isinstance(self.serde, SafeSerializer):
            self.serde.allow_owner(owner, types)

    def get_next_version(self, current: str | float | None, channel: None) -> Any:  # noqa: ARG002 - the contract
        """Return a version greater than `current`, of the same type, that no fork of the thread will choose too.

        A new thread gets a 32-digit decimal counter and 32 random bits: LangGraph's API server asks no saver but
        counts in this form by itself, and versions are compared as texts. Versions of another saver are continued in
        their own type and width.
        """
        noise = random.getrandbits(32)
        if current is None:
            return f"{1:032}.{noise:08x}"
        if isinstance(current, str):
            head = current.partition(".")[0]
            return f"{int(head) + 1:0{len(head)}}.{noise:08x}"
        if isinstance(current, int):
            return current + 1 + (noise >> 8)
        return current + 1 + noise / 2**32

    def _pack(self, value: Any, name: str) -> bytes:
        """Serialize a value; raises `ValueNotStorable` with what it is the value of."""
        try:
            return pack(self.serde.dumps_typed(value))
        except ValueNotStorable as error:
            raise ValueNotStorable(f"The value of {name!r} cannot be stored: {error}") from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise ValueNotStorable(f"The value of {name!r} ({kind}) cannot be stored: {error}") from error

    def _seal(self, packed: bytes, place: Place) -> bytes:
        """Encrypt bytes for their place, when there are keys."""
        return packed if self.encryption is None else self.encryption.seal(packed, _bound(place))

    def _dump(self, value: Any, name: str, place: Place) -> bytes:
        return self._seal(self._pack(value, name), place)

    def _open(self, data: bytes, place: Place) -> bytes:
        """Decrypt bytes of a place, when there are keys; raises `RecordDamaged` with the thread."""
        try:
            return data if self.encryption is None else self.encryption.unseal(data, _bound(place))
        except ValueError as error:
            raise damaged(place[0], error) from error

    def _load(self, data: bytes, place: Place) -> Any:
        """Rebuild a value; raises `RecordDamaged` with the thread, and `TypeNotAllowed`."""
        try:
            return self.serde.loads_typed(unpack(self._open(data, place)))
        except TooLarge as error:
            raise damaged(place[0], TooLarge(f"{_told(place)}: {error}")) from error
        except ValueError as error:
            raise damaged(place[0], error) from error

    def _body_place(
        self,
        thread_id: str,
        ns: bytes,
        checkpoint: bytes,
        around: tuple[bytes, bytes, bytes],
        channels: Iterable[tuple[bytes, bool]],
    ) -> Place:
        """Return the place of a checkpoint's body; `around` are its parent, histories and run."""
        # It takes more than the others to make, and only keys need it.
        return (thread_id,) if self.encryption is None else (thread_id, *body_of(ns, checkpoint, around, channels))

    def _ttl_argument(self) -> Argument:
        return "" if self.ttl is None else int(self.ttl * 1000)

    def _fence(self, thread_id: str) -> str:
        """Return the token of the lease that this saver took last, empty for a thread that it took none of."""
        return self._fences.get(thread_id, "")

    def _change(
        self, script: Script, thread_id: str, *args: Argument, beside: Call | None = None, keys: tuple[str, ...] = ()
    ) -> Call:
        """Return the call of a script that changes a thread, which is refused to who was superseded."""
        return Call(script, thread_id, args, keys=keys, beside=beside, token=self._fence(thread_id))


def thread_of(config: RunnableConfig) -> str:
    """Return the thread id of a config as text."""
    return str(config["configurable"]["thread_id"])


def namespace_of(config: RunnableConfig) -> str:
    """Return the checkpoint namespace of a config; the root is the empty one."""
    return str(config["configurable"].get("checkpoint_ns") or "")


def config_of(thread_id: str, ns: str, checkpoint_id: str) -> RunnableConfig:
    """Return the config that names one checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}


def _bound(place: Place) -> bytes:
    return frame((escape(place[0]), *place[1:]))


def _told(place: Place) -> str:
    """Return what stands at a place, for a message; a checkpoint's own place is known only where there are keys."""
    names = list(place[1:])
    kind = names[-1] if names else b""
    if kind in (b"value", b"segment"):
        return f"the value of {unescape(names[1].partition(_NUL)[0])!r}"
    if kind == b"write":
        return f"a write to {unescape(names[-2])!r}"
    return "its metadata" if kind == b"metadata" else "the checkpoint"


def damaged(thread_id: str, error: Exception) -> RecordDamaged:
    """Return the error of a record that cannot be read."""
    kind = KeyMissing if isinstance(error, NoKey) else RecordTooLarge if isinstance(error, TooLarge) else RecordDamaged
    return kind(f"Thread {thread_id!r} holds a record that cannot be read: {error}.")
