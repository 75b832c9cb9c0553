"""The guard that all processes share through Redis or Valkey: one round trip to admit, one to settle.

All keys of a guard carry one hash tag (`surefoot:guard:{g}:...`), so that one script sees endpoint and budgets at once,
on a cluster too. Two scripts, one for the endpoint's slot and one for the budget's, would need a way back when the
second refuses, and between the two a cap could look full that is not. The price is that one node of a cluster carries
all admissions; it does thousands of them a second, far above the rate of model calls.

Times are the server's, so clocks of hosts may differ. Every script may run twice without harm: a client that lost the
answer on the way sends it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nodes.call.front import GuardFront
from nodes.call.guard import Request
from nodes.call.limits import Limits
from nodes.call.loops import PerLoop
from nodes.call.redis_line import ANSWER_S, Line, failures, prepare
from nodes.call.scripts import script
from nodes.call.sealed import Kept, Sealer
from nodes.errors import GuardUnavailable

if TYPE_CHECKING:
    from nodes.call.redis_line import Client

_log = logging.getLogger("surefoot.guard")

BASE: Final = "surefoot:guard:{g}"
"""The name that all keys begin with."""

SETTLE_RETRIES: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Pauses in seconds before a settlement that could not be delivered is sent again. After the last one the admission is
left to its lease: what it reserved counts as spent."""

LINGER_S: Final = 2.0
"""Seconds that a subscription stays when nobody waits any more."""


