"""What a stream tells again with every chunk is counted once: usage, texts and log-probabilities."""
# ruff: noqa: E501 - streams as they come

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import SecretStr

from nodes import guard
from nodes.call import Call, spending_cap
from nodes.call.cumulative import TextDeltas, UsageMeter
from surefoot.testing import KEY, MODEL, Fault, OpenAIEndpoint, chunk, completion, stream_of


def usage(tokens_in: int | None, tokens_out: int | None, **more: Any) -> dict[str, Any]:
    total = (tokens_in or 0) + (tokens_out or 0)
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": total} | more


def cached(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": tokens}, "completion_tokens_details": {"reasoning_tokens": 2}}


def last(tokens: dict[str, Any]) -> dict[str, Any]:
    return chunk({}, usage=tokens) | {"choices": []}


def words(*usages: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [chunk({"content": "abcdefgh"[n]}, usage=told) for n, told in enumerate(usages)]


STREAMS: dict[str, tuple[list[Any], tuple[int, int, int]]] = {
    "once, at the end": ([*words(None, None), chunk({}, "stop"), last(usage(1000, 4))], (1000, 4, 0)),
    "so far, in every chunk": ([*words(*(usage(1000, n) for n in (1, 2, 3))), chunk({}, "stop", usage(1000, 4))], (1000, 4, 0)),
    "in the last two": ([*words(None), chunk({}, "stop", usage(1000, 4)), last(usage(1000, 4))], (1000, 4, 0)),
    "going down": ([*words(usage(1000, 5)), chunk({}, "stop", usage(1000, 3))], (1000, 5, 0)),
    "zeros at the end": ([*words(usage(1000, 5)), chunk({}, "stop"), last(usage(0, 0))], (1000, 5, 0)),
    "nothing at the end": ([*words(usage(1000, 5)), chunk({}, "stop"), last(usage(None, None))], (1000, 5, 0)),
    "input first, output last": ([chunk({"content": "a"}, usage=usage(1000, 1)), chunk({}, "stop", usage(0, 40))], (1000, 40, 0)),
    "of each chunk alone": ([*words(*[usage(35, 1)] * 8), chunk({}, "stop")], (35, 8, 0)),
    "with cached tokens": ([*words(usage(1000, 1, **cached(800))), chunk({}, "stop", usage(1000, 4, **cached(800)))], (1000, 4, 800)),
    "without its reasoning": ([*words(None), chunk({}, "stop"), last(usage(32, 9) | {"total_tokens": 135})], (32, 103, 0)),
}  # fmt: skip


def cost_of(tokens: tuple[int, int, int]) -> int:
    """In tenths of micro-dollars: 0.4 in, 1.6 out, 0.1 for what was cached."""
    tokens_in, tokens_out, from_cache = tokens
    return -(-((tokens_in - from_cache) * 4 + from_cache + tokens_out * 16) // 10)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("how", ["stream", "astream", "ainvoke"])
def test_usage_is_charged_once(openai_endpoint: OpenAIEndpoint, name: str, how: str) -> None:
    events, tokens = STREAMS[name]
    openai_endpoint.always(stream_of(*events, "[DONE]"))
    options: dict[str, Any] = {"streaming": True} if how == "ainvoke" else {}
    model = guard(
        ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY), stream_usage=True, **options)
    )

    async def collect() -> list[Any]:
        return [one async for one in model.astream("hi")]

    with spending_cap(1_000_000) as budget:
        if how == "ainvoke":
            whole: Any = asyncio.run(model.ainvoke("hi"))
        else:
            chunks: list[Any] = list(model.stream("hi")) if how == "stream" else asyncio.run(collect())
            whole = sum(chunks[1:], chunks[0])
        assert budget.spent_microusd == cost_of(tokens)
    assert whole.usage_metadata["input_tokens"] == tokens[0]
    assert whole.usage_metadata["total_tokens"] == tokens[0] + tokens[1]
    assert whole.usage_metadata.get("input_token_details", {}).get("cache_read", 0) == tokens[2]


@pytest.mark.parametrize("name", STREAMS)
def test_usage_of_a_watched_call_is_charged_once(openai_endpoint: OpenAIEndpoint, name: str) -> None:
    events, tokens = STREAMS[name]
    openai_endpoint.always(stream_of(*events, "[DONE]"))
    call = watched(openai_endpoint)[0]
    assert (call.usage.tokens_in, call.usage.tokens_out, call.usage.unmetered) == (*tokens[:2], False)
    assert call.usage.cost_microusd == cost_of(tokens)


def watched(endpoint: OpenAIEndpoint, **options: Any) -> tuple[Call, Any, list[str]]:
    """Make one call in a graph whose tokens are watched; return it, its reply, and what was shown."""
    call = Call(step="t", timeout_s=10.0)
    replies: list[Any] = []

    async def ask(_state: dict[str, Any]) -> dict[str, Any]:
        replies.append(await call.model("hi", stream=True, **options))
        return {}

    builder = StateGraph(dict)  # type: ignore[type-var] # a plain dict is a state, too
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)

    async def run() -> list[str]:
        graph = builder.compile()
        return [
            part["text"] async for part in graph.astream({}, stream_mode="custom") if part["type"].endswith("token")
        ]

    shown = contextvars.copy_context().run(asyncio.run, run())
    assert endpoint.requests[-1].body["stream"] is True
    return call, replies[0], shown


@pytest.mark.parametrize("tokens", [None, usage(5, None), usage(None, 5), usage(0, 0), usage(1000, 0), usage(0, 7)])
def test_half_a_usage_is_none(openai_endpoint: OpenAIEndpoint, tokens: dict[str, Any] | None) -> None:
    openai_endpoint.always(completion("All is well.", usage=tokens))
    call = Call(step="t", timeout_s=10.0)
    asyncio.run(call.model("hi"))
    assert call.usage.unmetered
    assert call.usage.cost_microusd > 500
    model = guard(ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY)))
    with spending_cap(1_000_000) as budget:
        model.invoke("hi")
        assert budget.spent_microusd > 3_000


