"""Endpoints that go away and come back, as whole runs see them: a little time is lost, no result is."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

import pytest
from test_runner import run, toy_pipeline
from toy import Text, Word

from nodes import Policy, exponential
from nodes.call import Call, Limits, MemoryGuard
from nodes.call.queueing import Queueing
from nodes.loading import Clock
from nodes.patience import patient_until
from state import Attempt, RunContext
from surefoot.drive import Result
from surefoot.inputs import Item
from surefoot.store import open_store
from surefoot.testing import MODEL, OpenAIEndpoint, says, status

PATIENT = RunContext(providers={"word": "only"}, patience_s=60)
POLICY = Policy(retries=1, backoff=exponential(0.05, 2, 0.2), timeout=20, on_exhausted="give_up")


async def ask(inputs: Text, call: Call) -> Word:
    return Word(word=(await call.model(inputs.text)).value)


def items(number: int) -> list[Item]:
    return [Item(str(n), {"text": f"item {n}"}, n) for n in range(1, number + 1)]


def tally(results: dict[str, Result]) -> tuple[int, int]:
    """Return how many are done, and how many of them degraded."""
    done = [r for r in results.values() if r.status == "done"]
    return len(done), sum(bool(r.row["degraded"]) for r in done)


async def go(
    guard: MemoryGuard, url: str, name: str, number: int, *, policy: Policy = POLICY, context: RunContext = PATIENT,
    **options: Any,
) -> dict[str, Result]:  # fmt: skip
    async with open_store(url, guard=guard) as store:
        pipeline = toy_pipeline(ask, policy)
        _, results = await run(store, pipeline, items(number), namespace=name, context=context, **options)
    return results


def quick() -> MemoryGuard:
    """Return a guard that knows soon that an endpoint is down."""
    return MemoryGuard(Limits(open_s=0.6, breaker_failures=10))


async def test_an_outage_costs_time_and_no_result_and_who_waits_holds_no_slot(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    """Ten items on two slots: the endpoint comes back once nearly all of them stand in line."""
    openai_endpoint.responder = lambda _body: "ok"
    openai_endpoint.always(status(500, message="upstream overloaded"))
    guard = MemoryGuard(Limits(breaker_failures=10))
    going = asyncio.create_task(go(guard, shared_embedded_url, "outage", 10, parallel=2))
    async with asyncio.timeout(100):
        while not any(len(breaker.line.queue) >= 8 for breaker in guard._shared.breakers.values()):
            await asyncio.sleep(0.02)
        before = openai_endpoint.calls
        await asyncio.sleep(3)
    probes = openai_endpoint.calls - before
    openai_endpoint.chaos = lambda _body: None
    results = await going
    assert tally(results) == (10, 0)
    assert 1 <= probes <= 4, "nothing but probes while it is down"
    assert openai_endpoint.calls <= before + probes + 10 + 2
    attempts = [a for r in results.values() for a in r.values["attempts"] if a["step"] == "word"]
    waited = [a for a in attempts if a["queued_ms"] >= 2000]
    assert len(waited) >= 6, "they stood in line, on two slots"


async def test_without_patience_a_dead_endpoint_is_left_at_once_with_the_cause_in_each_row(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    openai_endpoint.always(status(500, message="upstream overloaded"))
    results = await go(quick(), shared_embedded_url, "dead", 30, parallel=30, context=RunContext())
    assert tally(results) == (30, 30)
    assert openai_endpoint.calls <= 40
    for result in results.values():
        assert "500" in " ".join(result.row["reasons"])


async def test_patience_ends(openai_endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    openai_endpoint.always(status(500))
    context = RunContext(patience_s=1.5)
    began = time.monotonic()
    results = await go(quick(), shared_embedded_url, "ends", 12, parallel=4, context=context)
    assert tally(results) == (12, 12)
    assert time.monotonic() - began >= 1.4
    assert openai_endpoint.calls <= 40


async def test_wrong_answers_are_bounded_by_count_whatever_the_patience(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    openai_endpoint.always(says(""))
    results = await go(quick(), shared_embedded_url, "wrong", 1)
    assert tally(results) == (1, 1)
    assert openai_endpoint.calls == 2


async def test_faults_of_transport_leave_the_retries_to_wrong_answers(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    openai_endpoint.responder = lambda _body: "ok"
    openai_endpoint.script(status(500), status(503), status(500), status(502), says(""))
    results = await go(quick(), shared_embedded_url, "mixed", 1)
    assert tally(results) == (1, 0)
    outcomes = [a["outcome"] for a in results["1"].values["attempts"] if a["step"] == "word"]
    assert outcomes == ["transient"] * 4 + ["invalid_output", "ok"]


@pytest.mark.parametrize(("failing", "retries", "patience_s"), [(0.3, 3, None), (0.6, 8, None), (0.6, 1, 90.0)])
async def test_fast_failures_beside_slow_answers_cut_nobody_off(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str, failing: float, retries: int, patience_s: float | None
) -> None:
    """What independent attempts give at fifty side by side, and with patience all of it."""
    seen = Counter[str]()

    def fault(body: dict[str, Any]) -> Any:
        asked = str(body["messages"])
        seen[asked] += 1
        return status(500) if random.Random(f"{asked} {seen[asked]}").random() < failing else None

    openai_endpoint.responder, openai_endpoint.latency_s = (lambda _body: "ok"), 0.5
    openai_endpoint.chaos = fault
    policy = Policy(retries=retries, backoff=exponential(0.05, 2, 0.5), timeout=20, on_exhausted="give_up")
    context = RunContext(patience_s=patience_s)
    results = await go(
        MemoryGuard(), shared_embedded_url, f"bad-{failing}-{patience_s}", 100, parallel=50, policy=policy,
        context=context,
    )  # fmt: skip
    done, degraded = tally(results)
    assert done == 100
    assert degraded <= (0 if patience_s else 3), [r.row["reasons"] for r in results.values() if r.row["degraded"]]
    assert openai_endpoint.calls <= 100 / (1 - failing) * 1.25


async def test_one_model_that_is_dead_does_not_hold_up_another(
    openai_endpoint: OpenAIEndpoint, shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_PRICES", json.dumps({MODEL: "free", "dead": "free"}))
    openai_endpoint.responder = lambda _body: "ok"
    openai_endpoint.chaos = lambda body: status(500) if body["model"] == "dead" else None

    async def both(inputs: Text, call: Call) -> Word:
        call.model_name = "dead" if inputs.text in {f"item {n}" for n in range(1, 16)} else ""
        return await ask(inputs, call)

    context = RunContext(patience_s=2)
    async with open_store(shared_embedded_url, guard=MemoryGuard(Limits(breaker_failures=5))) as store:
        _, results = await run(
            store, toy_pipeline(both, POLICY), items(30), namespace="half", context=context, parallel=30
        )
    assert [n for n in range(1, 31) if results[str(n)].row["degraded"]] == list(range(1, 16))


async def test_the_clock_of_an_attempt_stands_still_while_its_requests_wait_for_admission() -> None:
    async with Clock(0.3, most=0.6) as limit:
        clock = Queueing(limit)
        with clock.waiting():
            with clock.waiting():
                await asyncio.sleep(0.4)
            await asyncio.sleep(0.1)
        assert clock.queued_s >= 0.49
        assert limit.ran() < 0.3
        clock.allow(0.5)
        assert 0.3 < limit.left() <= 0.6


async def test_a_request_that_several_attempts_share_stops_the_clocks_of_all() -> None:
    async with Clock(0.2) as first, Clock(0.2) as second:
        one, other = Queueing(first), Queueing(second)
        with Queueing(one, other).waiting():
            await asyncio.sleep(0.3)
        assert min(one.queued_s, other.queued_s) >= 0.29
        assert max(first.ran(), second.ran()) < 0.2


async def test_an_attempt_takes_no_longer_than_its_longest_whatever_its_requests_are_allowed() -> None:
    async def attempt() -> None:
        async with Clock(0.2, most=0.3) as limit:
            clock = Queueing(limit)
            with clock.waiting():
                await asyncio.sleep(0.01)
            clock.allow(60)
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await attempt()


def test_patience_is_the_items_and_what_other_steps_waited_is_taken_from_it() -> None:
    earlier = [
        Attempt(step="a", outcome="transient", started_at=10, latency_ms=1000, wait_ms=500),
        Attempt(step="a", outcome="ok", started_at=20, latency_ms=9000, queued_ms=30_000),
    ]
    ours = [Attempt(step="b", outcome="timeout", started_at=100, latency_ms=20_000)]
    assert patient_until(120, [*earlier, *ours], ours, 140) == 100 + 120 - 31.5
    assert patient_until(120, earlier, [], 140) == 140 + 120 - 31.5
    assert patient_until(20, [*earlier, *ours], ours, 140) == 100
    assert patient_until(0, ours, ours, 140) <= 140
