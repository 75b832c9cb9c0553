"""Answers that are watched as they come in: provisional, confirmed when they count, taken back when they do not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from graphs.support import graph as support
from nodes import Policy, Task, add_retry, add_step, fixed
from nodes.call import Call, Limits, MemoryGuard, set_guard, tokens
from state import RunContext, RunState
from surefoot.testing import (
    DRAFT,
    OpenAIEndpoint,
    cut_stream,
    drip,
    fenced,
    says,
    schema_in,
    status,
    support_responder,
    truncated,
)

TICKET = {"text": "I was charged twice for March, please refund the second invoice."}
CONTEXT = RunContext(provider="openai", thresholds={"category_confidence": 0.0})


def watch(graph: Any, given: Any, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run a graph, and return what was shown and how it ended."""
    shown, ended = [], {}
    for mode, part in graph.stream(given, stream_mode=["custom", "values"], **options):
        if mode == "custom":
            shown.append(part)
        else:
            ended = part
    return shown, ended


def left(shown: list[dict[str, Any]]) -> str:
    """Return what is on the screen of somebody who follows the rules."""
    text: dict[Any, str] = {}
    for part in shown:
        key = (part["step"], part["visit"], part["attempt"])
        if part["type"] == tokens.TOKEN:
            text[key] = text.get(key, "") + part["text"]
        elif part["type"] == tokens.RETRACTED:
            text.pop(key, None)
    return "".join(text.values())


def kinds(shown: list[dict[str, Any]]) -> list[str]:
    """Return the kinds, tokens in a row counted once."""
    found = [part["type"].removeprefix("surefoot.") for part in shown]
    return [kind for i, kind in enumerate(found) if i == 0 or kind != "token" or found[i - 1] != "token"]


def test_a_draft_is_shown_as_it_comes_in_and_confirmed_by_its_gate(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    shown, ended = watch(support, TICKET, context=CONTEXT)
    assert kinds(shown) == ["token", "confirmed"]
    assert len(shown) > 5
    assert left(shown) == ended["draft"] == DRAFT
    assert {part["step"] for part in shown} == {"draft"}
    bodies = [request.body for request in openai_endpoint.requests]
    assert [bool(body.get("stream")) for body in bodies] == [False, False, True]
    assert ended["spend"]["draft"]["cost_microusd"] > 0
    assert all(attempt["outcome"] == "ok" for attempt in ended["attempts"])


def test_nothing_is_streamed_when_nobody_watches(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    asyncio.run(support.ainvoke(TICKET, context=CONTEXT))
    assert not any(request.body.get("stream") for request in openai_endpoint.requests)


@pytest.mark.parametrize(
    ("fault", "outcome"), [(cut_stream(4), "truncated"), (truncated(), "truncated"), (drip(0.5), "timeout")]
)
def test_what_a_failed_attempt_showed_is_taken_back(fault: Any, outcome: str, openai_endpoint: OpenAIEndpoint) -> None:
    set_guard(MemoryGuard(Limits(token_gap_s=0.3, first_token_s=2)))
    openai_endpoint.responder = lambda _body: DRAFT
    openai_endpoint.script(fault)
    shown, ended = watch(short_waits(), {"question": "What now?"})
    assert kinds(shown) == ["token", "retracted", "token", "confirmed"]
    assert left(shown) == ended["reply"]
    assert [a["outcome"] for a in ended["attempts"]] == [outcome, "ok"]
    assert shown[-1]["attempt"] == 2


class Question(BaseModel):
    question: str


class Reply(BaseModel):
    reply: str


class Dialogue(RunState):
    question: str = ""
    reply: str = ""


def short_waits(*, schema: bool = False) -> Any:
    """A step that streams, with no gate after it."""

    async def speak(asked: Question, call: Call) -> Reply:
        if schema:
            return (await call.model(asked.question, Reply, stream=True)).value
        return Reply(reply=(await call.model(asked.question, stream=True)).value)

    builder = StateGraph(Dialogue, context_schema=RunContext)
    task = Task(name="speak", input=Question, output=Reply, providers={"openai": speak})
    step = add_step(builder, task, Policy(retries=2, backoff=fixed(0), timeout=10), then=END)
    add_retry(builder, [step])
    builder.add_edge(START, "speak")
    return builder.compile()


def test_an_answer_that_is_asked_for_again_replaces_the_first(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(says('{"wrong": "field"}'), None)
    openai_endpoint.responder = lambda body: json.dumps({"reply": "this is"}) if schema_in(body) else "?"
    shown, ended = watch(short_waits(schema=True), {"question": "What now?"})
    assert kinds(shown) == ["token", "retracted", "token", "confirmed"]
    assert left(shown) == ended["reply"] == "this is"
    assert ended["attempts"][0]["reasked"] == 1


def test_an_answer_that_was_read_in_another_way_is_shown_whole(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = lambda _body: json.dumps({"reply": 'He said "now".'})
    openai_endpoint.script(fenced())
    shown, ended = watch(short_waits(schema=True), {"question": "What now?"})
    assert left(shown) == ended["reply"] == 'He said "now".'


def test_an_endpoint_that_tells_no_usage_of_streams_is_asked_in_one_piece(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.stream_options = False
    shown, ended = watch(short_waits(), {"question": "What now?"})
    assert left(shown) == ended["reply"] == "All is well."
    assert kinds(shown) == ["token", "confirmed"]
    watch(short_waits(), {"question": "And now?"})
    assert [bool(r.body.get("stream")) for r in openai_endpoint.requests] == [True, False, False], "it is learned once"


def test_a_refused_version_is_taken_back(openai_endpoint: OpenAIEndpoint) -> None:
    bad = json.dumps({"draft": "As an AI language model I cannot see your invoice 99 999, but I will refund it today."})
    openai_endpoint.responder = support_responder
    openai_endpoint.script(None, None, says(bad))
    shown, ended = watch(support, TICKET, context=CONTEXT)
    assert kinds(shown) == ["token", "retracted", "token", "confirmed"]
    assert (shown[-1]["visit"], left(shown)) == (1, ended["draft"])


def test_a_failed_request_before_any_token_shows_nothing(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(status(500))
    shown, _ = watch(short_waits(), {"question": "What now?"})
    assert kinds(shown) == ["token", "confirmed"]


@given(st.text(min_size=1, max_size=80), st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_any_pieces_of_an_object_show_its_first_field(text: str, sizes: list[int]) -> None:
    raw = json.dumps({"draft": text, "other": "not shown"}, ensure_ascii=len(sizes) % 2 == 0)
    shown = tokens.Shown("draft", 0, 1)
    shown.begin(field=True)
    position = 0
    for size in [*sizes, len(raw)]:
        shown.add(raw[position : position + size])
        position += size
        assert text.startswith(shown.text) or shown.text == "" or "\\" in raw
    shown.finish(text)
    assert shown.text == text
