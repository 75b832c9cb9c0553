"""The guard around real calls and whole steps: replays, hedges, learned time limits, and what a refusal leads to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from guard_tools import request, settled
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from toy import Text, Word, toy_graph

from nodes import Escalate, Fallback, Policy, decide, events, fixed
from nodes.call import Call, Limits, MemoryGuard, arithmetic, kept, spending_cap, using_guard
from nodes.call.charge import Charge
from nodes.call.chat import Answer, TokenLogprob
from nodes.call.prices import TokenUsage
from nodes.errors import BreakerOpen, CallTimeout, GuardUnavailable, Runaway, Throttled
from state import Attempt, Failure, RunState
from surefoot.testing import OpenAIEndpoint, hang, says, status, throttle


class Color(BaseModel):
    color: str


def call(**changes: Any) -> Call:
    return Call(**({"step": "s", "thread": "t", "timeout_s": 10.0} | changes))


@pytest.fixture
def guard(openai_endpoint: OpenAIEndpoint) -> Any:
    """A guard of the test's own around all its calls."""
    guard = MemoryGuard()
    with using_guard(guard):
        yield guard


async def teach(guard: MemoryGuard, endpoint: OpenAIEndpoint, latency_s: float, **asked: Any) -> None:
    """Let the guard know how long calls of a kind take."""
    for _ in range(60):
        admission = await guard.admit(request(endpoint=endpoint.host, model="loopback-small", thread="", **asked))
        await guard.settle(admission, settled(latency_s=latency_s))
    guard._shared.timings["loopback-small|s|512"].computed_at = -1_000_000
    admission = await guard.admit(request(endpoint=endpoint.host, model="loopback-small", thread="", **asked))
    await guard.settle(admission, settled(latency_s=latency_s))


