"""Admission on the memory of one process: the twin of `lua/admit.lua`."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import Any

from nodes.call import arithmetic as calc
from nodes.call.memory_state import REMEMBERED, Record, Shared, Timing
from nodes.call.memory_turn import Answer, Turn, halt_names


class Admitting(Turn):
    """One request: every check first, then everything that it takes at once."""

    def __init__(self, shared: Shared, now: int, ask: dict[str, Any]) -> None:
        super().__init__(shared, now, ask)
        self.endpoint = shared.endpoint(ask["ep"], self.limits)
        self.breaker = self.breaker_of(ask)
        self.timing: Timing = shared.timings[ask["lat"]]
        self.halts = [halt for name in halt_names(ask) if (halt := shared.halts.get(name)) is not None]
        day = datetime.fromtimestamp(now / 1000, UTC).date().isoformat()
        self.caps = [(f"{name}:{day}", name, limit) for name, limit in ask["caps"]] if ask["worst"] else []

    def run(self) -> Answer:
        """Return the answer: admitted, replay, wait, or why not."""
        ask = self.ask
        if (record := self.shared.records.get(ask["id"])) is not None:
            return self.answer(**record.reply)
        kept = self.shared.ledger[ask["thread"]].get(ask["call"]) if ask["call"] else None
        if kept is not None and self.now - kept[0] <= self.limits["ledger_ms"]:
            self._leave()
            return self.answer("replay", answer=kept[1])
        refusal = self._halted() or self._runaway() or self._broken() or self._unfunded() or self._resting()
        if refusal is None:
            refusal = self._crowded()
            if refusal is not None and refusal["r"] == "wait":
                return self.answer(**refusal)
            refusal = refusal or self._throttled() or self._unpaid()
        if refusal is None:
            return self._admit()
        self._leave(but_line=refusal["r"] == "wait" and refusal["why"] == "endpoint")
        if refusal.pop("short", False):
            self.shared.short[ask["id"]] = self.now
        return self.answer(**refusal)

    def _halted(self) -> Answer | None:
        for halt in self.halts:
            # Somebody who has just come tries once: perhaps he has mended it.
            if self.now < halt.until and not self.ask["fresh"]:
                return {"r": "halted", "error": halt.error}
        return None

    def _runaway(self) -> Answer | None:
        ask, limits = self.ask, self.limits
        if not ask["thread"]:
            return None
        if ask["prompt"]:
            sent = self.shared.same[f"{ask['thread']}:{ask['prompt']}"]
            most = limits["same_call"]
            if len(sent) >= most and self.now - sent[-most] < limits["same_ms"]:
                return {"r": "runaway", "what": "same", "limit": most}
        if limits["minute"] >= 0:
            spent = calc.spent_lately(self.shared.rates[ask["thread"]], self.now)
            if spent > limits["minute"]:
                return {"r": "runaway", "what": "minute", "spent": spent, "limit": limits["minute"]}
        return None

    def _unfunded(self) -> Answer | None:
        ask, endpoint = self.ask, self.endpoint
        # A probe is no retry: without it nobody would find out that the endpoint works again.
        if ask["retry"] and endpoint.tokens < 1000 and not self.breaker.open:
            if not ask["patient"]:
                return {"r": "retries_spent"}
            began, failed = self.breaker.shares(self.now)
            return {
                "r": "wait", "why": "budget", "ticket": 0, "turn": 0, "retry_ms": 1000, "began": began,
                "failed": failed, "last": self.breaker.last,
            }  # fmt: skip
        return {"r": "hedges_spent"} if ask["hedge"] and endpoint.hedges < 1000 else None

    def _broken(self) -> Answer | None:
        """Cut off an endpoint that is down, and let those who wait for it go step by step once it is back."""
        breaker, ask = self.breaker, self.ask
        room = breaker.room(self.now)
        if not breaker.open and room is None:
            return None
        breaker.line.bury(self.now)
        before = breaker.line.before(ask["turn"])
        wait = calc.RAMP_POLL_MS
        if breaker.open:
            probing = breaker.probe_until - self.now
            wait = min(1000, probing) if probing > 0 else breaker.until - self.now
            room = int(wait <= 0)
        if room is not None and before < room:
            return None
        if ask["hedge"]:
            return {"r": "hedges_spent"}
        began, failed = breaker.shares(self.now)
        cause = {"began": began, "failed": failed, "last": breaker.last}
        if breaker.open and not ask["patient"]:
            return {"r": "open", "retry_ms": max(wait, 0), **cause}
        turn = breaker.line.join(ask["id"], ask["turn"], self.now)
        wait = min(max(wait, calc.RAMP_POLL_MS), 1000)
        return {"r": "wait", "why": "endpoint", "ticket": 0, "turn": turn, "retry_ms": wait, **cause}

    def _throttled(self) -> Answer | None:
        breaker, dice = self.breaker, self.ask["dice"]
        if breaker.open:
            return None
        began, failed = breaker.shares(self.now)
        if not calc.throttled(began, failed, self.limits["throttle_ratio"], dice):
            return None
        if self.ask["hedge"]:
            return {"r": "hedges_spent"}
        wait = calc.throttle_wait(began, failed, dice)
        return {
            "r": "wait", "why": "throttle", "ticket": 0, "turn": 0, "retry_ms": wait, "began": began, "failed": failed,
            "last": breaker.last,
        }  # fmt: skip

    def _resting(self) -> Answer | None:
        left = self.endpoint.rest - self.now
        return {"r": "resting", "retry_ms": left} if left > 0 else None

    def _crowded(self) -> Answer | None:
        endpoint, ask = self.endpoint, self.ask
        places = self.places(endpoint)
        if not places:
            return None
        endpoint.line.bury(self.now)
        ticket = ask["ticket"]
        if len(endpoint.slots) + endpoint.line.before(ticket) < places:
            return None
        ticket = endpoint.line.join(ask["id"], ticket, self.now)
        return {"r": "wait", "why": "place", "ticket": ticket, "turn": ask["turn"]}

    def _unpaid(self) -> Answer | None:
        worst = self.ask["worst"]
        full: Answer | None = None
        for key, name, limit in self.caps:
            cap = self.shared.caps[key]
            left = limit - cap.spent
            if worst > left:
                return {"r": "spent_out", "cap": name, "spent": cap.spent, "limit": limit}
            if worst > left - cap.held and full is None:
                full = {
                    "r": "wait",
                    "why": "money",
                    "ticket": self.ask["ticket"],
                    "turn": 0,
                    "cap": name,
                    "short": True,
                }
        return full

    def _leave(self, *, but_line: bool = False) -> None:
        """Stop waiting; whoever stood behind may be able to go."""
        if self.ask["waiting"]:
            self.shared.short.pop(self.ask["id"], None)
            if self.endpoint.line.leave(self.ask["id"]):
                self.wake_line(self.endpoint)
            if not but_line and self.breaker.line.leave(self.ask["id"]):
                self.wake += self.breaker.next_in_line(self.now)

    def _timeout(self) -> int:
        ask, timing = self.ask, self.timing
        if timing.count < self.limits["samples"]:
            return min(int(ask["timeout"]), int(ask["ceiling"]))
        return calc.learned_timeout(timing.p99, timing.lift, self.limits["floor_ms"], ask["ceiling"])

    def _admit(self) -> Answer:
        ask, limits, endpoint, now = self.ask, self.limits, self.endpoint, self.now
        if ask["waiting"]:
            self.shared.short.pop(ask["id"], None)
            endpoint.line.leave(ask["id"])
            self.breaker.line.leave(ask["id"])
        timeout = self._timeout()
        for halt in self.halts:
            # This call is the probe; if its process dies with it, another one tries after the same time.
            halt.until = now + max(limits["halt_ms"], timeout)
        if ask["thread"] and ask["prompt"]:
            sent = self.shared.same[f"{ask['thread']}:{ask['prompt']}"]
            sent.append(now)
            del sent[: -limits["same_call"]]
        self._pay_tokens()
        probe, seq = self.breaker.open, self.breaker.begin(ask["id"], now)
        if probe:
            self.breaker.probe = seq
            self.breaker.probe_until = now + timeout + limits["probe_ms"]
            self.notes.append({"e": "breaker", "before": "open", "after": "half_open", "why": "probe"})
        expires = now + timeout + limits["lease_ms"]
        endpoint.slots[ask["id"]] = expires
        for key, _name, _limit in self.caps:
            self.shared.caps[key].held += ask["worst"]
        learned = self.timing.count >= limits["samples"]
        reply: Answer = {
            "r": "admitted", "timeout": timeout, "p95": self.timing.p95 if learned else 0, "probe": int(probe),
        }  # fmt: skip
        keys = [key for key, _name, _limit in self.caps]
        self.shared.records[ask["id"]] = Record(ask, reply, now, expires, seq, probe, keys)
        heapq.heappush(self.shared.leases, (expires, ask["id"]))
        self._forget_expired()
        return self.answer(**reply)

    def _pay_tokens(self) -> None:
        endpoint = self.endpoint
        if self.ask["hedge"]:
            endpoint.hedges -= 1000
        else:
            endpoint.hedges = min(endpoint.hedges + self.limits["hedge_deposit"], 10_000)
        if self.ask["retry"] and not self.breaker.open:
            endpoint.tokens -= 1000
            if endpoint.tokens < 1000:
                self.notes.append({"e": "retries", "empty": 1})

    def _forget_expired(self) -> None:
        """Bound the admissions that are kept for a late settlement."""
        records = self.shared.records
        while len(records) > REMEMBERED and next(iter(records.values())).expired:
            records.popitem(last=False)


def admit(shared: Shared, now: int, ask: dict[str, Any]) -> Answer:
    """Admit, refuse, or put a request in line."""
    return Admitting(shared, now, ask).run()


def leave(shared: Shared, now: int, ask: dict[str, Any]) -> Answer:
    """Take a waiter out of all lines."""
    turn = Admitting(shared, now, ask | {"waiting": 1})
    turn._leave()  # noqa: SLF001 - the same rules
    return turn.answer("left")
