"""Settlement on the memory of one process: the twin of `lua/settle.lua`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from nodes.call import arithmetic as calc
from nodes.call.memory_state import WOKEN_AT_ONCE, BreakerState, EndpointState, Halt, Record, Shared, Timing
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
        if said["outcome"] == "ok" and request["call"] and said["answer"]:
            shared.ledger[request["thread"]][request["call"]] = (self.now, said["answer"])
        self._learn_halts(request)
        if record.expired:
            return self.answer("late")
        endpoint = shared.endpoint(request["ep"], self.limits)
        self._learn_tokens(endpoint, request)
        breaker = shared.breakers[f"{request['ep']}|{request['model']}"]
        if self._learn_reach(endpoint, record):
            self._learn_breaker(breaker, endpoint, record)
        elif record.probe and record.era == breaker.era:
            breaker.probe_until = 0
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

    def _learn_tokens(self, endpoint: EndpointState, request: dict[str, Any]) -> None:
        if self.ask["outcome"] == "ok" and not request["retry"]:
            before = endpoint.tokens
            endpoint.tokens = min(before + self.limits["retry_deposit"], max(self.limits["retry_max"], before))
            if before < 1000 <= endpoint.tokens:
                self.notes.append({"e": "retries", "empty": 0})

    def _learn_reach(self, endpoint: EndpointState, record: Record) -> bool:
        """Learn whether the endpoint can be reached; False when no connection was made."""
        limits, now = self.limits, self.now
        if self.ask["connected"]:
            # A timeout, as a cancellation, may have come before a connection did or after.
            if self.ask["outcome"] in ("timeout", "cancelled"):
                return True
            endpoint.answered, endpoint.unconnected = now, ""
            if endpoint.down:
                endpoint.down, endpoint.down_until, endpoint.down_wait = False, 0, 0
                self.notes.append({"e": "reach", "before": "half_open", "after": "closed", "why": "answered"})
            return True
        if endpoint.down:
            if record.reply["probe"]:
                endpoint.down_wait = min(endpoint.down_wait * 2, limits["longest_reprobe_ms"])
                endpoint.down_until = now + endpoint.down_wait
                self.notes.append({"e": "reach", "before": "half_open", "after": "open", "why": "probe failed"})
            return False
        recent = calc.is_recent(endpoint.answered, now, limits["lately_ms"])
        needed = max(limits["breaker_calls"], limits["unreachable_calls"]) if recent else limits["unreachable_calls"]
        most = max(limits["breaker_calls"], limits["unreachable_calls"])
        endpoint.unconnected = calc.add_failed(endpoint.unconnected, endpoint.begun, most)
        if calc.older_than(endpoint.unconnected, endpoint.oldest(self.ask["id"])) >= needed:
            endpoint.down, endpoint.down_wait = True, limits["reprobe_ms"]
            endpoint.down_until = now + endpoint.down_wait
            self.notes.append({"e": "reach", "before": "closed", "after": "open", "why": "unreachable"})
        return False

    def _learn_rejects(self, breaker: BreakerState, endpoint: EndpointState, record: Record) -> bool:
        """Note a rejected request; True when everything is rejected."""
        limits = self.limits
        if self.ask["outcome"] != "permanent" or self.ask["halt"]:
            return False
        recent = calc.is_recent(breaker.accepted, self.now, limits["lately_ms"])
        most = max(limits["rejected_items"], limits["breaker_window"])
        breaker.rejected = calc.add_rejected(
            breaker.rejected, endpoint.begun, record.ask["item"], record.ask["prompt"], most
        )
        older = calc.older_than(breaker.rejected, endpoint.oldest(self.ask["id"]))
        return older >= int(most if recent else limits["rejected_items"])

    def _learn_breaker(self, breaker: BreakerState, endpoint: EndpointState, record: Record) -> None:
        outcome, limits = self.ask["outcome"], self.limits
        if record.era != breaker.era:
            return
        if outcome in calc.ACCEPTING:
            breaker.accepted, breaker.rejected = self.now, ""
        failed = outcome in calc.FAILING or (breaker.rejects and outcome == "permanent")
        if not failed and outcome not in calc.WORKING:
            if record.probe:
                breaker.probe_until = 0
            return
        if record.probe:
            self._end_probe(breaker, failed)
            return
        slow = 0 < limits["slow_ms"] <= self.ask["latency"]
        breaker.window = (breaker.window + calc.breaker_mark(failed, slow))[-limits["breaker_window"] :]
        why = calc.breaker_opens(
            breaker.window, limits["breaker_calls"], limits["breaker_failures"], limits["breaker_slow"]
        )
        rejects = self._learn_rejects(breaker, endpoint, record)
        if why or rejects:
            why = why or "rejects everything"
            breaker.open, breaker.window, breaker.probe_until = True, "", 0
            breaker.rejects, breaker.rejected = rejects, ""
            breaker.backoff = limits["reprobe_ms"] if rejects else limits["open_ms"]
            breaker.until = self.now + breaker.backoff
            breaker.era += 1
            self.notes.append({"e": "breaker", "before": "closed", "after": "open", "why": why})

    def _end_probe(self, breaker: BreakerState, failed: bool) -> None:
        breaker.era += 1
        breaker.probe_until = 0
        if failed:
            longest = self.limits["longest_reprobe_ms" if breaker.rejects else "longest_open_ms"]
            breaker.backoff = min(breaker.backoff * 2, longest)
            breaker.until = self.now + breaker.backoff
            self.notes.append({"e": "breaker", "before": "half_open", "after": "open", "why": "probe failed"})
        else:
            breaker.open, breaker.window, breaker.backoff, breaker.until = False, "", 0, 0
            breaker.rejects = False
            self.notes.append({"e": "breaker", "before": "half_open", "after": "closed", "why": "probe answered"})

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
