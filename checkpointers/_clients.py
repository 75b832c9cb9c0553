"""Clients for every URL, and what their failures mean.

Supported: `redis://`, `rediss://`, `unix://`, `embedded:` and `embedded:DIR`. Making a client never connects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.asyncio as aredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from . import embedded
from .errors import (
    EmbeddedUnavailable,
    SaverDenied,
    SaverError,
    SaverFull,
    SaverUnavailable,
    ThreadConflict,
    ThreadFormatUnknown,
    UnsupportedUrl,
)

POOL_SIZE = 64
"""Connections of one client. Callers beyond it wait for one (`POOL_WAIT` seconds) instead of failing."""

POOL_WAIT = 60.0
SOCKET_TIMEOUT = 20.0
CONNECT_TIMEOUT = 5.0

RETRIES = 2
"""A lost connection is made again this often before an operation raises; every script may run twice without harm."""

EMBEDDED_RETRIES = 40
"""The same for an embedded server, which each new connection brings back, however often it is killed: about 8 seconds.

One that cannot be started ends it at once (`EmbeddedUnavailable`).
"""

_ACCEPTED = "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH, embedded: or embedded:DIRECTORY"


def _may_pass(error: Exception) -> bool:
    """Return whether trying again can help: not with a wrong password, nor with a server that cannot be started."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EmbeddedUnavailable):
        cause = cause.__cause__
    return cause is None and not isinstance(error, AuthenticationError)


class _Retry(Retry):
    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        return super().call_with_retry(do, fail, is_retryable or _may_pass, with_failure_count)


class _AsyncRetry(AsyncRetry):
    async def call_with_retry(
        self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        return await super().call_with_retry(do, fail, is_retryable or _may_pass, with_failure_count)


def without_password(url: str) -> str:
    """Return the URL with any user information and query replaced, fit for a message."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition(":")[0] + ":..."
    return urlunsplit((parts.scheme, "***@" + host if host != parts.netloc else host, parts.path, "", ""))


def _options(url: str, asynchronous: bool) -> dict[str, Any]:
    retries = EMBEDDED_RETRIES if url.startswith(embedded.SCHEME) else RETRIES
    backoff = ExponentialBackoff(cap=0.2, base=0.02)
    options: dict[str, Any] = {
        "max_connections": POOL_SIZE,
        "timeout": POOL_WAIT,
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        # A lost connection only: a server that does not answer in time would be waited for again and again.
        "retry": (_AsyncRetry if asynchronous else _Retry)(backoff, retries, (RedisConnectionError,)),
    }
    if not url.startswith(("redis://", "rediss://", "unix://", embedded.SCHEME)):
        raise UnsupportedUrl(f"{without_password(url)!r} is not a URL of a Redis server. Accepted: {_ACCEPTED}.")
    return options


def make_client(url: str) -> redis.Redis:
    """Return a client on a blocking pool of its own.

    Raises `UnsupportedUrl` for any other URL.
    """
    options = _options(url, asynchronous=False)
    if url.startswith(embedded.SCHEME):
        directory = embedded.directory_of(url)
        pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            connection_class=embedded.EmbeddedConnection, directory=directory, **options
        )
    else:
        try:
            pool = redis.BlockingConnectionPool.from_url(url, **options)
        except ValueError as error:
            raise UnsupportedUrl(f"{without_password(url)!r} cannot be read as a URL: {error}.") from None
    return redis.Redis.from_pool(pool)


def make_async_client(url: str) -> aredis.Redis:
    """Return an async client on a blocking pool of its own; it belongs to the loop that first uses it.

    Raises `UnsupportedUrl` for any other URL.
    """
    options = _options(url, asynchronous=True)
    if url.startswith(embedded.SCHEME):
        directory = embedded.directory_of(url)
        pool = aredis.BlockingConnectionPool(
            connection_class=embedded.AsyncEmbeddedConnection, directory=directory, **options
        )
    else:
        try:
            pool = aredis.BlockingConnectionPool.from_url(url, **options)
        except ValueError as error:
            raise UnsupportedUrl(f"{without_password(url)!r} cannot be read as a URL: {error}.") from None
    return aredis.Redis.from_pool(pool)


@contextmanager
def connect(url: str) -> Iterator[redis.Redis]:
    """Yield a plain client for a URL, embedded ones included, and close it in the end.

    Failures of its commands are redis-py's own exceptions. Raises `UnsupportedUrl` for any other URL.
    """
    client = make_client(url)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def connect_async(url: str) -> AsyncIterator[aredis.Redis]:
    """Yield a plain async client for a URL, embedded ones included, and close it in the end.

    Failures of its commands are redis-py's own exceptions. Raises `UnsupportedUrl` for any other URL.
    """
    client = make_async_client(url)
    try:
        yield client
    finally:
        await client.aclose()


def place_of(client: Any) -> str:
    """Return where a client's server is, without credentials."""
    pool = getattr(client, "connection_pool", None)
    options: dict[str, Any] = getattr(pool, "connection_kwargs", None) or {}
    if "directory" in options:
        return f"the embedded server in {options['directory']}"
    if options.get("path"):
        return f"Redis at {options['path']}"
    service = getattr(pool, "service_name", None)
    if service:
        return f"the Redis service {service!r}"
    if pool is not None:
        return f"Redis at {options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return "the Redis server"


def explain(error: BaseException, client: Any, thread_id: str) -> SaverError:
    """Return what a failure of a command means, as one clear line.

    The server's own text is quoted only where it helps; it does not repeat credentials.
    """
    place = place_of(client)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EmbeddedUnavailable):
            return cause
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())
    code = text.partition(" ")[0]
    if code == "SFFORMAT":
        return ThreadFormatUnknown(
            f"Thread {thread_id!r} is stored in format {text[9:]}, which this version cannot read: use a newer one.",
            text[9:],
        )
    if code == "SFCONFLICT":
        return ThreadConflict(f"Thread {thread_id!r} already holds other data, so nothing was copied. Choose a new id.")
    if isinstance(error, (AuthenticationError, AuthenticationWrongNumberOfArgsError)) or code in (
        "NOAUTH",
        "WRONGPASS",
    ):
        return SaverDenied(f"{place} refuses the user or password. Check the credentials in the URL.")
    if isinstance(error, (NoPermissionError, AuthorizationError)):
        return SaverDenied(f"{place} does not permit a command that the saver needs ({text}). Ask for the right to it.")
    if isinstance(error, OutOfMemoryError) or code == "OOM":
        return SaverFull(f"{place} is out of memory and stores nothing. Raise its maxmemory or delete old threads.")
    if isinstance(error, ReadOnlyError):
        return SaverFull(f"{place} is a read-only replica. Connect to the primary.")
    if code == "MISCONF":
        return SaverFull(f"{place} cannot write to its disk. Free some space or make its directory writable.")
    if isinstance(error, BusyLoadingError):
        return SaverUnavailable(f"{place} is still loading its data. Try again in a moment.")
    if text == "No connection available.":
        return SaverUnavailable(f"{place} has answered, but all connections of this client stayed busy for too long.")
    if hint := _tls_hint(error, client):
        return SaverUnavailable(f"{place} {hint}")
    if isinstance(error, (RedisTimeoutError, TimeoutError)):
        return SaverUnavailable(f"{place} did not answer in time. Check that it is running and not overloaded.")
    if isinstance(error, (RedisConnectionError, OSError)):
        return SaverUnavailable(f"{place} cannot be reached. Check that it is running and that the URL is right.")
    if isinstance(error, ResponseError) and "unknown command" in text.lower():
        return SaverDenied(f"{place} lacks a command that the saver needs ({text}).")
    about = f" thread {thread_id!r}" if thread_id.strip("*") else ""
    return SaverError(f"{place} answered{about} with an error: {text}")


