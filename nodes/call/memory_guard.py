"""The guard of one process: the same rules as `RedisGuard`, on the memory of this one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from nodes.call import memory_admit, memory_settle
from nodes.call.front import GuardFront
from nodes.call.guard import Request
from nodes.call.limits import Limits
from nodes.call.memory_state import Shared
from nodes.clock import now


class MemoryGuard(GuardFront):
    """A guard for one process: thread-safe, and independent of event loops.

    `clock` tells seconds since the epoch, by default without the jumps of the host's.
    """

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = now) -> None:
        super().__init__(limits)
        self._clock = clock
        self._shared = Shared()
        self._shared_lock = threading.Lock()

    async def keep(self, thread: str, call_id: str, answer: dict[str, Any]) -> None:
        """Keep an answer that came with no request of its own."""
        with self._shared_lock:
            self._shared.ledger[thread][call_id] = (self._now(), json.dumps(answer))

    async def recall(self, thread: str, call_id: str) -> dict[str, Any] | None:
        """Return an answer that was kept."""
        with self._shared_lock:
            kept = self._shared.ledger[thread].get(call_id)
        fresh = kept is not None and self._now() - kept[0] <= self.limits.wire["ledger_ms"]
        return json.loads(kept[1]) if kept is not None and fresh else None

    async def forget(self, thread: str) -> None:
        """Drop the answers that are kept for a thread."""
        with self._shared_lock:
            self._shared.ledger.pop(thread)
            self._shared.lost.pop(thread)

    async def _shared_admit(self, request: Request, ask: dict[str, Any]) -> dict[str, Any]:
        with self._shared_lock:
            told = memory_admit.admit(self._shared, self._now(), dict(ask))
        return self._told(request, ask, told)

    async def _shared_settle(self, request: Request, said: dict[str, Any]) -> None:
        with self._shared_lock:
            told = memory_settle.settle(self._shared, self._now(), said)
        self._told(request, said, told)

    async def _shared_money(self, ask: dict[str, Any]) -> dict[str, Any]:
        with self._shared_lock:
            return memory_settle.money(self._shared, self._now(), ask)

    def _shared_leave(self, ask: dict[str, Any]) -> None:
        with self._shared_lock:
            told = memory_admit.leave(self._shared, self._now(), ask)
        self._doors.ring(told.get("wake") or ())

    def _now(self) -> int:
        return int(self._clock() * 1000)