class RedisGuard(GuardFront):
    """A guard on a client of `redis.asyncio`, of a cluster too, or on a function that makes one for each event loop.

    A given client stays the caller's and belongs to the loop that first uses it; made ones are closed with their loop.
    `sealer` encrypts the answers that are kept; without one and with `keeps=False` none is. `clock` tells seconds since
    the epoch in place of the server, for tests. When the server cannot be reached, `admit` raises `GuardUnavailable`,
    for free calls too: nothing is sent that the others would not know of. Settlements are tried again a few times;
    after that the lease of the admission settles it at its worst case.
    """

    def __init__(
        self,
        client: Client | Callable[[], Client],
        limits: Limits | None = None,
        *,
        base: str = BASE,
        clock: Callable[[], float] | None = None,
        sealer: Sealer | None = None,
        keeps: bool = True,
    ) -> None:
        super().__init__(limits)
        self._base, self._clock = base, clock
        self._kept = Kept(sealer, keeps)
        if callable(client):
            made = client
            self._lines: PerLoop[Line] = PerLoop(lambda: Line(made(), owned=True), Line.close)
        else:
            given = client
            self._lines = PerLoop(lambda: Line(given, owned=False), Line.close)
        self._shared_client = not callable(client)

    async def aclose(self) -> None:
        """End what runs on the current loop, such as settlements under way."""
        await self._lines.close_here()

    async def keep(self, thread: str, call_id: str, answer: dict[str, Any]) -> None:
        """Keep an answer that came with no request of its own."""
        key, ledger_ms = self._ledger(thread), self.limits.wire["ledger_ms"]
        text = self._kept.sealed(json.dumps(answer, separators=(",", ":")), key, call_id)
        if not text:
            return
        kept = f"{self._now_ms()}:{text}"
        await self._command("HSET", key, call_id, kept)
        await self._command("PEXPIRE", key, ledger_ms + 1000)

    async def recall(self, thread: str, call_id: str) -> dict[str, Any] | None:
        """Return an answer that was kept."""
        key = self._ledger(thread)
        kept = await self._command("HGET", key, call_id)
        if not kept:
            return None
        at, _, text = (kept.decode() if isinstance(kept, bytes) else kept).partition(":")
        if self._now_ms() - int(at) > self.limits.wire["ledger_ms"]:
            return None
        answer = self._kept.opened(text, key, call_id)
        return None if answer is None else json.loads(answer)

    async def forget(self, thread: str) -> None:
        """Drop the answers that are kept for a thread."""
        await self._command("DEL", self._ledger(thread))

    def _ledger(self, thread: str) -> str:
        return f"{self._base}:ledger:{thread}"

    async def _command(self, *words: Any) -> Any:
        await prepare()
        line = self._line()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await line.client.execute_command(*words)
        except failures() as error:
            raise line.unavailable(error) from error

    def _now_ms(self) -> int:
        return int((self._clock or time.time)() * 1000)

    def ask(self, name: str, ask: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Ask for a script to be run; the future fails with `GuardUnavailable`, and cancelling it undoes nothing."""
        now = "" if self._clock is None else str(int(self._clock() * 1000))
        return self._line().ask(script(name), self._base, now, json.dumps(ask, separators=(",", ":")))

    async def _shared_admit(self, request: Request, ask: dict[str, Any]) -> dict[str, Any]:
        await prepare()
        told = await self._asked(ask)
        if told["r"] == "replay":
            key = self._ledger(request.thread)
            answer = self._kept.opened(told["answer"], key, request.call_id)
            if answer is None:
                # Of other keys, or of a time without any: what cannot be read is asked for anew.
                await self._command("HDEL", key, request.call_id)
                told = await self._asked(ask)
            else:
                told["answer"] = answer
        return self._told(request, ask, told)

    async def _asked(self, ask: dict[str, Any]) -> dict[str, Any]:
        asking = self.ask("admit", ask)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._line().start(self._undo(asking, dict(ask)))
            raise

    async def _undo(self, asking: asyncio.Future[dict[str, Any]], ask: dict[str, Any]) -> None:
        """Give back what was admitted to somebody who was cancelled while he asked, or his place in line."""
        try:
            told = await asking
        except GuardUnavailable:
            return
        if told["r"] == "admitted":
            said = {"id": ask["id"], "outcome": "cancelled", "cost": 0, "latency": 0, "halt": "", "error": ""}
            await self._deliver(
                said | {"retry_ms": 0, "answer": "", "unreached": 0, "lost": 0, "limits": self.limits.wire}
            )
        elif told["r"] == "wait":
            # Leaving before the answer has come could be overtaken by the question.
            self._shared_leave(ask)

    async def _shared_settle(self, request: Request, said: dict[str, Any]) -> None:
        if said["answer"]:
            said["answer"] = self._kept.sealed(said["answer"], self._ledger(request.thread), request.call_id)
        delivery = self.ask("settle", said)
        try:
            # A cancelled caller must not take its settlement with it.
            told = await asyncio.shield(delivery)
        except asyncio.CancelledError:
            self._line().start(self._see_to(delivery, said))
            raise
        except GuardUnavailable:
            self._line().start(self._deliver(said))
        else:
            self._told(request, said, told)

    async def _see_to(self, delivery: asyncio.Future[dict[str, Any]], said: dict[str, Any]) -> None:
        """Wait for a settlement whose caller is gone, and send it again if need be."""
        try:
            told = await delivery
        except GuardUnavailable:
            await self._deliver(said)
        else:
            self._doors.ring(told.get("wake") or ())

    async def _deliver(self, said: dict[str, Any]) -> None:
        """Send a settlement until it arrives, a bounded number of times."""
        for pause in (0.0, *SETTLE_RETRIES):
            await asyncio.sleep(pause)
            try:
                told = await self.ask("settle", said)
            except GuardUnavailable:
                continue
            self._doors.ring(told.get("wake") or ())
            return
        _log.warning(
            "a settlement of %d micro-dollars was not delivered: its reservation counts as spent", said["cost"]
        )

    def _shared_leave(self, ask: dict[str, Any]) -> None:
        async def leave() -> None:
            try:
                told = await self.ask("leave", ask)
            except GuardUnavailable:
                return
            self._doors.ring(told.get("wake") or ())

        self._line().start(leave())

    async def _listen(self) -> bool:
        """Subscribe to the places that other processes free; True when that took time in which one may have passed."""
        line = self._line()
        if line.subscription is not None and not line.subscription.done() and line.subscribed.is_set():
            return False
        if line.subscription is None or line.subscription.done():
            line.subscribed.clear()
            line.subscription = asyncio.get_running_loop().create_task(self._hear(line))
        try:
            async with asyncio.timeout(ANSWER_S):
                await line.subscribed.wait()
        except TimeoutError:
            return False
        return True

    async def _hear(self, line: Line) -> None:
        """Ring the doorbells of this process for what others publish, until nobody waits for a while."""
        pubsub = line.client.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(f"{self._base}:bell")
            line.subscribed.set()
            idle = 0.0
            while idle < LINGER_S:
                message = await pubsub.get_message(timeout=POLL_BELL_S)
                idle = 0.0 if self._doors.anybody else idle + POLL_BELL_S
                if message is not None:
                    data = message["data"]
                    names = data.decode() if isinstance(data, bytes) else str(data)
                    self._doors.ring(names.split())
        except failures() as error:
            # Waiters ask again by themselves every second; and who asks meets the same outage and tells it.
            _log.warning("the guard's subscription ended: %s", type(error).__name__)
        finally:
            line.subscribed.clear()
            await pubsub.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it untyped

    def _line(self) -> Line:
        if self._shared_client and self._lines.others():
            raise GuardUnavailable(
                "the guard's Redis client belongs to another event loop: give RedisGuard a function that makes clients"
            )
        return self._lines.here()


POLL_BELL_S: Final = 0.5
"""Seconds between two looks whether anybody still waits."""
