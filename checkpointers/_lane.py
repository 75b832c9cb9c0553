"""One connection on which many ask at once: commands leave together, answers come back in their order.

redis-py opens the connection and knows its host, TLS, user and sentinels; from then on its socket is read and written
here, because redis-py spends several times what the server needs for a command: a connection from the pool, timers,
metrics, packing in Python, a parser that is awaited for each answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ._scripts import Call, Reply

ANSWER_S: Final = 20.0
"""Seconds without any answer after which a connection is given up while somebody waits, unless its client says so."""
WAITING: Final = 10_000
"""Commands without an answer; whoever comes then waits to be let in, so that memory stays bounded."""
UNSENT: Final = 32_000_000
"""Bytes that the socket has not taken yet, to the same end."""
TOGETHER: Final = 64
"""Commands that are not kept waiting for others to go with."""

_MORE: Final = object()
_READ: Final = 1 << 18


class Lane:
    """A connection in use; broken once and for all by its first failure, which every waiting one is told."""

    def __init__(self, connection: Any, pool: Any) -> None:
        self._connection, self._pool = connection, pool
        # redis-py has no other way to them, and forgets them when somebody disconnects the client.
        self._reader: asyncio.StreamReader = connection._reader  # noqa: SLF001
        self._writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001
        self._loop = asyncio.get_running_loop()
        self._asked: deque[asyncio.Future[Reply]] = deque()
        self._out: list[bytes] = []
        self._answers = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_MORE
        )
        self._patience: float = connection.socket_timeout or ANSWER_S
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._space = asyncio.Event()
        self.failure: Exception | None = None
        self._reading = self._loop.create_task(self._read())

    @property
    def full(self) -> bool:
        """Whether nobody else should ask now."""
        unsent = self._writer.transport.get_write_buffer_size()
        return len(self._asked) >= WAITING or unsent >= UNSENT

    def ask(self, call: Call, *, whole: bool = False) -> asyncio.Future[Reply]:
        """Send a call with all others of this turn of the loop; the answer may be cancelled, the command not."""
        answer: asyncio.Future[Reply] = self._loop.create_future()
        if self.failure is not None:
            answer.set_exception(self.failure)
            return answer
        if not self._out:
            self._loop.call_soon(self._flush, 0)
        # hiredis takes any number of strings, bytes and numbers, which its stub cannot say.
        self._out.append(hiredis.pack_command(call.command(whole=whole)))  # type: ignore[arg-type]
        if not self._asked:
            self._heard = self._loop.time()
        self._asked.append(answer)
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._look)
        return answer

    async def space(self) -> None:
        """Wait until there is room again, or the lane is broken."""
        while self.full and self.failure is None:
            self._space.clear()
            # The socket does not tell when it has taken what it was given.
            with_time = self._loop.call_later(0.05, self._space.set)
            try:
                await self._space.wait()
            finally:
                with_time.cancel()

    async def aclose(self) -> None:
        """Give the connection back."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    def _flush(self, before: int) -> None:
        if before < len(self._out) < TOGETHER:
            # Others are being asked at this moment. A send costs much more than a turn of the loop.
            self._loop.call_soon(self._flush, len(self._out))
            return
        out, self._out = b"".join(self._out), []
        if self.failure is None:
            self._writer.write(out)

    def _look(self) -> None:
        """See whether anything was heard in time."""
        self._timer = None
        if not self._asked or self.failure is not None:
            return
        silent = self._loop.time() - self._heard
        if silent >= self._patience:
            self._break(RedisTimeoutError("no answer in time"))
            self._reading.cancel()
        else:
            self._timer = self._loop.call_later(self._patience - silent, self._look)

    async def _read(self) -> None:
        failure: Exception = RedisConnectionError("the event loop has ended")
        try:
            while data := await self._reader.read(_READ):
                self._heard = self._loop.time()
                self._answers.feed(data)
                while (reply := self._answers.gets()) is not _MORE:
                    self._hand_out(reply)
            failure = RedisConnectionError("Connection closed by server.")
        except Exception as error:
            failure = error if isinstance(error, RedisConnectionError) else RedisConnectionError(str(error))
            failure.__cause__ = error
        finally:
            self._break(failure)
            await self._connection.disconnect(nowait=True)
            await self._pool.release(self._connection)

    def _hand_out(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.PushNotification):
            return
        if isinstance(reply, ReadOnlyError) and hasattr(self._pool, "sentinel_manager"):
            # It was the primary: the sentinels know the new one.
            raise RedisConnectionError("the previous primary is a replica now")
        answer = self._asked.popleft()
        if not answer.done():
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)
        if len(self._asked) < WAITING // 2 and not self._space.is_set():
            self._space.set()

    def _break(self, failure: Exception) -> None:
        if self.failure is not None:
            return
        self.failure = failure
        if self._timer is not None:
            self._timer.cancel()
        while self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(failure)
        self._space.set()