def test_reasoning_that_is_only_in_the_total_is_billed(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(completion("All is well.", usage=usage(32, 9) | {"total_tokens": 135}))
    call = Call(step="t", timeout_s=10.0)
    asyncio.run(call.model("hi"))
    assert (call.usage.tokens_in, call.usage.tokens_out) == (32, 103)


# integrations of others, whose chunks are meant to be added up


class Parts(BaseChatModel):
    """A model of another maker that streams these usages."""

    usages: list[tuple[int, int]]

    @property
    def _llm_type(self) -> str:
        return "parts"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for tokens_in, tokens_out in self.usages:
            told = UsageMetadata(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=tokens_in + tokens_out)
            yield ChatGenerationChunk(message=AIMessageChunk(content="word ", usage_metadata=told))


@pytest.mark.parametrize(
    ("usages", "tokens"),
    [
        # LangChain's integrations tell parts, as Anthropic's does: input with the first chunk, output with others.
        ([(1000, 0), (0, 3), (0, 4)], (1000, 7)),
        ([(0, 3), (0, 4), (1000, 0)], (1000, 7)),
        # Some tell all so far with every chunk.
        ([(1000, 1), (1000, 2), (1000, 3)], (1000, 3)),
    ],
)
def test_parts_are_added_up_and_totals_are_not(usages: list[tuple[int, int]], tokens: tuple[int, int]) -> None:
    chunks: list[Any] = list(guard(Parts(usages=usages), price="free").stream("hi"))
    whole = sum(chunks[1:], chunks[0])
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == tokens


counts = st.integers(0, 10_000)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=12))
def test_totals_give_the_highest_and_parts_add_up_to_it(reports: list[tuple[int, int]]) -> None:
    meter = UsageMeter(totals=True)
    given = [meter.add({"input": i, "output": o, "total": i + o}, spoke=False) for i, o in reports]
    for name, place in (("input", 0), ("output", 1)):
        assert sum(part.get(name, 0) for part in given) == meter.whole()[name] == max(r[place] for r in reports)


# texts


def pieces_of(*texts: str) -> Fault:
    return stream_of(*(chunk({"content": text}) for text in texts), chunk({}, "stop"), "[DONE]")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("All", " is", " well."), "All is well."),
        # The whole text so far with every chunk.
        (("All", "All is", "All is well."), "All is well."),
        (("All", "All is", "All is", "All is well."), "All is well."),
        (("A long beginning", "A long beginning and its end."), "A long beginning and its end."),
        # The whole message once more at the end.
        (("All is", " well, and", " it stays so.", "All is well, and it stays so."), "All is well, and it stays so."),
        # What only looks like it.
        (("ha", "haha", " it is"), "hahaha it is"),
        (("no", "no", "no"), "nonono"),
        (("1", "10", "0"), "1100"),
        (("a", "ab"), "aab"),
    ],
)
def test_a_text_that_is_sent_again_is_taken_once(
    openai_endpoint: OpenAIEndpoint, pieces: tuple[str, ...], text: str
) -> None:
    openai_endpoint.always(pieces_of(*pieces))
    model = guard(ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY)), price="free")
    assert "".join(one.text for one in model.stream("hi")) == text
    _, reply, shown = watched(openai_endpoint)
    assert reply.value == text.strip()
    assert "".join(shown).strip() == text.strip()


@given(st.lists(st.text(min_size=1, max_size=6), min_size=3, max_size=8))
def test_whole_texts_give_the_last_one(parts: list[str]) -> None:
    if not parts[0].strip():
        return
    deltas, so_far, shown = TextDeltas(), "", ""
    for part in parts:
        so_far += part
        shown += deltas.add(so_far)
    assert shown + deltas.rest() == so_far


@given(st.lists(st.text(alphabet="abcdefghij ", min_size=1, max_size=6), max_size=8))
def test_no_piece_is_lost(parts: list[str]) -> None:
    whole = "".join(parts)
    if any(len(b) > len(a) and b.startswith(a) for a, b in pairwise(parts)) or whole[:6] in whole[6:]:
        return
    deltas = TextDeltas()
    assert "".join(deltas.add(part) for part in parts) + deltas.rest() == whole


def test_log_probabilities_that_are_sent_again_are_taken_once(openai_endpoint: OpenAIEndpoint) -> None:
    tokens = [{"token": token, "logprob": -0.1, "bytes": None} for token in ("All", " is", " well", ".")]

    def told(upto: int, text: str) -> dict[str, Any]:
        event = chunk({"content": text})
        event["choices"][0]["logprobs"] = {"content": tokens[:upto], "refusal": None}
        return event

    openai_endpoint.always(
        stream_of(told(2, "All is"), told(3, "All is well"), told(4, "All is well."), chunk({}, "stop"), "[DONE]")
    )
    _, reply, _ = watched(openai_endpoint, logprobs=True)
    assert [item.token for item in reply.logprobs] == ["All", " is", " well", "."]


def test_a_finish_reason_that_comes_twice_is_one(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(
        stream_of(chunk({"content": "All is well."}), chunk({}, "stop"), chunk({}, "stop"), "[DONE]")
    )
    model = guard(ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY)), price="free")
    chunks: list[Any] = list(model.stream("hi"))
    whole = sum(chunks[1:], chunks[0])
    assert whole.response_metadata["finish_reason"] == "stop"
    assert whole.response_metadata["model_name"] == "scripted"
