"""What both guards do in this process: hold the local caps, wait in line, name refusals, tell events.

The shared rules are behind two methods, `_shared_admit` and `_shared_settle`, which take and return plain data.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from nodes import events
from nodes.call import refusals
from nodes.call.arithmetic import DICE, size_class
from nodes.call.bell import Bell, Doorbells, Ear
from nodes.call.budget import CommandBudget, command_budget
from nodes.call.guard import Admission, CapReport, Request, Settlement
from nodes.call.hold import Hold, LocalCaps
from nodes.call.limits import Limits, ms
from nodes.call.parking import parked_item
from nodes.errors import CallError, StopRun

POLL_S: Final = 1.0
"""Longest sleep of a waiter; normally it is woken sooner. It also tells the others that the waiter lives."""

_HELD: Final = frozenset({"endpoint", "throttle", "budget"})
"""What is waited for while the endpoint does not answer, or refuses most."""

LOCAL_POLL_S: Final = 0.25
"""The same for a waiter for money of the command."""


class GuardFront(ABC):
    """A guard but for the shared rules."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._caps = LocalCaps()
        self._lock = threading.Lock()
        self._open: dict[str, Hold] = {}
        self._unbudgeted = Bell()
        self._doors = Doorbells()
        self._tried: set[str] = set()
        """Keys that this guard has asked with before: a halt that others met is tried once."""

    @property
    def limits(self) -> Limits:
        """The knobs of this guard."""
        return self._limits

    @property
    def in_flight(self) -> int:
        """Requests of this process that are admitted and not settled."""
        with self._lock:
            return len(self._open)

    async def admit(self, request: Request) -> Admission:
        """Reserve what a request may need; see `Guard.admit`."""
        began = time.monotonic()
        ask = self._question(request)
        try:
            admission = await self._admit(request, ask)
        except (CallError, StopRun) as refusal:
            events.emit(events.CallRefused(*events.place_of(request), cause=refusals.cause_of(refusal)))
            raise
        # No await from here on: a cancelled caller must not lose an admission that was granted.
        place = events.place_of(request)
        if admission.replay is not None:
            events.emit(events.CallReplayed(*place))
        else:
            waited = round((time.monotonic() - began) * 1000)
            limit = round(admission.timeout_s * 1000)
            events.emit(events.CallAdmitted(*place, admission.reserved_microusd, limit, waited, admission.probe))
        return admission

    async def settle(self, admission: Admission, settlement: Settlement) -> None:
        """Give back what was reserved and charge the real cost; a second time does nothing."""
        if settlement.cost_microusd < 0:
            raise ValueError("a cost cannot be negative")
        with self._lock:
            hold = self._open.pop(admission.id, None)
        if hold is None:
            return
        self._caps.settle(hold, settlement.cost_microusd)
        place = events.place_of(hold.request)
        taken = round(settlement.latency_s * 1000)
        events.emit(events.CallSettled(*place, settlement.outcome, settlement.cost_microusd, taken))
        await self._shared_settle(hold.request, self._statement(admission, settlement))

    async def caps(self, settle: Mapping[str, int] | None = None, date: str = "") -> list[CapReport]:
        """Return what has become of the caps of a day, and settle what is unknown; see `Guard.caps`."""
        told = await self._shared_money({"settle": dict(settle or {}), "date": date, "limits": self._limits.wire})
        self._doors.ring(told.get("wake") or ())
        found = []
        # Lua writes an empty list as an empty object.
        for name, spent, held, unknown, calls, since in told["caps"] or ():
            limit = self._limits.max_cost_per_day_microusd if name == "day" else None
            limit = self._limits.max_cost_per_tenant_day_microusd if name != "day" else limit
            found.append(CapReport(name, told["date"], spent, held, unknown, calls, since / 1000, limit))
        return found

    @abstractmethod
    async def _shared_money(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Ask once for the caps of a day."""

    @abstractmethod
    async def keep(self, thread: str, call_id: str, answer: dict[str, Any]) -> None:
        """Keep an answer that came with no request of its own."""

    @abstractmethod
    async def recall(self, thread: str, call_id: str) -> dict[str, Any] | None:
        """Return an answer that was kept."""

    @abstractmethod
    async def forget(self, thread: str) -> None:
        """Drop the answers that are kept for a thread."""

    @abstractmethod
    async def _shared_admit(self, request: Request, ask: dict[str, Any]) -> dict[str, Any]:
        """Ask once; whoever is cancelled here leaves nothing admitted."""

    @abstractmethod
    async def _shared_settle(self, request: Request, said: dict[str, Any]) -> None:
        """Settle once; raises nothing for a state that cannot be reached."""

    @abstractmethod
    def _shared_leave(self, ask: dict[str, Any]) -> None:
        """Stop waiting, without waiting for it to be told."""

    async def _listen(self) -> bool:
        """Make sure that this process hears of places that other processes free; True when it did not before."""
        return False

    async def _admit(self, request: Request, ask: dict[str, Any]) -> Admission:
        budget = command_budget()
        patience = self._limits.queue_age_s
        began = time.monotonic()
        wait_s = max(request.timeout_s if patience is None else patience, request.patience_s)
        granted = parked = False
        bell = budget.changed if budget else self._unbudgeted
        try:
            # Two ears: giving money back to the command while waiting for a place must not wake those who do the same.
            with (
                bell.listening() as for_money,
                self._doors.listening(ask["id"]) as for_place,
                contextlib.ExitStack() as parking,
            ):
                while True:
                    told = await self._ask(request, ask, budget)
                    if isinstance(told, Admission):
                        granted = True
                        return told
                    if told["why"] in _HELD and not parked:
                        parked = parking.enter_context(parked_item())
                    await self._wait(request, told, began + wait_s, for_money, for_place)
                    ask["patient"] = int(time.monotonic() < began + request.patience_s)
                    ask["dice"] = random.randrange(DICE)  # noqa: S311 - as above
        finally:
            if ask["waiting"] and not granted:
                self._shared_leave(ask)

    async def _ask(
        self, request: Request, ask: dict[str, Any], budget: CommandBudget | None
    ) -> Admission | dict[str, Any]:
        """Ask once: an admission, or what to wait for; raises what refuses."""
        hold = self._caps.hold(request, budget)
        if hold is None:
            return {"r": "wait", "why": "command"}
        ask["room"] = hold.room
        try:
            told = await self._shared_admit(request, ask)
        except BaseException:
            self._caps.settle(hold, 0)
            raise
        if told["r"] == "admitted":
            with self._lock:
                self._open[ask["id"]] = hold
            p95 = told["p95"] / 1000 or None
            worst = request.worst_microusd
            return Admission(ask["id"], request, told["timeout"] / 1000, worst, p95, bool(told["probe"]))
        if told["r"] == "replay":
            kept = json.loads(told["answer"])
            self._caps.settle(hold, int(kept.get("cost", 0)), paid_before=True)
            return Admission(ask["id"], request, request.timeout_s, 0, replay=kept)
        self._caps.settle(hold, 0)
        if told["r"] != "wait":
            raise refusals.error_of(told, request)
        return told

    async def _wait(
        self, request: Request, told: dict[str, Any], give_up_at: float, for_money: Ear, for_place: Ear
    ) -> None:
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise refusals.error_of_wait(told, request)
        if told["why"] in ("throttle", "budget"):
            await asyncio.sleep(min(told["retry_ms"] / 1000, left))
        elif told["why"] == "endpoint":
            # The line is woken when it moves; who hears nothing asks again, which also shows that he lives.
            await self._listen()
            await for_place.heard(min(told["retry_ms"] / 1000, left))
        elif told["why"] == "command":
            await for_money.heard(min(LOCAL_POLL_S, left))
        elif not await self._listen():
            await for_place.heard(min(POLL_S, left))

    def _is_new(self, request: Request) -> bool:
        with self._lock:
            new = request.key_id not in self._tried
            self._tried.add(request.key_id)
        return new

    def _question(self, request: Request) -> dict[str, Any]:
        limits = self._limits
        ceiling = limits.ceiling_of(request.timeout_s) if request.ceiling_s is None else request.ceiling_s
        caps: list[tuple[str, int]] = []
        if limits.max_cost_per_day_microusd is not None:
            caps.append(("day", limits.max_cost_per_day_microusd))
        if limits.max_cost_per_tenant_day_microusd is not None:
            caps.append((f"tenant:{request.tenant}", limits.max_cost_per_tenant_day_microusd))
        return {
            "id": uuid.uuid4().hex,
            "ep": request.endpoint,
            "model": request.model,
            "key": request.key_id,
            "thread": request.thread,
            "worst": request.worst_microusd,
            "timeout": max(1, ms(request.timeout_s)),
            "ceiling": max(1, ms(ceiling)),
            "lat": f"{request.model}|{request.step}|{size_class(request.max_tokens)}",
            "call": request.call_id if request.thread else "",
            "prompt": request.prompt_hash,
            "item": _short(request.thread or request.prompt_hash),
            "retry": int(request.retry),
            "hedge": int(request.hedge),
            "fresh": int(self._is_new(request)),
            "step": request.step,
            "room": [],
            "dice": random.randrange(DICE),  # noqa: S311 - spreads requests, guards nothing
            "caps": caps,
            "patient": int(request.patience_s > 0),
            "turn": 0,
            "ticket": 0,
            "waiting": 0,
            "limits": limits.wire,
        }

    def _statement(self, admission: Admission, settlement: Settlement) -> dict[str, Any]:
        keep = settlement.answer is not None and settlement.outcome == "ok" and admission.request.call_id
        return {
            "id": admission.id,
            "outcome": settlement.outcome,
            "cost": settlement.cost_microusd,
            "latency": ms(settlement.latency_s),
            "halt": settlement.halt or "",
            "error": settlement.error,
            "retry_ms": ms(settlement.retry_after_s or 0),
            "answer": json.dumps(settlement.answer, separators=(",", ":")) if keep else "",
            "lost": int(settlement.lost),
            "connected": int(settlement.connected),
            "limits": self._limits.wire,
        }

    def _told(self, request: Request, ask: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        """Take note of what an answer says beside its result: whom to wake, what changed."""
        if told["r"] == "wait":
            ask["waiting"], ask["ticket"], ask["turn"] = 1, told["ticket"], told["turn"]
        elif "waiting" in ask:
            ask["waiting"] = 0
        self._doors.ring(told.get("wake") or ())
        for note in told.get("notes") or ():
            events.emit(refusals.event_of(note, request))
        return told


def _short(text: str) -> str:
    """Return a short hash that tells items apart."""
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest() if text else ""
