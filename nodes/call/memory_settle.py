"""Settlement on the memory of one process: the twin of `lua/settle.lua`."""

from __future__ import annotations

from typing import Any

from nodes.call import arithmetic as calc
from nodes.call.memory_breaker import BreakerState
from nodes.call.memory_state import EndpointState, Halt, Record, Shared, Timing
from nodes.call.memory_turn import Answer, Turn, halt_names


class Settling(Turn):
    """One settlement: money, places, and what is learned from how the request ended."""

    def run(self) -> Answer:
        """Return the answer: settled, late, or unknown for what was settled before."""
        record = self.shared.records.pop(self.ask["id"], None)
        if record is None:
            return self.answer("unknown")
        said, shared = self.ask, self.shared
        request = record.ask
        for cap in record.caps:
            if record.expired:
                shared.caps[cap].spent += said["cost"] - request["worst"]
            else:
                shared.caps[cap].held -= request["worst"]
                shared.caps[cap].spent += said["cost"]
        if request["thread"]:
            self._note_rate(request["thread"], said["cost"])
            self._forgive(request, record.at)
        if said["outcome"] == "ok" and request["call"] and said["answer"]:
            shared.ledger[request["thread"]][request["call"]] = (self.now, said["answer"])
        self._learn_halts(request)
        if record.expired:
            return self.answer("late")
        endpoint = shared.endpoint(request["ep"], self.limits)
        self._learn_breaker(self.breaker_of(request), record, endpoint)
        self._learn_tokens(endpoint)
        self._learn_limit(endpoint, record)
        self._learn_latency(shared.timings[request["lat"]], record)
        self.free(record)
        return self.answer("settled")

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

    def _learn_breaker(self, breaker: BreakerState, record: Record, endpoint: EndpointState) -> None:
        outcome, limits, name = self.ask["outcome"], self.limits, record.ask["id"]
        probing = breaker.open and record.seq == breaker.probe
        if outcome in calc.WORKING:
            if breaker.accept(name, record.seq, self.now):
                endpoint.tokens = max(endpoint.tokens, limits["retry_reserve"])
                self._note_breaker("half_open" if probing else "open", "closed", "a request was accepted")
        elif outcome in calc.FAILING or (outcome == "permanent" and not self.ask["halt"]):
            breaker.fail(name, record.seq, record.at, self.now, self.ask, limits["breaker_failures"])
            if probing:
                breaker.probe_until = 0
                breaker.until = self.now + calc.probe_wait(limits["open_ms"], record.ask["dice"])
                self._note_breaker("half_open", "open", "the probe failed")
            elif not breaker.open and breaker.down(limits["breaker_failures"], limits["breaker_unreached"]):
                breaker.open, breaker.probe_until = True, 0
                breaker.until = self.now + calc.probe_wait(limits["open_ms"] // 4, record.ask["dice"])
                self._note_breaker("closed", "open", "nothing was accepted")
        else:
            breaker.forget(name, record.seq, record.at)
            if probing:
                breaker.probe_until = 0

        if breaker.line.queue:
            self.wake += breaker.next_in_line(self.now)

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
