"""Settlement on the memory of one process: the twin of `lua/settle.lua`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from nodes.call import arithmetic as calc
from nodes.call.memory_breaker import BreakerState
from nodes.call.memory_state import WOKEN_AT_ONCE, EndpointState, Halt, Record, Shared, Timing
from nodes.call.memory_turn import Answer, Turn, halt_names

REAPED_FOR_REPORT: Final = 10_000
"""Expired admissions that are cleared away before a report."""


class Settling(Turn):
    """One settlement: money, places, and what is learned from how the request ended."""

    def run(self) -> Answer:
        """Return the answer: settled, late, or unknown for what was settled before."""
        record = self.shared.records.pop(self.ask["id"], None)
        if record is None:
            return self.answer("unknown")
        said, shared = self.ask, self.shared
        request = record.ask
        for name in record.caps:
            cap = shared.caps[name]
            if not record.expired:
                cap.held -= record.worst
                cap.spent += said["cost"]
            elif cap.lost.pop(said["id"], None) is not None:
                # Unless an operator has settled it meanwhile.
                cap.unknown -= record.worst
                cap.spent += said["cost"]
        if record.expired and request["thread"]:
            shared.lost[request["thread"]].pop(said["id"], None)
        if said["outcome"] == "ok" and request["call"]:
            self._learn_lost(request)
        if request["thread"]:
            self._note_rate(request["thread"], said["cost"])
            self._forgive(request, record.at)
        if said["outcome"] == "ok" and request["call"] and said["answer"]:
            shared.ledger[request["thread"]][request["call"]] = (self.now, said["answer"])
        self._learn_halts(request)
        if record.expired:
            return self.answer("late")
        endpoint = shared.endpoint(request["ep"], self.limits)
        breaker = self.breaker_of(request)
        self._learn_reach(endpoint, breaker, record)
        self._learn_breaker(breaker, endpoint, record)
        self.wake_parked(endpoint, breaker)
        self._learn_tokens(endpoint)
        self._learn_limit(endpoint, record)
        self._learn_latency(shared.timings[request["lat"]], record)
        self.free(record)
        return self.answer("settled")

    def _learn_lost(self, request: dict[str, Any]) -> None:
        """Learn what a call costs that was made before by a process that died.

        The other one may have been billed as well, but for no more than the same prompt and the same limit cost now.
        """
        cost = self.ask["cost"]
        for name, other in self.shared.lost[request["thread"]].items():
            if other.ask["call"] == request["call"] and not other.priced and cost < other.worst:
                for cap in (self.shared.caps[key] for key in other.caps):
                    if name in cap.lost:
                        cap.unknown += cost - other.worst
                other.worst, other.priced = cost, True

    def _forgive(self, request: dict[str, Any], at: int) -> None:
        """Count no prompt as repeated that got no answer: to ask again is no circle then."""
        if request["prompt"] and (self.ask["outcome"] in calc.FAILING or self.ask["outcome"] == "throttled"):
            sent = self.shared.same[f"{request['thread']}:{request['prompt']}"]
            if at in sent:
                sent.remove(at)

    def _note_rate(self, thread: str, cost: int) -> None:
        if not cost:
            return
        index = self.now // calc.RATE_SLICE_MS
        slices = self.shared.rates[thread]
        slices[index] = slices.get(index, 0) + cost
        for old in [i for i in slices if i <= index - calc.RATE_SLICES]:
            del slices[old]

    def _learn_halts(self, request: dict[str, Any]) -> None:
        said, halts = self.ask, self.shared.halts
        of_key, of_model = halt_names(request)
        if said["halt"]:
            name = of_key if said["halt"] == "key" else of_model
            halts[name] = Halt(said["error"], self.now + self.limits["halt_ms"])
        if said["halt"] == "model" or said["outcome"] == "ok":
            # An answer about the model proves the key.
            halts.pop(of_key, None)
        if said["outcome"] == "ok":
            halts.pop(of_model, None)

    def _learn_tokens(self, endpoint: EndpointState) -> None:
        if self.ask["outcome"] == "ok":
            before = endpoint.tokens
            endpoint.tokens = min(before + self.limits["retry_deposit"], max(self.limits["retry_max"], before))
            if before < 1000 <= endpoint.tokens:
                self.notes.append({"e": "retries", "empty": 0})

    def _learn_reach(self, endpoint: EndpointState, breaker: BreakerState, record: Record) -> None:
        """Learn whether the endpoint can be reached."""
        limits, now = self.limits, self.now
        if self.ask["connected"]:
            # A timeout, as a cancellation, may have come before a connection did or after.
            if self.ask["outcome"] in ("timeout", "cancelled"):
                return
            endpoint.answered, endpoint.unconnected = now, ""
            if endpoint.down:
                endpoint.down, endpoint.down_until, endpoint.down_wait = False, 0, 0
                endpoint.tokens = max(endpoint.tokens, limits["retry_reserve"])
                if not breaker.open:
                    breaker.begin_anew(now)
                self.notes.append({"e": "reach", "before": "half_open", "after": "closed", "why": "answered"})
            return
        if endpoint.down:
            if record.reply["probe"]:
                endpoint.down_wait = min(endpoint.down_wait * 2, limits["longest_reprobe_ms"])
                endpoint.down_until = now + endpoint.down_wait
                self.notes.append({"e": "reach", "before": "half_open", "after": "open", "why": "probe failed"})
            return
        recent = calc.is_recent(endpoint.answered, now, limits["lately_ms"])
        most = max(limits["lost_calls"], limits["unreachable_calls"])
        needed = most if recent else limits["unreachable_calls"]
        endpoint.unconnected = calc.add_failed(endpoint.unconnected, endpoint.begun, most)
        if calc.older_than(endpoint.unconnected, endpoint.oldest(self.ask["id"])) >= needed:
            endpoint.down, endpoint.down_wait = True, limits["reprobe_ms"]
            endpoint.down_until = now + endpoint.down_wait
            self.notes.append({"e": "reach", "before": "closed", "after": "open", "why": "unreachable"})

    def _learn_rejects(self, breaker: BreakerState, endpoint: EndpointState, record: Record) -> bool:
        """Note a rejected request; True when everything is rejected."""
        limits = self.limits
        if self.ask["outcome"] != "permanent" or self.ask["halt"] or record.seq <= breaker.since:
            return False
        recent = calc.is_recent(breaker.accepted_at, self.now, limits["lately_ms"])
        most = max(limits["rejected_items"], limits["rejected_items_lately"])
        breaker.rejected = calc.add_rejected(
            breaker.rejected, endpoint.begun, record.ask["item"], record.ask["prompt"], most
        )
        older = calc.older_than(breaker.rejected, endpoint.oldest(self.ask["id"]))
        return older >= int(most if recent else limits["rejected_items"])

    def _learn_breaker(self, breaker: BreakerState, endpoint: EndpointState, record: Record) -> None:
        outcome, limits, name = self.ask["outcome"], self.limits, record.ask["id"]
        probing = breaker.open and record.seq == breaker.probe
        alive = bool(self.ask["connected"]) and outcome in calc.WORKING
        if outcome in calc.ACCEPTING and alive:
            breaker.accepted_at, breaker.rejected = self.now, ""
        if alive and not (outcome == "permanent" and breaker.rejects):
            if breaker.accept(name, record.seq, self.now):
                endpoint.tokens = max(endpoint.tokens, limits["retry_reserve"])
                self._note_breaker("half_open" if probing else "open", "closed", "a request was answered")
            elif not breaker.open and self._learn_rejects(breaker, endpoint, record):
                self._open(breaker, limits["reprobe_ms"], "rejects everything")
        elif alive or (self.ask["connected"] and outcome in calc.FAILING):
            if outcome in calc.FAILING:
                breaker.fail(name, record.seq, record.at, self.now, self.ask["error"], limits["breaker_failures"])
            else:
                breaker.forget(name, record.seq, record.at)
            if probing:
                breaker.probe_until = 0
                if breaker.rejects:
                    breaker.backoff = min(breaker.backoff * 2, limits["longest_reprobe_ms"])
                wait = breaker.backoff if breaker.rejects else calc.probe_wait(limits["open_ms"], record.ask["dice"])
                breaker.until = self.now + wait
                self._note_breaker("half_open", "open", "the probe failed")
            elif not breaker.open and breaker.down(limits["breaker_failures"]):
                self._open(breaker, calc.probe_wait(limits["open_ms"] // 4, record.ask["dice"]), "nothing was accepted")
        else:
            breaker.forget(name, record.seq, record.at)
            if probing:
                breaker.probe_until = 0

    def _open(self, breaker: BreakerState, wait: int, why: str) -> None:
        breaker.open, breaker.probe_until, breaker.until = True, 0, self.now + wait
        breaker.rejects = why == "rejects everything"
        breaker.backoff, breaker.rejected = wait if breaker.rejects else 0, ""
        self._note_breaker("closed", "open", why)

    def _note_breaker(self, before: str, after: str, why: str) -> None:
        self.notes.append({"e": "breaker", "before": before, "after": after, "why": why})

    def _learn_limit(self, endpoint: EndpointState, record: Record) -> None:
        outcome, limits = self.ask["outcome"], self.limits
        if outcome == "throttled" and self.ask["retry_ms"]:
            endpoint.rest = max(endpoint.rest, self.now + min(self.ask["retry_ms"], limits["rest_ms"]))
        if not limits["auto"]:
            return
        before = endpoint.limit
        if outcome == "ok":
            endpoint.oks += 1
            if endpoint.oks >= before // 1000:
                endpoint.oks, endpoint.limit = 0, calc.raised(before, limits["concurrency_max"])
        elif outcome in ("throttled", "timeout") and record.at > endpoint.cut_at:
            # Requests that were under way at the last cut tell nothing about the limit since.
            endpoint.oks, endpoint.cut_at, endpoint.limit = 0, self.now, calc.lowered(before)
        if endpoint.limit // 1000 != before // 1000:
            self.notes.append({"e": "limit", "before": before // 1000, "after": endpoint.limit // 1000})

    def _learn_latency(self, timing: Timing, record: Record) -> None:
        said, limits = self.ask, self.limits
        timeout = record.reply["timeout"]
        learned = timing.count >= limits["samples"]
        usual = calc.usual_timeout(timing.p99, limits["floor_ms"])
        if said["outcome"] == "timeout":
            # Dropped, it would leave only the fast ones in the statistics.
            timing.note(calc.bucket_of(timeout), self.now)
            if learned and timeout >= max(usual, timing.lift):
                timing.lift = min(timeout * 2, calc.HIGHEST_LIFT_MS)
        elif said["outcome"] == "ok" or said["lost"]:
            timing.note(calc.bucket_of(said["latency"]), self.now)
            if learned and said["outcome"] == "ok" and said["latency"] <= usual:
                timing.lift = timing.lift // 2
        else:
            return
        if self.now - timing.computed_at >= calc.PERCENTILES_EVERY_MS:
            counts = calc.merged(timing.lately(self.now))
            timing.computed_at, timing.count = self.now, sum(counts.values())
            timing.p99, timing.p95 = calc.percentile(counts, 99), calc.percentile(counts, 95)
        if timing.lift <= calc.usual_timeout(timing.p99, limits["floor_ms"]):
            timing.lift = 0


def settle(shared: Shared, now: int, said: dict[str, Any]) -> Answer:
    """Settle an admission; a second time does nothing."""
    return Settling(shared, now, said).run()


def money(shared: Shared, now: int, ask: dict[str, Any]) -> Answer:
    """Return what of each cap of a day is spent, held and unknown; the unknown of caps that are named is settled."""
    turn = Turn(shared, now, ask)
    turn.expire(REAPED_FOR_REPORT)
    date = ask["date"] or datetime.fromtimestamp(now / 1000, UTC).date().isoformat()
    for name, cost in ask["settle"].items():
        cap = shared.caps[f"{name}:{date}"]
        for admission in cap.lost:
            if (record := shared.records.get(admission)) is not None:
                shared.lost[record.ask["thread"]].pop(admission, None)
        cap.spent, cap.unknown, cap.lost = cap.spent + cost, 0, {}
        turn.wake += sorted(shared.short, key=lambda w: (shared.short[w], w))[:WOKEN_AT_ONCE]
    found = []
    for name in sorted(shared.capped[date]):
        cap = shared.caps[f"{name}:{date}"]
        found.append([name, cap.spent, cap.held, cap.unknown, len(cap.lost), min(cap.lost.values(), default=0)])
    return turn.answer("money", date=date, caps=found)