def _tls_hint(error: BaseException, client: Any) -> str:
    """Return what to say when one side speaks TLS and the other does not, or an empty string.

    A server of TLS hangs up on plain commands or answers with a TLS alert; a plain one waits for a command for ever.
    """
    text = " ".join(str(error).split())
    pool = getattr(client, "connection_pool", None)
    kind = getattr(pool, "connection_class", object)
    if not issubclass(kind, (redis.SSLConnection, aredis.SSLConnection)):
        if isinstance(error, InvalidResponse):
            return "does not answer as Redis does. Check the URL; a server with TLS needs rediss://."
        if issubclass(kind, (redis.UnixDomainSocketConnection, aredis.UnixDomainSocketConnection)):
            return ""
        hung_up = "reset by peer" in text or "closed by server" in text
        return "hung up. Check that it is running; a server with TLS needs rediss:// in the URL." if hung_up else ""
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return (
            f"shows a certificate that is not trusted ({why}). Name its authority with ?ssl_ca_certs=FILE in the URL."
        )
    if "Timeout connecting" in text or "SSL" in text:
        return "does not answer over TLS. Check that it is running; a server without TLS needs redis:// in the URL."
    return ""


FAILURES = (RedisError, OSError)
"""What sending a command can raise; `explain` turns it into an error of this package."""


@contextmanager
def server_errors(client: Any) -> Iterator[None]:
    """Turn what redis-py raises inside the block into the errors of this package, with one clear line each.

    For commands that a program sends on a client of `connect` or `connect_async` by itself.
    """
    try:
        yield
    except FAILURES as error:
        raise explain(error, client, "") from error
