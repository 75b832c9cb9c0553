"""The savers that the benchmark compares: how each is opened, emptied and measured, and why one is left out."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from langgraph.checkpoint.memory import InMemorySaver
from savers_servers import CannotStart, postgres_server, redis_program, redis_server, stack_program

from checkpointers import AsyncRedisSaver, RedisSaver

CONNECTIONS = 512
"""What a client of a peer may open: redis-py's own limit is reached before 64 clients are."""
POSTGRES_POOL = 32
OURS = "surefoot"
MEMORY = "in memory"


@dataclass
class Contender:
    """A saver on a store of its own."""

    name: str
    store: str
    """What holds the data, and when a write is on disk."""
    saver: Any
    is_async: bool
    empty: Callable[[], Awaitable[None]]
    """Deletes all that is stored."""
    size: Callable[[], Awaitable[int]]
    """Returns the bytes stored."""
    failed: dict[str, str] = field(default_factory=dict)
    """Error by measure."""

    @property
    def label(self) -> str:
        """Name and store."""
        return f"{self.name}, {self.store}" if self.store else self.name


@dataclass
class Field:
    """Who takes part."""

    contenders: list[Contender]
    left_out: dict[str, str]
    """Reason by name."""


Opening = Callable[[], AbstractAsyncContextManager[Contender]]


@dataclass(frozen=True)
class Entry:
    """A saver that may take part."""

    name: str
    package: str
    """What pip installs; empty for what is always here."""
    openings: tuple[Opening, ...]


async def _redis_size(url: str) -> int:
    """Return what a server holds without the buffers of its clients."""
    with redis.Redis.from_url(url) as client:
        told = client.info("memory")
        return int(told["used_memory"]) - int(told["mem_clients_normal"])


async def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def _unlink_all(url: str) -> None:
    """Delete every key and keep the indexes, which FLUSHALL would drop."""
    with redis.Redis.from_url(url) as client:
        while keys := list(client.scan_iter(count=1000)):
            for first in range(0, len(keys), 1000):
                client.unlink(*keys[first : first + 1000])


def _on_redis(name: str, store: str, url: str, saver: Any, is_async: bool = True) -> Contender:
    return Contender(name, store, saver, is_async, partial(_flush, url), partial(_redis_size, url))


def _store(aof: bool) -> str:
    return "AOF everysec" if aof else "AOF off"


@asynccontextmanager
async def _ours(program: str, aof: bool) -> AsyncIterator[Contender]:
    with redis_server(program, aof) as url:
        async with AsyncRedisSaver.from_url(url) as saver:
            yield _on_redis(OURS, _store(aof), url, saver)


@asynccontextmanager
async def _ours_in_threads(program: str, aof: bool) -> AsyncIterator[Contender]:
    with redis_server(program, aof) as url, RedisSaver.from_url(url) as saver:
        yield _on_redis(f"{OURS} in threads", _store(aof), url, saver, is_async=False)


@asynccontextmanager
async def _memory() -> AsyncIterator[Contender]:
    saver = InMemorySaver()

    async def empty() -> None:
        for kept in (saver.storage, saver.writes, saver.blobs):
            kept.clear()

    async def size() -> int:
        """Return the serialized bytes alone, without the objects around them."""
        bodies = [
            part[0][1] + part[1][1] for ns in saver.storage.values() for of in ns.values() for part in of.values()
        ]
        writes = [write[2][1] for of in saver.writes.values() for write in of.values()]
        return sum(map(len, [*bodies, *writes, *(blob[1] for blob in saver.blobs.values())]))

    yield Contender(MEMORY, "", saver, True, empty, size)


@asynccontextmanager
async def _plain(program: str, aof: bool) -> AsyncIterator[Contender]:
    import redis.asyncio as aredis
    from langgraph_checkpoint_plainredis import AsyncRedisSaver as Saver

    with redis_server(program, aof) as url:
        async with aredis.Redis.from_url(url, max_connections=CONNECTIONS) as client:
            yield _on_redis("plainredis", _store(aof), url, Saver(client))


@asynccontextmanager
async def _aws(program: str, aof: bool) -> AsyncIterator[Contender]:
    from langgraph_checkpoint_aws import AsyncValkeySaver

    with redis_server(program, aof) as url:
        async with AsyncValkeySaver.from_conn_string(url, pool_size=CONNECTIONS) as saver:
            yield _on_redis("aws (Valkey)", _store(aof), url, saver)


