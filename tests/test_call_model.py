"""One guarded call over a real connection: what each misbehaviour becomes, what it costs, and how often it is sent."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import BaseModel

from nodes.bridge import run_sync
from nodes.call import Admission, Call, Reply, Request, Settlement, get_guard, spending_cap
from nodes.errors import (
    BudgetSpent,
    CallError,
    CallTimeout,
    ConfigurationError,
    InvalidOutput,
    OverBudget,
    Permanent,
    Refused,
    Throttled,
    Transient,
    Truncated,
)
from surefoot.testing import (
    KEY,
    MODEL,
    Fault,
    OpenAIEndpoint,
    content_filter,
    drip,
    empty,
    fenced,
    hang,
    html,
    prose,
    refusal,
    says,
    status,
    support_responder,
    throttle,
    throttle_ms,
    throttle_until,
    truncated,
)

PROMPT = "The printer of jane.doe@example.com is on fire"


class Category(BaseModel):
    category: Literal["billing", "bug", "general"]


def call(**changes: object) -> Call:
    return Call(**({"step": "classify", "thread": "t", "timeout_s": 10.0} | changes))  # type: ignore[arg-type]


async def test_an_answer_is_parsed_counted_and_charged(openai_endpoint: OpenAIEndpoint) -> None:
    one = call()
    reply = await one.model(PROMPT, Category)
    assert (reply.value, reply.how) == (Category(category="billing"), "strict")
    assert (one.usage.calls, one.usage.model, one.usage.unmetered) == (1, MODEL, False)
    assert one.usage.cost_microusd == -(-(one.usage.tokens_in * 4 + one.usage.tokens_out * 16) // 10)
    sent = openai_endpoint.requests[0].body
    assert sent["max_completion_tokens"] == 512
    assert sent["temperature"] == 0.0
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert not sent.get("stream")


async def test_text_without_a_schema(openai_endpoint: OpenAIEndpoint) -> None:
    reply: Reply[str] = await call().model(PROMPT)
    assert (reply.value, reply.how) == ("All is well.", "text")
    assert "response_format" not in openai_endpoint.requests[0].body


async def test_feedback_comes_last_and_temperature_adds_up(openai_endpoint: OpenAIEndpoint) -> None:
    prompt = [SystemMessage("rules"), HumanMessage("first"), AIMessage("what?"), HumanMessage("second")]
    await call(feedback="category: not one of ours", temperature=0.3).model(prompt, Category, temperature=0.5)
    body = openai_endpoint.requests[0].body
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][-1]["content"].startswith("second\n\nYour previous answer was not accepted: category")
    assert body["temperature"] == 0.8
    await call(feedback="again").model([HumanMessage("q"), AIMessage("a")], Category)
    assert "again" in openai_endpoint.requests[1].body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("fault", "how"),
    [(fenced(), "stripped"), (prose(), "stripped"), (says("{'category': 'bug',}"), "repaired"), (drip(0), "strict")],
)
async def test_form_is_forgiven(openai_endpoint: OpenAIEndpoint, fault: Fault, how: str) -> None:
    openai_endpoint.script(fault)
    one = call()
    assert (await one.model(PROMPT, Category)).how == how
    assert one.usage.repaired == (how != "strict")
    assert openai_endpoint.calls == 1


@pytest.mark.parametrize(
    ("fault", "error", "retry_after"),
    [
        (status(500), Transient, None),
        (status(502), Transient, None),
        (status(503, retry_after="7"), Transient, 7.0),
        (status(408), Transient, None),
        (status(409), Transient, None),
        (throttle(3), Throttled, 3.0),
        (throttle_ms(1500), Throttled, 1.5),
        (throttle_until(9), Throttled, 9.0),
        (status(429, retry_after="soon"), Throttled, None),
        (status(429, retry_after="-4"), Throttled, None),
        (status(429, retry_after="1e9"), Throttled, 86_400.0),
        (status(400), Permanent, None),
        (status(400, "context_length_exceeded", "too long for temperature and response_format"), Permanent, None),
        (status(413), Permanent, None),
        (status(422), Permanent, None),
        (status(403), Permanent, None),
        (status(400, "content_filter"), Refused, None),
        (html(), Transient, None),
        (Fault(raw="half a bo"), Transient, None),
        (Fault(raw='{"error": {"message": "overloaded"}}'), Transient, None),
        (Fault(raw='{"choices": []}'), Transient, None),
        (Fault(raw='{"choices": null}'), Transient, None),
        (truncated("length"), Truncated, None),
        (truncated("stop"), Truncated, None),
        (empty(), InvalidOutput, None),
        (says("<html><body>502</body></html>"), Transient, None),
        (refusal(), Refused, None),
        (content_filter(), Refused, None),
    ],
)
async def test_each_failure_has_one_name_and_is_sent_once(
    openai_endpoint: OpenAIEndpoint, fault: Fault, error: type[CallError], retry_after: float | None
) -> None:
    await call().model(PROMPT, Category)
    openai_endpoint.script(fault)
    one = call()
    with pytest.raises(error) as caught:
        await one.model(PROMPT, Category)
    assert isinstance(caught.value, CallError)
    assert caught.value.retry_after == retry_after
    assert one.usage.calls == 1
    assert openai_endpoint.calls == 2
    for hidden in ("jane", "printer", KEY, "weather", "I cannot help", "Gateway"):
        assert hidden not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            status(401, "invalid_api_key", "Incorrect API key provided: sk-lo***def"),
            "refused the API key (401): set OPENAI_API_KEY",
        ),
        (status(403, "invalid_api_key"), "refused the API key (403)"),
        (status(404, "model_not_found"), f"has no model '{MODEL}' (404): set SUREFOOT_MODEL"),
        (status(404, "", "Not Found"), "no chat completions at this address (404): check OPENAI_BASE_URL"),
        (status(429, "insufficient_quota"), "no quota left"),
        (status(402), "no quota left"),
    ],
)
async def test_a_wrong_setting_stops_and_nothing_more_is_sent(
    openai_endpoint: OpenAIEndpoint, fault: Fault, said: str
) -> None:
    openai_endpoint.always(fault)
    for _ in range(3):
        with pytest.raises(ConfigurationError) as caught:
            await call().model(PROMPT, Category)
        assert said in str(caught.value)
        assert openai_endpoint.host in str(caught.value)
        assert "sk-lo" not in str(caught.value)
    assert openai_endpoint.calls == 1


async def test_a_hanging_endpoint_times_out_and_is_charged_as_if_it_had_answered(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    openai_endpoint.script(hang(), drip(0.2))
    for _ in range(2):
        one = call(timeout_s=1)
        with pytest.raises(CallTimeout):
            await one.model(PROMPT, Category)
        assert one.usage.unmetered
        assert one.usage.cost_microusd > 800
    assert openai_endpoint.calls == 2


async def test_nobody_listening_costs_nothing(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    one = call()
    with pytest.raises(Transient, match=r"cannot reach 127\.0\.0\.1:1$"):
        await one.model(PROMPT, Category)
    assert (one.usage.calls, one.usage.cost_microusd, one.usage.unmetered) == (1, 0, False)


async def test_missing_usage_is_charged_at_the_worst_case_and_marked(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(Fault(usage=None), Fault(usage={"prompt_tokens": 5}))
    exact = call()
    for one in (call(), call()):
        await one.model(PROMPT, Category)
        assert one.usage.unmetered
        assert one.usage.cost_microusd > 800
    await exact.model(PROMPT, Category)
    assert exact.usage.cost_microusd < 100


async def test_cached_tokens_are_cheaper(openai_endpoint: OpenAIEndpoint) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}
    details = {"prompt_tokens_details": {"cached_tokens": 800}}
    openai_endpoint.script(Fault(usage=usage), Fault(usage=usage | details))
    plain, cached = call(), call()
    await plain.model(PROMPT, Category)
    await cached.model(PROMPT, Category)
    assert (plain.usage.cost_microusd, cached.usage.cost_microusd) == (402, 162)


async def test_an_answer_that_was_cut_off_is_charged_for_what_it_used(openai_endpoint: OpenAIEndpoint) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    openai_endpoint.script(Fault(finish_reason="length", shape=lambda _: '{"cat', usage=usage))
    one = call()
    with pytest.raises(Truncated):
        await one.model(PROMPT, Category)
    assert (one.usage.cost_microusd, one.usage.tokens_out, one.usage.unmetered) == (120, 50, False)


async def test_a_cancelled_call_settles_once_at_the_worst_case(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang())
    one = call()
    with spending_cap(1_000_000) as budget:
        task = asyncio.create_task(one.model(PROMPT, Category))
        while not openai_endpoint.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert budget.spent_microusd == one.usage.cost_microusd > 0
        assert budget.reserved_microusd == 0
    assert get_guard().in_flight == 0  # type: ignore[attr-defined] # the guard in memory tells


async def test_caps_refuse_before_anything_is_sent(openai_endpoint: OpenAIEndpoint) -> None:
    with pytest.raises(OverBudget, match="its step has"):
        await call(max_cost_microusd=500, step_spent_microusd=400).model(PROMPT, Category)
    with pytest.raises(OverBudget, match="its run has"):
        await call(run_cap_microusd=500).model(PROMPT, Category)
    with spending_cap(10), pytest.raises(BudgetSpent):
        await call().model(PROMPT, Category)
    assert openai_endpoint.calls == 0


async def test_two_requests_of_one_attempt_share_its_cap(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(Fault(usage=None))
    one = call(max_cost_microusd=1500, thread="")
    await one.model(PROMPT, Category)
    with pytest.raises(OverBudget):
        await one.model(PROMPT, Category)
    # Runs without a thread have nothing in common.
    await call(max_cost_microusd=1500, thread="").model(PROMPT, Category)


async def test_parallel_calls_never_exceed_the_cap(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(Fault(usage=None))
    await call().model(PROMPT, Category)
    with spending_cap(5_000) as budget:
        calls = [call(thread=f"t{n}") for n in range(20)]
        done = await asyncio.gather(*(one.model(PROMPT, Category) for one in calls), return_exceptions=True)
        assert 0 < budget.spent_microusd <= 5_000
    answered = sum(isinstance(one, Reply) for one in done)
    assert all(isinstance(one, Reply | BudgetSpent) for one in done)
    assert openai_endpoint.calls == 1 + answered


async def test_no_price_no_call(openai_endpoint: OpenAIEndpoint) -> None:
    with pytest.raises(ConfigurationError, match="SUREFOOT_PRICES"):
        await call(model="unheard-of").model(PROMPT, Category)
    assert openai_endpoint.calls == 0


async def test_no_endpoint_no_call(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    await call().model(PROMPT, Category)
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        await call().model(PROMPT, Category)


async def test_half_a_character_does_not_stop_a_call(openai_endpoint: OpenAIEndpoint) -> None:
    await call(feedback="half \ud83d").model("cut in two: \ud83d", Category)
    assert openai_endpoint.requests[0].text.startswith("cut in two: ?")


async def test_a_proxy_of_the_environment_is_used_and_does_not_confuse_the_client(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Transient):
        await call().model(PROMPT, Category)
    assert openai_endpoint.calls == 0


async def test_a_call_that_its_step_cuts_off_counts_as_timed_out(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settlement] = []
    guard = get_guard()
    settle = guard.settle

    async def spy(admission: Admission, settlement: Settlement) -> None:
        seen.append(settlement)
        await settle(admission, settlement)

    monkeypatch.setattr(guard, "settle", spy)
    openai_endpoint.script(hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await call(timeout_s=1).model(PROMPT, Category)
    assert seen[0].outcome == "timeout"
    assert seen[0].unmetered


async def test_token_probability(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.token_probability = 0.75
    reply = await call().model(PROMPT, Category, logprobs=True)
    assert reply.token_probability("billing") == pytest.approx(0.75)
    assert reply.token_probability("bug") is None
    assert (await call().model(PROMPT, Category)).token_probability("billing") is None


async def test_support_answers(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    reply = await call().model("charge or crash?\n<ticket>\nPlease refund my invoice\n</ticket>", Category)
    assert reply.value.category == "billing"


def test_the_same_call_under_sync_and_async(openai_endpoint: OpenAIEndpoint) -> None:
    """Calls on the background loop and on loops that come and go share guard and budget, each with its own pool."""
    from nodes.call import chat

    async def two() -> list[Reply[Category]]:
        return await asyncio.gather(*(call().model(PROMPT, Category) for _ in range(2)))

    with spending_cap(1_000_000) as budget:
        for _ in range(3):
            assert run_sync(two())[0].value == asyncio.run(two())[1].value
        assert budget.spent_microusd > 0
    assert openai_endpoint.calls == 12
    assert len([loop for loop in chat._pools if loop.is_closed()]) == 0
    assert len(chat._pools) <= 1


def test_a_loop_that_ends_without_ceremony_leaks_no_pool(openai_endpoint: OpenAIEndpoint) -> None:
    from nodes.call import chat

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(call().model(PROMPT, Category))
        loop.close()
    asyncio.run(call().model(PROMPT, Category))
    assert not any(loop.is_closed() for loop in chat._pools)


async def test_logs_hold_neither_key_nor_prompt(
    openai_endpoint: OpenAIEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    openai_endpoint.script(status(500), None)
    with caplog.at_level(logging.INFO):
        with pytest.raises(Transient):
            await call().model(PROMPT, Category)
        await call().model(PROMPT, Category)
    assert KEY not in caplog.text
    assert "jane" not in caplog.text


async def test_the_guard_is_asked_with_plain_names(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    guard = get_guard()
    admit = guard.admit

    async def spy(request: Request) -> object:
        asked.append(request)
        return await admit(request)

    monkeypatch.setattr(guard, "admit", spy)
    await call(tenant="acme", max_cost_microusd=10_000).model(PROMPT, Category)
    assert (asked[0].endpoint, asked[0].model, asked[0].tenant) == (openai_endpoint.host, MODEL, "acme")
    assert KEY not in json.dumps(asked[0].__dict__, default=str)
