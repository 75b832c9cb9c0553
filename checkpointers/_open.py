"""One opener for both savers."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ._serial import AllowedType
from ._urls import server_of
from .aio import AsyncRedisSaver
from .encryption import Encryption
from .saver import RedisSaver


class OpenSaver(AbstractContextManager[RedisSaver], AbstractAsyncContextManager[AsyncRedisSaver]):
    """A saver to be: `with` yields a `RedisSaver`, `async with` an `AsyncRedisSaver`. Good for one use at a time."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url, self._options = url, options
        self._sync: AbstractContextManager[RedisSaver] | None = None
        self._async: AbstractAsyncContextManager[AsyncRedisSaver] | None = None

    def __enter__(self) -> RedisSaver:
        self._sync = RedisSaver.from_url(self._url, **self._options)
        return self._sync.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        opened, self._sync = self._sync, None
        return opened.__exit__(kind, error, trace) if opened else None

    async def __aenter__(self) -> AsyncRedisSaver:
        self._async = AsyncRedisSaver.from_url(self._url, **self._options)
        return await self._async.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        opened, self._async = self._async, None
        return await opened.__aexit__(kind, error, trace) if opened else None


def open_saver(
    url: str,
    *,
    ttl: float | timedelta | None = None,
    refresh_on_read: bool = False,
    allow: Collection[AllowedType] = (),
    serde: SerializerProtocol | None = None,
    encryption: Encryption | None = None,
    registry: bool = False,
) -> OpenSaver:
    """Return a saver for `with` or `async with`, whichever the caller writes.

    `ttl` is in seconds, counted from the last write of a thread, with `refresh_on_read` also from its last use.
    Raises `UnsupportedUrl` at once for a URL of no known form; connects at the first operation.
    """
    server_of(url)
    options = {
        "ttl": ttl,
        "refresh_on_read": refresh_on_read,
        "allow": allow,
        "serde": serde,
        "encryption": encryption,
        "registry": registry,
    }
    return OpenSaver(url, options)
