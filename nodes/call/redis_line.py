"""The shared guard's client on one event loop: what is asked at about the same moment is sent together.

With 20 calls side by side the client library's work for a command (a connection from the pool, timers, metrics) costs
more than the script does. A batch pays for it once. Two batches are under way at a time, so that the server works on
one while this process reads and writes the other: one lane takes half as long again, more lanes or smaller batches
gain nothing (`python benchmarks/guard.py latency`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from nodes.call.scripts import Script, read_all
from nodes.errors import ConfigurationError, GuardUnavailable

if TYPE_CHECKING:
    import redis.asyncio as aredis

    Client: TypeAlias = aredis.Redis | aredis.RedisCluster

ANSWER_S: Final = 10.0
"""Longest wait for the server, in seconds, once to be sent and once for the answer: an embedded one that was killed is
started again within that."""

LANES: Final = 2
"""Batches under way."""

BATCH: Final = 10
"""Most questions of a batch: the server answers a batch at its end, so long ones keep the first waiting."""

_prepared = False


async def prepare() -> None:
    """Read scripts and client library in a thread: reading files would block the event loop."""
    global _prepared  # noqa: PLW0603 - what is read stays read for the whole process
    if not _prepared:
        await asyncio.to_thread(_read)
        _prepared = True


def _read() -> None:
    import redis.asyncio  # noqa: F401 - imported for its effect

    read_all()


@dataclass
class _Question:
    script: Script
    words: tuple[Any, ...]
    answer: asyncio.Future[dict[str, Any]]
    asked_at: float = field(default_factory=time.monotonic)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever asked may be gone; that is nobody's mistake.
            self.answer.exception()


@dataclass
class Line:
    """The client of one event loop, and what runs on it."""

    client: Client
    owned: bool
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    subscription: asyncio.Task[None] | None = None
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)
    _questions: deque[_Question] = field(default_factory=deque)
    _lanes: int = 0

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that outlives its caller; the loop itself keeps only weak references."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def ask(self, one: Script, *words: Any) -> asyncio.Future[dict[str, Any]]:
        """Ask for a script to be run on its key and arguments.

        The future fails with `GuardUnavailable`. Cancelling it takes back a question that is not sent yet, no other.
        """
        question = _Question(one, words, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        if self._lanes < LANES:
            self._lanes += 1
            self.start(self._send_all())
        return question.answer

    async def _send_all(self) -> None:
        try:
            while self._questions:
                batch = [self._questions.popleft() for _ in range(min(BATCH, len(self._questions)))]
                await self._send(batch)
        finally:
            self._lanes -= 1

    async def _send(self, batch: Sequence[_Question]) -> None:
        """Send a batch and hand out the answers; a server that is gone must not make a long line wait for nothing."""
        late = time.monotonic() - ANSWER_S
        try:
            for question in batch:
                if question.asked_at < late:
                    question.fail(self.unavailable(TimeoutError()))
            async with asyncio.timeout(ANSWER_S):
                await self._exchange([question for question in batch if not question.answer.done()])
        except failures() as error:
            for question in batch:
                question.fail(self.unavailable(error))
        except asyncio.CancelledError:
            # The loop ends.
            for question in batch:
                question.answer.cancel()
            raise
        except Exception as error:
            for question in batch:
                question.fail(error)

    async def _exchange(self, batch: Sequence[_Question]) -> None:
        from redis.exceptions import NoScriptError

        known = [("EVALSHA", question.script.sha, 1, *question.words) for question in batch]
        for question, told in zip(batch, await self._commands(known), strict=True):
            raw = told
            if isinstance(told, NoScriptError):
                (raw,) = await self._commands([("EVAL", question.script.text, 1, *question.words)])
            if isinstance(raw, Exception):
                question.fail(self.unavailable(raw))
            elif not question.answer.done():
                question.answer.set_result(json.loads(raw))

    async def _commands(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one go; those that the server refuses have an exception for an answer."""
        if not commands:
            return []
        pipe = self.client.pipeline(transaction=False)
        for words in commands:
            pipe.execute_command(*words)
        return await pipe.execute(raise_on_error=False)

    def unavailable(self, error: BaseException) -> GuardUnavailable:
        """Return what a failure of the server or of the way to it means."""
        return GuardUnavailable(
            f"the guard's Redis at {_place_of(self.client)} does not answer ({type(error).__name__}), so no call is "
            "sent: bring it back and resume"
        )

    async def close(self) -> None:
        """End what runs, and the client if it is ours."""
        if self.subscription is not None:
            self.subscription.cancel()
            await asyncio.gather(self.subscription, return_exceptions=True)
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=1.0)
        if self.owned:
            await self.client.aclose()


def _place_of(client: Any) -> str:
    """Return where a client's server is; the client of a cluster has no pool and several servers."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return ", ".join(sorted(node.name for node in client.nodes_manager.startup_nodes.values()))
    options: dict[str, Any] = getattr(pool, "connection_kwargs", {})
    where = options.get("directory") or options.get("path")
    return where or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def make_client(url: str, connections: int, socket_s: float) -> aredis.Redis:
    """Return a client on a blocking pool; raises `ConfigurationError` for a URL that cannot be read."""
    import redis.asyncio as aredis

    try:
        pool = aredis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=socket_s, socket_timeout=socket_s, socket_connect_timeout=socket_s
        )
        # Connects to nothing; an option that no connection takes is told now, not at each request.
        pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    except (ValueError, TypeError):
        raise ConfigurationError(
            "SUREFOOT_REDIS_URL cannot be read as the URL of a Redis server: a part of it or an option is wrong"
        ) from None
    return aredis.Redis.from_pool(pool)


@cache
def failures() -> tuple[type[Exception], ...]:
    """What sending a command can raise; the client is imported where it is used first."""
    from redis.exceptions import RedisClusterException, RedisError

    return (RedisError, RedisClusterException, OSError, TimeoutError)
