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
        refusal = self._halted() or self._runaway() or self._unreachable() or self._broken()
        refusal = refusal or self._unfunded() or self._resting()
        if refusal is None:
            refusal = self._crowded()
            if refusal is not None and refusal["r"] == "wait":
                return self.answer(**refusal)
            refusal = refusal or self._throttled() or self._over() or self._unpaid()
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

    def _unreachable(self) -> Answer | None:
        endpoint, limits = self.endpoint, self.limits
        left = endpoint.down_until - self.now
        if endpoint.down and -left >= limits["lately_ms"]:
            # Nobody has asked for a while, so nothing is known.
            endpoint.down, endpoint.down_until, endpoint.down_wait, endpoint.unconnected = False, 0, 0, ""
        longest = max(limits["reprobe_ms"], limits["longest_reprobe_ms"])
        if not endpoint.down or not calc.lasts(endpoint.down_until, self.now, longest) or self.ask["fresh"]:
            return None
        lately = calc.is_recent(endpoint.answered, self.now, limits["lately_ms"])
        if self.ask["patient"] and endpoint.answered and not self.ask["hedge"]:
            return self._in_line("unreachable", left, int(lately))
        return {
            "r": "unreachable", "retry_ms": max(left, limits["longest_reprobe_ms"]) if lately else left,
            "lately": int(lately),
        }  # fmt: skip

    def _broken(self) -> Answer | None:
        """Cut off an endpoint that is down, and let those who wait for it go step by step once it is back."""
        breaker, ask, limits, now = self.breaker, self.ask, self.limits, self.now
        if breaker.open and breaker.rejects and now - breaker.until >= limits["lately_ms"]:
            # Nobody has asked for a while, so nothing is known.
            breaker.open, breaker.rejects, breaker.until, breaker.backoff, breaker.probe_until = False, False, 0, 0, 0
        room = breaker.room(now)
        if not breaker.open and room is None:
            return None
        breaker.line.bury(now)
        before = breaker.line.before(ask["turn"])
        wait = calc.RAMP_POLL_MS
        if breaker.open:
            probing = breaker.probe_until - now
            longest = max(2 * limits["open_ms"], limits["reprobe_ms"], limits["longest_reprobe_ms"])
            lasts = calc.lasts(breaker.until, now, longest) and not (breaker.rejects and ask["fresh"])
            wait = min(1000, probing) if probing > 0 else (breaker.until - now if lasts else 0)
            room = int(wait <= 0)
            if room and breaker.rejects and ask["fresh"]:
                return None
        if room is not None and before < room:
            return None
        if ask["hedge"]:
            return {"r": "hedges_spent"}
        if breaker.open and not ask["patient"]:
            return {"r": "open", "retry_ms": wait, "rejects": int(breaker.rejects)} | self._cause()
        return self._in_line("rejects" if breaker.rejects else "down" if breaker.open else "ramp", wait)

    def _in_line(self, what: str, wait: int, lately: int = 0) -> Answer:
        """Stand in the line of those who wait until the endpoint answers again."""
        line = self.breaker.line
        line.bury(self.now)
        turn = line.join(self.ask["id"], self.ask["turn"], self.now)
        wait = min(max(wait, calc.RAMP_POLL_MS), 1000)
        return {
            "r": "wait", "why": "endpoint", "what": what, "lately": lately, "ticket": 0, "turn": turn, "retry_ms": wait,
        } | self._cause()  # fmt: skip

    def _held(self, why: str, wait: int) -> Answer:
        """Wait for a time."""
        return {"r": "wait", "why": why, "ticket": 0, "turn": 0, "retry_ms": wait} | self._cause()

    def _cause(self) -> Answer:
        """Say what really happened at the endpoint."""
        began, failed = self.breaker.shares(self.now)
        return {"began": began, "failed": failed, "last": self.breaker.last}

    def _probes(self) -> bool:
        """Tell whether a request finds out for all others if the endpoint works: it adds nothing to its load."""
        return self.endpoint.down or self.breaker.open

    def _unfunded(self) -> Answer | None:
        ask, endpoint = self.ask, self.endpoint
        if ask["retry"] and endpoint.tokens < 1000 and not self._probes():
            return self._held("budget", 1000) if ask["patient"] else {"r": "retries_spent"}
        if ask["hedge"] and endpoint.hedges < 1000 and not endpoint.down:
            return {"r": "hedges_spent"}
        return None

    def _throttled(self) -> Answer | None:
        breaker, dice = self.breaker, self.ask["dice"]
        if self._probes():
            return None
        began, failed = breaker.shares(self.now)
        if not calc.throttled(began, failed, self.limits["throttle_ratio"], dice):
            return None
        if self.ask["hedge"]:
            return {"r": "hedges_spent"}
        return self._held("throttle", calc.throttle_wait(began, failed, dice))

    def _resting(self) -> Answer | None:
        left = self.endpoint.rest - self.now
        lasts = calc.lasts(self.endpoint.rest, self.now, self.limits["rest_ms"])
        return {"r": "resting", "retry_ms": left} if lasts else None

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

    def _over(self) -> Answer | None:
        """Hold the request against what its step and run have left without calls whose outcome nobody knows."""
        ask = self.ask
        if not ask["worst"] or not ask["thread"] or not ask["room"]:
            return None
        lost = self.shared.lost[ask["thread"]].values()
        for name, left in ask["room"]:
            unknown = sum(r.worst for r in lost if name != "step" or r.ask["step"] == ask["step"])
            if ask["worst"] > left - unknown:
                return {"r": "unknown_out", "cap": name, "left": left, "unknown": unknown}
        return None

    def _unpaid(self) -> Answer | None:
        worst = self.ask["worst"]
        full: Answer | None = None
        for key, name, limit in self.caps:
            cap = self.shared.caps[key]
            left = limit - cap.spent - cap.unknown
            if worst > left:
                return {
                    "r": "spent_out", "cap": name, "spent": cap.spent, "limit": limit, "unknown": cap.unknown,
                }  # fmt: skip
            if worst > left - cap.held and full is None:
                ticket = self.ask["ticket"]
                full = {"r": "wait", "why": "money", "ticket": ticket, "turn": 0, "cap": name, "short": True}
        return full

    def _leave(self, *, but_line: bool = False) -> None:
        """Stop waiting; whoever stood behind may be able to go."""
        if self.ask["waiting"]:
            self.shared.short.pop(self.ask["id"], None)
            if self.endpoint.line.leave(self.ask["id"]):
                self.wake_line(self.endpoint)
            if not but_line and self.breaker.line.leave(self.ask["id"]):
                self.wake_parked(self.endpoint, self.breaker)

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
        if endpoint.down:
            # No lease: one that hangs is followed by the next at the same pace.
            endpoint.down_until = now + endpoint.down_wait
            self.notes.append({"e": "reach", "before": "open", "after": "half_open", "why": "probe"})
        probe, seq = self.breaker.open, self.breaker.begin(ask["id"], now)
        if probe:
            self.breaker.probe = seq
            self.breaker.probe_until = now + timeout + limits["probe_ms"]
            self.notes.append({"e": "breaker", "before": "open", "after": "half_open", "why": "probe"})
        expires = now + timeout + limits["lease_ms"]
        endpoint.begun += 1
        endpoint.slots[ask["id"]] = endpoint.begun
        for key, name, _limit in self.caps:
            self.shared.caps[key].held += ask["worst"]
            self.shared.capped[key.removeprefix(f"{name}:")].add(name)
        learned = self.timing.count >= limits["samples"]
        reply: Answer = {
            "r": "admitted", "timeout": timeout, "p95": self.timing.p95 if learned else 0,
            "probe": int(probe or endpoint.down),
        }  # fmt: skip
        keys = [key for key, _name, _limit in self.caps]
        self.shared.records[ask["id"]] = Record(ask, reply, now, expires, seq, keys, worst=ask["worst"])
        heapq.heappush(self.shared.leases, (expires, ask["id"]))
        self._forget_expired()
        return self.answer(**reply)

    def _pay_tokens(self) -> None:
        endpoint = self.endpoint
        if endpoint.down:
            return
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
