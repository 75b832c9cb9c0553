"""The embedded server: a private Valkey for one data directory, started when needed and stopped when idle.

`embedded:` keeps its data in the user's data directory, `embedded:DIR` in `DIR`. Any number of processes and threads
share one server for a directory. A connection finds the server or starts it, so a client whose server was killed brings
it back by connecting again. Everything acknowledged survives a kill of the server and of the application.
"""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH111, PTH117

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import redis
from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from ._place import check_peer
from ._server import IDLE_SECONDS, IDLE_VARIABLE, ensure, probe, trusted_socket
from ._watchdog import Line
from .errors import EmbeddedUnavailable

__all__ = [
    "IDLE_SECONDS",
    "IDLE_VARIABLE",
    "SCHEME",
    "AsyncEmbeddedConnection",
    "EmbeddedConnection",
    "default_directory",
    "directory_of",
    "ensure",
    "probe",
    "server_pid",
]

SCHEME = "embedded:"


def default_directory() -> str:
    """Return the user's data directory of the package: by XDG on Linux, in the Library on macOS."""
    if sys.platform == "darwin":
        return str(Path.home() / "Library" / "Application Support" / "surefoot")
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says to ignore relative paths.
    root = Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share"
    return str(root / "surefoot")


def directory_of(url: str) -> str:
    """Return the absolute data directory that an `embedded:` URL names.

    Links are resolved, so that one directory has one name.
    """
    given = url.removeprefix(SCHEME)
    return os.path.realpath(os.path.expanduser(given) if given else default_directory())


def server_pid(directory: str) -> int | None:
    """Return the process id of the directory's running server, or `None`."""
    try:
        line = Line.to(trusted_socket(directory), timeout=5)
    except (OSError, EmbeddedUnavailable):
        return None
    try:
        check_peer(line.socket)
        rows = line.ask("INFO", "server").splitlines()
    except (OSError, EOFError, EmbeddedUnavailable):
        return None
    finally:
        line.close()
    return next((int(row.partition(b":")[2]) for row in rows if row.startswith(b"process_id:")), None)


class EmbeddedConnection(redis.UnixDomainSocketConnection):
    """A connection to the server of a directory, which it starts when none runs."""

    def __init__(self, directory: str, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        self.directory = directory

    def _connect(self) -> Any:
        try:
            self.path = ensure(self.directory)
        except EmbeddedUnavailable as error:
            raise RedisConnectionError(str(error)) from error
        connected = super()._connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        try:
            check_peer(connected)
        except EmbeddedUnavailable as error:
            connected.close()
            raise RedisConnectionError(str(error)) from error
        return connected


class AsyncEmbeddedConnection(AsyncUnixConnection):
    """The async twin of `EmbeddedConnection`; starting a server does not block the loop."""

    def __init__(self, *, directory: str, **options: Any) -> None:
        super().__init__(**options)
        self.directory = directory

    async def _connect(self) -> None:
        try:
            self.path = await asyncio.to_thread(ensure, self.directory)
        except EmbeddedUnavailable as error:
            raise RedisConnectionError(str(error)) from error
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        try:
            # Connecting has set it.
            check_peer(self._writer.get_extra_info("socket"))  # type: ignore[union-attr]
        except EmbeddedUnavailable as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(str(error)) from error