@asynccontextmanager
async def _official(aof: bool) -> AsyncIterator[Contender]:
    from langgraph.checkpoint.redis.aio import AsyncRedisSaver as Saver

    with redis_server(stack_program(), aof) as url:
        args = {"max_connections": CONNECTIONS}
        async with Saver.from_conn_string(url, connection_args=args) as saver:
            await saver.asetup()
            found = _on_redis("langgraph-checkpoint-redis", _store(aof), url, saver)
            found.empty = partial(_unlink_all, url)
            yield found


async def _sqlite_size(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")]
    return int(pages[0] * pages[1])


async def _sqlite_empty(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("DELETE FROM checkpoints", "DELETE FROM writes", "VACUUM"):
            connection.execute(statement)


@asynccontextmanager
async def _sqlite() -> AsyncIterator[Contender]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    with tempfile.TemporaryDirectory(prefix="sf-savers-") as folder:
        path = Path(folder, "checkpoints.sqlite")
        async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
            await saver.setup()
            yield Contender("sqlite", "each commit", saver, True, partial(_sqlite_empty, path),
                            partial(_sqlite_size, path))  # fmt: skip


@asynccontextmanager
async def _sqlite_in_threads() -> AsyncIterator[Contender]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with tempfile.TemporaryDirectory(prefix="sf-savers-") as folder:
        path = Path(folder, "checkpoints.sqlite")
        with SqliteSaver.from_conn_string(str(path)) as saver:
            saver.setup()
            yield Contender("sqlite in threads", "each commit", saver, False, partial(_sqlite_empty, path),
                            partial(_sqlite_size, path))  # fmt: skip


@asynccontextmanager
async def _postgres(commit: bool) -> AsyncIterator[Contender]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    with postgres_server() as url:
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row,
                   "options": f"-c synchronous_commit={'on' if commit else 'off'}"}  # fmt: skip
        async with AsyncConnectionPool(url, max_size=POSTGRES_POOL, kwargs=options, open=False) as pool:
            saver = AsyncPostgresSaver(pool)
            await saver.setup()
            tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")

            async def empty() -> None:
                async with pool.connection() as connection:
                    await connection.execute(f"TRUNCATE {', '.join(tables)}")

            async def size() -> int:
                async with pool.connection() as connection:
                    wanted = " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
                    row = await (await connection.execute(f"SELECT {wanted} AS bytes")).fetchone()
                    return int(row["bytes"])

            yield Contender("postgres", "each commit" if commit else "commit later", saver, True, empty, size)


def entries(system: bool) -> list[Entry]:
    """Return every saver that may take part; `system` takes the machine's redis-server instead of Valkey."""
    program = redis_program(system)

    def both(make: Callable[[str, bool], AbstractAsyncContextManager[Contender]]) -> tuple[Opening, ...]:
        return tuple(partial(make, program, aof) for aof in (False, True))

    return [
        Entry(OURS, "", both(_ours)),
        Entry(f"{OURS} in threads", "", both(_ours_in_threads)),
        Entry(MEMORY, "", (_memory,)),
        Entry("langgraph-checkpoint-redis", "langgraph-checkpoint-redis", tuple(
            partial(_official, aof) for aof in (False, True))),
        Entry("plainredis", "langgraph-checkpoint-plainredis", both(_plain)),
        Entry("aws (Valkey)", "'langgraph-checkpoint-aws[valkey]'", both(_aws)),
        Entry("sqlite", "langgraph-checkpoint-sqlite", (_sqlite,)),
        Entry("sqlite in threads", "langgraph-checkpoint-sqlite", (_sqlite_in_threads,)),
        Entry("postgres", "langgraph-checkpoint-postgres 'psycopg[binary,pool]'", tuple(
            partial(_postgres, commit) for commit in (False, True))),
    ]  # fmt: skip


async def gather(stack: AsyncExitStack, system: bool, only: str | None) -> Field:
    """Open every saver that can take part; `only` is a part of its name; ours and the in-memory one always run."""
    found = Field([], {})
    for entry in entries(system):
        if only and only not in entry.name and entry.name not in (OURS, MEMORY):
            continue
        for opening in entry.openings:
            try:
                found.contenders.append(await stack.enter_async_context(opening()))
            except ImportError as error:
                if not entry.package:
                    raise
                found.left_out[entry.name] = f"{error}; python -m pip install --target DIR {entry.package}"
            except CannotStart as error:
                found.left_out[entry.name] = str(error)
            except Exception as error:
                if not entry.package:
                    raise
                found.left_out[entry.name] = f"does not open: {type(error).__name__}: {error}"
    return found
