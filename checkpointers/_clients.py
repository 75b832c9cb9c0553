"""Clients for every URL: a server, a cluster, a service behind sentinels, an embedded server.

Making a client connects to nothing, except for a sync one of a cluster, which asks for the slots.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import redis
import redis.asyncio as aredis
import redis.asyncio.sentinel as aredis_sentinel
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from . import embedded
from ._failures import FAILURES, explain
from ._urls import Server, server_of, unreadable
from .errors import EmbeddedUnavailable

POOL_SIZE = 64
"""Connections of one client. Callers beyond it wait for one (`POOL_WAIT` seconds) instead of failing."""

MANAGED_POOL_SIZE = 512
"""The same for a cluster's node and behind sentinels, whose pools of redis-py do not wait."""

POOL_WAIT = 60.0
SOCKET_TIMEOUT = 20.0
CONNECT_TIMEOUT = 5.0

RETRIES = 2
"""A lost connection is made again this often before an operation raises; every script may run twice without harm."""

EMBEDDED_RETRIES = 40
"""The same for an embedded server, which each new connection brings back, however often it is killed: about 8 seconds.

One that cannot be started ends it at once (`EmbeddedUnavailable`).
"""

Client = redis.Redis | redis.RedisCluster
AsyncClient = aredis.Redis | aredis.RedisCluster


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


def _options(server: Server, kind: type[Retry | AsyncRetry]) -> dict[str, Any]:
    """Return what all connections have."""
    retries = EMBEDDED_RETRIES if server.kind == "embedded" else RETRIES
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        # A lost connection only: a server that does not answer in time would be waited for again and again.
        "retry": kind(ExponentialBackoff(cap=0.2, base=0.02), retries, (RedisConnectionError,)),
    }
    if server.kind in ("cluster", "sentinel"):
        return {**options, "max_connections": MANAGED_POOL_SIZE, **server.options}
    return {**options, "max_connections": POOL_SIZE, "timeout": POOL_WAIT}


def make_client(url: str) -> Client:
    """Return a client on connections of its own.

    Raises `UnsupportedUrl` for any other URL, and `SaverUnavailable` for a cluster of which no node answers.
    """
    server = server_of(url)
    options = _options(server, _Retry)
    if server.kind == "cluster":
        nodes: list[Any] = [ClusterNode(host, port) for host, port in server.hosts]  # type: ignore[no-untyped-call]  # redis-py
        try:
            return redis.RedisCluster(startup_nodes=nodes, **options)
        except FAILURES as error:
            raise explain(error, None, "*") from error
    if server.kind == "sentinel":
        sentinel: Any = Sentinel(server.hosts, sentinel_kwargs=_to_sentinels(server, _Retry), **options)  # type: ignore[no-untyped-call]  # redis-py
        client: redis.Redis = sentinel.master_for(server.service)
        return client
    if server.kind == "embedded":
        pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            connection_class=embedded.EmbeddedConnection, directory=embedded.directory_of(url), **options
        )
    else:
        try:
            pool = redis.BlockingConnectionPool.from_url(url, **options)
        except ValueError:
            raise unreadable(url) from None
    return redis.Redis.from_pool(pool)


def make_async_client(url: str) -> AsyncClient:
    """Return an async client on connections of its own; it belongs to the loop that first uses it.

    Raises `UnsupportedUrl` for any other URL.
    """
    server = server_of(url)
    options = _options(server, _AsyncRetry)
    if server.kind == "cluster":
        nodes = [AsyncClusterNode(host, port, **options) for host, port in server.hosts]
        return aredis.RedisCluster(startup_nodes=nodes, **options)
    if server.kind == "sentinel":
        sentinel: Any = aredis_sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py
            list(server.hosts), sentinel_kwargs=_to_sentinels(server, _AsyncRetry), **options
        )
        client: aredis.Redis = sentinel.master_for(server.service)
        return client
    if server.kind == "embedded":
        pool = aredis.BlockingConnectionPool(
            connection_class=embedded.AsyncEmbeddedConnection, directory=embedded.directory_of(url), **options
        )
    else:
        try:
            pool = aredis.BlockingConnectionPool.from_url(url, **options)
        except ValueError:
            raise unreadable(url) from None
    return aredis.Redis.from_pool(pool)


def _to_sentinels(server: Server, kind: type[Retry | AsyncRetry]) -> dict[str, Any]:
    """Return the options of connections to the sentinels: there are others, so none is asked twice."""
    return {
        "socket_timeout": CONNECT_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": kind(NoBackoff(), 0),
        **server.sentinel_options,
    }


@contextmanager
def connect(url: str) -> Iterator[Client]:
    """Yield a plain client for a URL, embedded ones included, and close it in the end.

    Failures of its commands are redis-py's own exceptions. Raises `UnsupportedUrl` for any other URL.
    """
    client = make_client(url)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def connect_async(url: str) -> AsyncIterator[AsyncClient]:
    """Yield a plain async client for a URL, embedded ones included, and close it in the end.

    Failures of its commands are redis-py's own exceptions. Raises `UnsupportedUrl` for any other URL.
    """
    client = make_async_client(url)
    try:
        yield client
    finally:
        await client.aclose()