async def test_the_same_call_again_is_replayed(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    first, second = call(remember=True), call(remember=True)
    said = await first.model("blue?", Color)
    with spending_cap(1_000_000) as budget:
        assert (await second.model("blue?", Color)).value == said.value
        assert budget.spent_microusd == 0
    assert openai_endpoint.calls == 1
    assert (second.usage.calls, second.usage.replayed) == (0, 1)
    assert (second.usage.cost_microusd, second.usage.tokens_in) == (first.usage.cost_microusd, first.usage.tokens_in)


@pytest.mark.parametrize(
    "changes", [{"n": 2}, {"visit": 1}, {"step": "r"}, {"thread": "u"}, {"temperature": 0.5}, {"remember": False}]
)
async def test_another_call_is_sent(
    guard: MemoryGuard, openai_endpoint: OpenAIEndpoint, changes: dict[str, Any]
) -> None:
    await call(remember=True).model("blue?", Color)
    await call(**{"remember": True} | changes).model("blue?", Color)
    assert openai_endpoint.calls == 2


async def test_two_calls_of_one_attempt_are_two_calls(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    for _ in range(2):
        one = call(remember=True)
        await one.model("blue?", Color)
        await one.model("blue?", Color)
    assert openai_endpoint.calls == 2


async def test_a_failed_call_is_not_kept(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(status(500))
    with contextlib.suppress(Exception):
        await call(remember=True).model("blue?", Color)
    await call(remember=True).model("blue?", Color)
    assert openai_endpoint.calls == 2


@given(
    st.text(),
    st.booleans(),
    st.none()
    | st.builds(TokenUsage, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 9), st.integers(0, 9)),
    st.lists(st.builds(TokenLogprob, st.text(max_size=5), st.floats(-50, 0)), max_size=4),
)
def test_what_is_kept_comes_back_as_it_was(
    text: str, refused: bool, usage: TokenUsage | None, logprobs: list[TokenLogprob]
) -> None:
    answer = Answer(text, "stop", refused, usage, tuple(logprobs), "m")
    found, charge = kept.recall(kept.keep(answer, Charge("ok", 17, unmetered=usage is None)))
    assert found == answer
    assert (charge.cost, charge.unmetered, charge.outcome) == (17, usage is None, "ok")


# --- hedging --------------------------------------------------------------------------------------------------------


async def test_a_slow_request_is_overtaken(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    await teach(guard, openai_endpoint, 0.05)
    await call().model("warm up", Color)
    openai_endpoint.script(hang(5), says('{"color": "second"}'))
    one, seen = call(hedge=True), []
    with events.listening(seen.append), spending_cap(1_000_000) as budget:
        assert (await one.model("blue?", Color)).value.color == "second"
        assert budget.reserved_microusd == 0
        assert budget.spent_microusd == one.usage.cost_microusd
    assert (one.usage.calls, one.usage.hedged, guard.in_flight) == (2, 1, 0)
    assert one.usage.unmetered, "the slower one may have been billed"
    assert [e.outcome for e in seen if isinstance(e, events.CallSettled)] == ["ok", "cancelled"]
    assert sum(isinstance(e, events.CallHedged) for e in seen) == 1


async def test_a_fast_request_is_sent_once(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    await teach(guard, openai_endpoint, 2.0)
    await call(hedge=True).model("blue?", Color)
    assert openai_endpoint.calls == 1


async def test_nothing_is_hedged_without_latencies(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang(0.2))
    await call(hedge=True).model("blue?", Color)
    assert openai_endpoint.calls == 1


async def test_a_failed_second_request_leaves_the_first_alone(
    guard: MemoryGuard, openai_endpoint: OpenAIEndpoint
) -> None:
    await teach(guard, openai_endpoint, 0.05)
    await call().model("warm up", Color)
    openai_endpoint.script(hang(0.4), status(500))
    one = call(hedge=True)
    assert (await one.model("blue?", Color)).value.color
    assert one.usage.calls == 2


async def test_a_cancelled_hedged_call_leaves_nothing(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    await teach(guard, openai_endpoint, 0.05)
    await call().model("warm up", Color)
    openai_endpoint.always(hang(5))
    before = openai_endpoint.calls
    with spending_cap(1_000_000) as budget:
        task = asyncio.create_task(call(hedge=True).model("blue?", Color))
        while openai_endpoint.calls < before + 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (budget.reserved_microusd, guard.in_flight) == (0, 0)


# --- steps ----------------------------------------------------------------------------------------------------------


def asking(seen: list[Call] | None = None) -> Any:
    async def provider(inputs: Text, call: Call) -> Word:
        if seen is not None:
            seen.append(call)
        return Word(word=(await call.model(inputs.text)).value)

    return provider


async def test_a_learned_time_limit_is_longer_than_the_policys_and_recorded(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    guard = MemoryGuard(Limits(timeout_floor_s=0.1))
    # The first call of a process imports the client, which takes as long as what is measured here.
    await call().model("blue?", Color)
    with using_guard(guard):
        await teach(guard, openai_endpoint, 1.0)
        guard._shared.timings["loopback-small|word|512"] = guard._shared.timings["loopback-small|s|512"]
        openai_endpoint.latency_s = 1.1
        state = await toy_graph(Policy(timeout=1.0, retries=0), word=asking()).ainvoke({"text": "x"})
    attempt = state["attempts"][0]
    assert (attempt["outcome"], attempt["calls"]) == ("ok", 1)
    assert attempt["timeout_ms"] == pytest.approx(1500, rel=0.05)


async def test_an_attempt_that_asks_no_model_keeps_the_policys_time_limit() -> None:
    async def slow(_inputs: Text, _call: Call) -> Word:
        await asyncio.sleep(5)
        return Word(word="late")

    policy = Policy(timeout=0.1, retries=0, on_exhausted="give_up")
    state = await toy_graph(policy, word=slow).ainvoke({"text": "x"})
    assert (state["attempts"][0]["outcome"], state["attempts"][0]["timeout_ms"]) == ("timeout", 100)


async def test_the_deadline_of_the_run_bounds_it(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    from state import RunContext

    openai_endpoint.always(hang(5))
    policy = Policy(timeout=5, retries=0, on_exhausted="give_up")
    began = asyncio.get_running_loop().time()
    state = await toy_graph(policy, word=asking()).ainvoke({"text": "x"}, context=RunContext(deadline_s=0.3))
    assert state["attempts"][0]["outcome"] == "timeout"
    assert asyncio.get_running_loop().time() - began < 4


async def test_what_the_guard_held_back_is_no_retry(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    """After a 429 nothing is sent; the attempt after that is the first to load the endpoint, and costs no token."""
    await call().model("warm up")
    openai_endpoint.script(throttle(0.2))
    with pytest.raises(Throttled):
        await call().model("first")
    calls: list[Call] = []
    policy = Policy(retries=3, backoff=fixed(0))
    state = await toy_graph(policy, word=asking(calls)).ainvoke({"text": "x"})
    assert [(a["outcome"], a["calls"]) for a in state["attempts"][:2]] == [("throttled", 0), ("ok", 1)]
    assert [one.resent for one in calls] == [False, False]


async def test_an_open_breaker_goes_to_the_next_rung_at_once(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(status(500))
    guard = MemoryGuard(Limits(breaker_failures=2))

    async def other(_inputs: Text, _call: Call) -> Word:
        return Word(word="other")

    policy = Policy(retries=5, backoff=fixed(0), fallback=("other",))
    with using_guard(guard):
        graph = toy_graph(policy, first=asking(), other=other)
        from state import RunContext

        state = await graph.ainvoke({"text": "x"}, context=RunContext(providers={"word": "first"}))
    assert state["word"] == "other"
    outcomes = [a["outcome"] for a in state["attempts"] if a["step"] == "word"]
    assert outcomes == ["transient", "transient", "breaker_open", "ok"]
    assert openai_endpoint.calls == 2


async def test_a_runaway_goes_to_a_person_not_to_the_next_rung(openai_endpoint: OpenAIEndpoint) -> None:
    async def other(_inputs: Text, _call: Call) -> Word:
        return Word(word="other")

    async def circle(inputs: Text, call: Call) -> Word:
        while True:
            await call.model(inputs.text)

    from state import RunContext

    policy = Policy(retries=3, backoff=fixed(0), fallback=("other",))
    graph = toy_graph(policy, review=True, first=circle, other=other).copy(update={"checkpointer": InMemorySaver()})
    with using_guard(MemoryGuard()):
        state = await graph.ainvoke(
            {"text": "x"}, {"configurable": {"thread_id": "r"}}, context=RunContext(providers={"word": "first"})
        )
    assert openai_endpoint.calls == 12
    assert "it runs in a circle" in str(state["__interrupt__"][0].value)


async def test_a_lost_guard_stops_the_run(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(GuardUnavailable, match=r"127\.0\.0\.1:1 does not answer .* bring it back and resume"):
        await toy_graph(Policy(), word=asking()).ainvoke({"text": "x"})
    assert openai_endpoint.calls == 0


def failure(error: Any) -> Failure:
    return Failure(
        step="s", outcome=error.outcome, error=str(error), retryable=error.retryable, escalate=error.escalates
    )


def test_decisions_about_refusals() -> None:
    ladder = Policy(retries=2, fallback=("b",), on_exhausted="give_up").resolve(RunState())
    tried = [Attempt(step="s", entry="a", outcome="breaker_open")]
    assert isinstance(decide(ladder, tried, failure(BreakerOpen("open", retry_after=30)), 0.0), Fallback)
    assert isinstance(decide(ladder, tried, failure(Runaway("circle")), 0.0), Escalate)
    alone = Policy(retries=2, backoff=fixed(0)).resolve(RunState())
    waits = decide(alone, tried, failure(BreakerOpen("open")).model_copy(update={"retry_after": 30.0}), 0.0)
    assert getattr(waits, "at", None) == 30.0


# --- arithmetic -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000_000))
def test_a_latency_is_known_to_within_two_percent(milliseconds: int) -> None:
    middle = arithmetic.value_of(arithmetic.bucket_of(milliseconds))
    assert abs(middle - milliseconds) <= 0.02 * milliseconds + 0.5


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=300), st.sampled_from([50, 95, 99]))
def test_percentiles_are_those_of_the_sorted_latencies(latencies: list[int], percent: int) -> None:
    counts: dict[int, int] = {}
    for latency in latencies:
        bucket = arithmetic.bucket_of(latency)
        counts[bucket] = counts.get(bucket, 0) + 1
    exact = sorted(latencies)[(len(latencies) * percent + 99) // 100 - 1]
    assert abs(arithmetic.percentile(counts, percent) - exact) <= 0.02 * exact + 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"concurrency": 0}, {"concurrency": "many"}, {"open_s": -1}, {"throttle_ratio": float("nan")}, {"open_s": None}],
)
def test_limits_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"limits: {next(iter(wrong))} must be"):
        Limits(**wrong)


async def test_a_hanging_call_is_counted_at_its_time_limit(guard: MemoryGuard, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang(5))
    with pytest.raises(CallTimeout):
        await call(timeout_s=0.2).model("x")
    ((_, window),) = guard._shared.timings["loopback-small|s|512"].windows.items()
    assert list(window) == [arithmetic.bucket_of(200)]
