"""What the failures of a command mean, as one clear line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
import redis.asyncio as aredis
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from .errors import (
    EmbeddedUnavailable,
    LeaseLost,
    RecordDamaged,
    SaverDenied,
    SaverError,
    SaverFull,
    SaverUnavailable,
    SaverUnreachable,
    ThreadConflict,
    ThreadFormatUnknown,
)

_CUT_OFF: Final = re.compile(r"SFDAMAGED ([\w ]+\w)|data string too short")
"""What a script says of bytes that no client writes, and what the server's `struct` library does."""
_CONFLICTS: Final = {
    "SFCONFLICT": "already holds other data, so nothing was copied. Choose a new id.",
    "SFCIRCLE": (
        "would get a checkpoint that is its own ancestor, so nothing was stored. Put a checkpoint under the config of "
        "its parent (`parent_config` of what was read), not of one that follows from it."
    ),
    "SFNEEDED": (
        "needs checkpoints of these runs: channels of later ones are rebuilt from what they wrote. None of them were "
        "deleted there. Delete the later runs too, or the thread."
    ),
}
"""What is wrong with a thread's data for an operation, by what the script says of it."""


def place_of(client: Any) -> str:
    """Return where a client's server is, without credentials."""
    if client is None or hasattr(client, "nodes_manager"):
        return "the Redis cluster"
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
    if isinstance(error, SaverError):
        # An outage is an `OSError`, as what redis-py raises may be.
        return error
    place = place_of(client)
    if (refused := _cannot_start(error)) is not None:
        return refused
    text = " ".join(str(error).split())
    code = text.partition(" ")[0]
    if code == "SFFORMAT":
        return ThreadFormatUnknown(
            f"Thread {thread_id!r} is stored in format {text[9:]}, which this version cannot read: use a newer one.",
            text[9:],
        )
    if code == "SFFENCE":
        return LeaseLost(
            f"Thread {thread_id!r} is no longer this worker's: its lease has expired, and another one has taken it "
            "since or may have done so. Nothing was written. Stop working on it."
        )
    if isinstance(error, ResponseError) and (found := _CUT_OFF.search(text)):
        return RecordDamaged(f"Thread {thread_id!r} holds a record that cannot be read: {found[1] or 'it is cut off'}.")
    if code in _CONFLICTS:
        return ThreadConflict(f"Thread {thread_id!r} {_CONFLICTS[code]}")
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
    if isinstance(error, MasterNotFoundError):
        return SaverUnreachable(f"{place} has no primary that its sentinels name. Check the service's name and them.")
    if isinstance(error, MovedError) and not hasattr(client, "nodes_manager"):
        return SaverUnavailable(
            f"{place} is a node of a cluster. Name it as one in the URL: redis+cluster://HOST:PORT."
        )
    if isinstance(error, (RedisClusterException, ClusterDownError)):
        return SaverUnreachable(f"{place} cannot serve all of its slots, or is none. Check its nodes and the URL.")
    if isinstance(error, BusyLoadingError):
        return SaverUnreachable(f"{place} is still loading its data. Try again in a moment.")
    if text == "No connection available.":
        return SaverUnreachable(f"{place} has answered, but all connections of this client stayed busy for too long.")
    if hint := _tls_hint(error, client):
        return SaverUnreachable(f"{place} {hint}")
    if isinstance(error, (RedisTimeoutError, TimeoutError)):
        return SaverUnreachable(f"{place} did not answer in time. Check that it is running and not overloaded.")
    if isinstance(error, (RedisConnectionError, OSError)):
        return SaverUnreachable(f"{place} cannot be reached. Check that it is running and that the URL is right.")
    if isinstance(error, ResponseError) and "unknown command" in text.lower():
        return SaverDenied(f"{place} lacks a command that the saver needs ({text}).")
    about = f" thread {thread_id!r}" if thread_id.strip("*") else ""
    return SaverError(f"{place} answered{about} with an error: {text}")


CAUSES: Final = 100
"""Exceptions behind an exception that are looked at; two that name each other have no end."""


def _cannot_start(error: BaseException) -> EmbeddedUnavailable | None:
    """Return why the embedded server could not be started, where that is what is behind an error."""
    cause: BaseException | None = error
    for _ in range(CAUSES):
        if cause is None or isinstance(cause, EmbeddedUnavailable):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


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


FAILURES = (RedisError, RedisClusterException, OSError)
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
