"""The rules of the guard on the memory of one process: the twin of `lua/*.lua`.

Both take the same requests and settlements and give the same answers, and are tested side by side. All times are whole
milliseconds, all money whole micro-dollars. Nothing here waits, sends or locks.
"""

from __future__ import annotations

from typing import Any

from nodes.call.arithmetic import WAITER_MS
from nodes.call.memory_breaker import BreakerState
from nodes.call.memory_state import REAPED_AT_ONCE, WOKEN_AT_ONCE, EndpointState, Record, Shared

Answer = dict[str, Any]


class Turn:
    """One request or settlement: what it finds, whom it wakes, what it has to tell."""

    def __init__(self, shared: Shared, now: int, ask: dict[str, Any]) -> None:
        self.shared, self.now, self.ask = shared, now, ask
        self.limits: dict[str, Any] = ask["limits"]
        self.wake: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.expire(REAPED_AT_ONCE)

    def answer(self, r: str, **more: Any) -> Answer:
        """Return the answer of this turn."""
        told: Answer = {"r": r, **more}
        if self.wake:
            told["wake"] = self.wake
        if self.notes:
            told["notes"] = self.notes
        return told

    def expire(self, most: int) -> None:
        """Clear away admissions of dead processes."""
        for record in self.shared.overdue(self.now, most):
            self._expire(record)

    def _expire(self, record: Record) -> None:
        """Free the slot of a dead process; what it had reserved is neither spent nor free, it is unknown."""
        record.expired = True
        if record.worst:
            for name in record.caps:
                cap = self.shared.caps[name]
                cap.held -= record.worst
                cap.unknown += record.worst
                cap.lost[record.ask["id"]] = self.now
            if record.ask["thread"]:
                self.shared.lost[record.ask["thread"]][record.ask["id"]] = record
        self.breaker_of(record.ask).forget(record.ask["id"], record.seq, record.at)
        self.free(record)

    def free(self, record: Record) -> None:
        """Give a place back and wake those whose turn it is."""
        endpoint = self.shared.endpoint(record.ask["ep"], self.limits)
        endpoint.slots.pop(record.ask["id"], None)
        self.wake_line(endpoint)
        if record.caps:
            for waiter in [w for w, at in self.shared.short.items() if at < self.now - WAITER_MS]:
                del self.shared.short[waiter]
            self.wake += sorted(self.shared.short, key=lambda w: (self.shared.short[w], w))[:WOKEN_AT_ONCE]

    def wake_line(self, endpoint: EndpointState) -> None:
        """Wake those in line for whom there is a place."""
        if endpoint.line.queue:
            self.wake += endpoint.line.first(self.places(endpoint) - len(endpoint.slots))

    def wake_parked(self, endpoint: EndpointState, breaker: BreakerState) -> None:
        """Wake those who wait until the endpoint answers again, as many as may go."""
        if breaker.line.queue and not endpoint.down:
            self.wake += breaker.next_in_line(self.now)

    def breaker_of(self, ask: dict[str, Any]) -> BreakerState:
        """Return throttle and breaker of a request's model at its endpoint."""
        return self.shared.breakers[f"{ask['ep']}|{ask['model']}"]

    def places(self, endpoint: EndpointState) -> int:
        """Return the concurrency limit; 0 for none."""
        return endpoint.limit // 1000 if self.limits["auto"] else int(self.limits["concurrency"])


def halt_names(ask: dict[str, Any]) -> tuple[str, str]:
    """Return the names under which a refused key and a refused model are kept."""
    return f"{ask['key']}:", f"{ask['key']}:{ask['model']}"
