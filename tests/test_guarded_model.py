"""`guard(model)`: a chat model of LangChain that keeps all it can do, with each request under the guard."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from nodes import guard
from nodes.call import Call, Limits, MemoryGuard, get_guard, set_guard, spending_cap, using_call
from nodes.errors import (
    BudgetSpent,
    CallTimeout,
    ConfigurationError,
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
    calls_tool,
    chunk,
    completion,
    content_filter,
    cut_stream,
    drip,
    hang,
    refusal,
    status,
    stream_of,
    throttle,
    truncated,
)


class Answer(BaseModel):
    number: int


@tool
def double(number: int) -> int:
    """Double a number."""
    return number * 2


def openai_model(endpoint: OpenAIEndpoint, **options: Any) -> ChatOpenAI:
    given = {"model": MODEL, "base_url": endpoint.url, "api_key": SecretStr(KEY), "stream_usage": True} | options
    return ChatOpenAI(**given)


def spent() -> int:
    guard_of_tests = get_guard()
    assert isinstance(guard_of_tests, MemoryGuard)
    return guard_of_tests.in_flight


def test_it_is_still_what_it_was(openai_endpoint: OpenAIEndpoint) -> None:
    plain = openai_model(openai_endpoint)
    model = guard(plain, max_tokens=300)
    assert isinstance(model, ChatOpenAI)
    assert type(model).__name__ == "ChatOpenAI"
    assert (model.model_name, model.max_tokens, model.max_retries) == (MODEL, 300, 0)
    assert (plain.max_tokens, plain.max_retries) == (None, None), "the model that was passed in stays as it was"
    assert guard(model) is model
    assert guard(openai_model(openai_endpoint, max_tokens=77)).max_tokens == 77
    assert model.model_copy().invoke("hello").text == "All is well."


def test_sync_and_async_under_several_loops(openai_endpoint: OpenAIEndpoint) -> None:
    model = guard(openai_model(openai_endpoint))

    async def both() -> list[str]:
        answers = await model.abatch(["one", "two"])
        streamed = [chunk.text async for chunk in model.astream("three")]
        return [*(answer.text for answer in answers), "".join(streamed)]

    for _ in range(3):
        # LangChain shares its client among loops, and connections do not outlive theirs.
        assert asyncio.run(both()) == ["All is well."] * 3
        assert model.invoke("hello").text == "All is well."
        assert "".join(chunk.text for chunk in model.stream("hello")) == "All is well."
    assert openai_endpoint.calls == 15
    assert spent() == 0


def test_tools_and_schemas_go_through_the_guard_too(openai_endpoint: OpenAIEndpoint) -> None:
    model = guard(openai_model(openai_endpoint))
    assert model.with_structured_output(Answer).invoke("how many?") == Answer(number=1)
    both = model.with_structured_output(Answer, include_raw=True).invoke("how many?")
    assert isinstance(both, dict)
    assert both["parsed"] == Answer(number=1)
    openai_endpoint.responder = lambda _body: calls_tool("double", number=4)
    bound = model.bind_tools([double])
    for answer in (bound.invoke("double 4"), asyncio.run(bound.ainvoke("double 4"))):
        assert isinstance(answer, AIMessage)
        assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("double", {"number": 4})]
    by_tool = model.with_structured_output(Answer, method="function_calling")
    openai_endpoint.responder = lambda _body: calls_tool("Answer", number=9)
    assert by_tool.invoke("how many?") == Answer(number=9)
    with spending_cap(0):
        for refused in (model, bound, by_tool, model.with_structured_output(Answer)):
            with pytest.raises(BudgetSpent):
                refused.invoke("no money")
    assert openai_endpoint.calls == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(500), Transient),
        (throttle(7), Throttled),
        (status(400, "bad_thing"), Permanent),
        (status(401, "invalid_api_key"), ConfigurationError),
        (truncated(), Truncated),
        (content_filter(), Refused),
        (refusal(), Refused),
    ],
)
def test_failures_are_told_in_our_own_words_after_one_request(
    fault: Fault, error: type[Exception], openai_endpoint: OpenAIEndpoint
) -> None:
    asks: list[Any] = [lambda m: m.invoke("hello"), lambda m: asyncio.run(m.ainvoke("hello"))]
    if fault != refusal():
        # LangChain drops the words of a refusal from a stream.
        asks.append(lambda m: list(m.stream("hello")))
    for ask in asks:
        set_guard(None)
        before = openai_endpoint.calls
        openai_endpoint.script(fault)
        with pytest.raises(error) as told:
            ask(guard(openai_model(openai_endpoint, max_retries=6)))
        assert openai_endpoint.calls == before + 1
        assert spent() == 0
        if isinstance(told.value, Throttled):
            assert told.value.retry_after == 7
        assert told.value.__cause__ is None
        assert KEY not in str(told.value)


def test_a_stream_that_just_ends_is_no_answer(openai_endpoint: OpenAIEndpoint) -> None:
    model = guard(openai_model(openai_endpoint))
    openai_endpoint.script(cut_stream(1))
    with pytest.raises(Truncated, match="the stream ended before the answer did"):
        list(model.stream("hello"))


def test_time_limits_of_requests_and_streams(openai_endpoint: OpenAIEndpoint) -> None:
    set_guard(MemoryGuard(Limits(first_token_s=2, token_gap_s=1)))
    hurried, patient = (guard(openai_model(openai_endpoint), timeout=limit) for limit in (0.5, 30))
    openai_endpoint.responder = lambda _body: "All is well, and it stays so."
    openai_endpoint.script(hang(5), hang(5), hang(5), drip(1.5), drip(0.05))
    with pytest.raises(CallTimeout, match="no answer"):
        hurried.invoke("hello")
    with pytest.raises(CallTimeout, match="no answer"):
        asyncio.run(hurried.ainvoke("hello"))
    with pytest.raises(CallTimeout, match=r"no token within 2 s"):
        list(patient.stream("hello"))
    with pytest.raises(CallTimeout, match=r"the stream stood still for 1 s"):
        list(patient.stream("hello"))
    assert "".join(chunk.text for chunk in patient.stream("hello")) == "All is well, and it stays so."


def test_a_stream_that_nobody_reads_to_its_end_is_settled(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = lambda _body: "word " * 60
    model = guard(openai_model(openai_endpoint))
    with spending_cap(1_000_000) as budget:
        for _ in model.stream("hello"):
            break

        async def leave() -> None:
            async for _ in model.astream("hello"):
                break

        asyncio.run(leave())
        gc.collect()
        assert spent() == 0
        # It may have been billed in full, so it is charged at its worst case.
        assert budget.spent_microusd >= 2 * 2_048 * 1.6


def test_prices_and_caps(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with spending_cap(1_000_000) as budget:
        answer = guard(openai_model(openai_endpoint)).invoke("hello")
        usage = answer.usage_metadata
        assert usage is not None
        assert budget.spent_microusd == -(-(usage["input_tokens"] * 4 + usage["output_tokens"] * 16) // 10)
        list(guard(openai_model(openai_endpoint, stream_usage=False)).stream("hello"))
        assert budget.spent_microusd > 3_000, "usage that is not told is the worst case"
    with pytest.raises(OverBudget, match=r"may cost \$0.00\d+, and one may cost \$0.0001"):
        guard(openai_model(openai_endpoint), max_cost=0.0001).invoke("hello")
    monkeypatch.setenv("SUREFOOT_PRICES", "{}")
    with pytest.raises(ConfigurationError, match=f"model '{MODEL}' has no known price"):
        guard(openai_model(openai_endpoint)).invoke("hello")
    assert openai_endpoint.calls == 2
    with spending_cap(0):
        assert guard(openai_model(openai_endpoint), price="free").invoke("hello").text


def test_inside_an_attempt_it_counts_as_part_of_it(openai_endpoint: OpenAIEndpoint) -> None:
    call = Call(step="agent", thread="t-1", tenant="acme", n=2, max_cost_microusd=4_000, timeout_s=5.0)
    model = guard(openai_model(openai_endpoint, max_tokens=1_000))
    with using_call(call):
        asyncio.run(model.ainvoke("hello"))
        assert (call.usage.calls, call.usage.model) == (1, MODEL)
        assert call.usage.cost_microusd > 0
        with pytest.raises(OverBudget, match="its step has"):
            guard(openai_model(openai_endpoint, max_tokens=3_000)).invoke("hello")
    assert openai_endpoint.calls == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_was_paid_for_comes_again_after_a_crash(streamed: bool, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = lambda _body: calls_tool("double", number=4)
    model = guard(openai_model(openai_endpoint))
    bound = model.bind_tools([double])

    async def attempt() -> tuple[BaseMessage, Answer, Call]:
        call = Call(step="agent", thread="t-crash", remember=True)
        with using_call(call):
            if streamed:
                chunks = [chunk async for chunk in bound.astream("double 4")]
                answer: BaseMessage = sum(chunks[1:], chunks[0])
            else:
                answer = await bound.ainvoke("double 4")
            openai_endpoint.responder = lambda _body: json.dumps({"number": 8})
            parsed = await model.with_structured_output(Answer).ainvoke("as a number")
            assert isinstance(parsed, Answer)
        return answer, parsed, call

    first, number, before = asyncio.run(attempt())
    again, same, after = asyncio.run(attempt())
    assert openai_endpoint.calls == 2
    assert isinstance(first, AIMessage)
    assert isinstance(again, AIMessage)
    assert [c["args"] for c in again.tool_calls] == [c["args"] for c in first.tool_calls] == [{"number": 4}]
    assert number == same == Answer(number=8)
    assert (after.usage.calls, after.usage.replayed, after.usage.cost_microusd) == (0, 2, before.usage.cost_microusd)


@pytest.mark.parametrize(("reason", "whole"), [("stop", True), (None, False), ("vanished", False), ("length", False)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_kept_answer_is_judged_as_it_was_when_it_came(
    openai_endpoint: OpenAIEndpoint, reason: str | None, whole: bool, streamed: bool
) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    end = chunk({}, usage=usage) | {"choices": []}
    pieces = stream_of(chunk({"content": "Buy"}), chunk({"content": " milk"}), chunk({}, reason), end, "[DONE]")
    openai_endpoint.always(pieces if streamed else completion("Buy milk", reason))
    model = guard(openai_model(openai_endpoint))

    async def attempt() -> str:
        with using_call(Call(step="agent", thread=f"t-{reason}-{streamed}", remember=True)):
            if streamed:
                return "".join([one.text async for one in model.astream("what?")])
            return (await model.ainvoke("what?")).text

    told = []
    for _ in range(2):
        try:
            told.append(asyncio.run(attempt()))
        except Truncated as error:
            told.append(str(error))
    assert told[0] == told[1]
    assert (told[0] == "Buy milk") == whole
    assert openai_endpoint.calls == 1


class Failing(BaseChatModel):
    """A model of another provider, with nothing but `_generate`."""

    asked: int = 0
    max_retries: int | None = 5

    @property
    def _llm_type(self) -> str:
        return "failing"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.asked += 1
        if messages[-1].text == "boom":
            raise RuntimeError("the prompt was: boom, my key is sk-very-secret-0123456789")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])


class Streaming(Failing):
    """The same with a blocking stream."""

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for text in ("fi", "ne"):
            yield ChatGenerationChunk(message=AIMessageChunk(text))


def test_models_of_other_providers() -> None:
    set_guard(MemoryGuard())
    model = guard(Failing(), price="free")
    assert model.max_retries == 0
    assert model.invoke("hello").text == asyncio.run(model.ainvoke("hello")).text == "fine"
    assert model.asked == 2, "once each: a model falls back on its other methods inside one request"
    assert [chunk.text for chunk in model.stream("hello")] == ["fine"]
    with pytest.raises(Permanent, match=r"the client failed \(RuntimeError\)") as told:
        model.invoke("boom")
    assert "secret" not in repr(told.value)
    streaming = guard(Streaming(), price="free")
    assert [chunk.text for chunk in streaming.stream("hello")][:2] == ["fi", "ne"]

    async def collect() -> list[str]:
        return [chunk.text async for chunk in streaming.astream("hello")]

    assert asyncio.run(collect())[:2] == ["fi", "ne"]
    faked = guard(GenericFakeChatModel(messages=iter([AIMessage("from a fake")])), price="free")
    assert faked.invoke([HumanMessage("hello")]).text == "from a fake"
    assert spent() == 0


def test_what_is_no_chat_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="guard the model first, then bind tools"):
        guard(Failing().bind(stop=["x"]))  # type: ignore[type-var] # what a user may try
    for wrong in ({"timeout": 0}, {"max_tokens": 0}, {"max_cost": -1}):
        with pytest.raises(ValueError, match="guard: "):
            guard(Failing(), **wrong)
