"""One piece of ours in a graph of somebody else: any state, plain functions, tools, several turns."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph, add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel, SecretStr

from nodes import (
    Check,
    Policy,
    Task,
    add_gate,
    add_retry,
    add_review,
    add_step,
    begin_turn,
    compile_graph,
    fixed,
    guard,
)
from nodes.call import Call
from nodes.errors import ConfigurationError, StepFailed, Transient
from state import RunContext, RunFields
from surefoot.testing import KEY, MODEL, OpenAIEndpoint, calls_tool, status

QUICK = Policy(retries=1, backoff=fixed(0), timeout=5)
CONFIG: Any = {"configurable": {"thread_id": "t"}}


@tool
def order_status(order: int) -> str:
    """Look up an order."""
    return f"order {order} is on its way"


def looks_up_once(body: dict[str, Any]) -> Any:
    """Ask for the tool after each message of the user, and answer from what it said."""
    last = body["messages"][-1]
    return calls_tool("order_status", order=7) if last["role"] == "user" else f"Good news: {last['content']}."


def agent_builder(endpoint: OpenAIEndpoint, state: Any = MessagesState, policy: Policy = QUICK) -> Any:
    endpoint.responder = looks_up_once
    plain = ChatOpenAI(model=MODEL, base_url=endpoint.url, api_key=SecretStr(KEY), stream_usage=True)
    model = guard(plain).bind_tools([order_status])

    async def agent(state: MessagesState, _call: Call) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(state)
    step = add_step(builder, agent, policy, then=(tools_condition, ["tools", END]))
    builder.add_node("tools", ToolNode([order_status]))
    builder.add_edge(START, "agent")
    builder.add_edge("tools", "agent")
    add_retry(builder, [step])
    return builder


def attempts(graph: Any) -> list[tuple[str, int, int, str]]:
    values = graph.get_state(CONFIG).values
    return [(a["step"], a["visit"], a["n"], a["outcome"]) for a in values["attempts"]]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_agent_with_tools_counts_attempts_by_visit(openai_endpoint: OpenAIEndpoint, asynchronous: bool) -> None:
    graph = agent_builder(openai_endpoint).compile(checkpointer=InMemorySaver())

    def ask(text: str) -> Any:
        question = {"messages": [("user", text)]}
        return asyncio.run(graph.ainvoke(question, CONFIG)) if asynchronous else graph.invoke(question, CONFIG)

    openai_endpoint.script(status(500), None, status(500))
    first = ask("Where is order 7?")
    assert [m.type for m in first["messages"]] == ["human", "ai", "tool", "ai"]
    assert first["messages"][-1].text == "Good news: order 7 is on its way."
    assert set(first) == {"messages"}, "the state stays what it was"
    assert attempts(graph) == [
        ("agent", 0, 1, "transient"),
        ("agent", 0, 2, "ok"),
        ("agent", 1, 1, "transient"),
        ("agent", 1, 2, "ok"),
    ]
    second = ask("And order 8?")
    assert len(second["messages"]) == 8
    assert attempts(graph)[4:] == [("agent", 2, 1, "ok"), ("agent", 3, 1, "ok")]
    values = graph.get_state(CONFIG).values
    assert values["spend"]["agent"]["calls"] == 6
    assert values["spend"]["agent"]["cost_microusd"] > 0
    assert {a["model"] for a in values["attempts"]} == {MODEL}
    assert openai_endpoint.calls == 6


class Told(MessagesState, RunFields):
    """Somebody's state that also returns the fields of a run."""


def test_what_is_missing_is_never_silent(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(status(503))
    builder = agent_builder(openai_endpoint)
    question = {"messages": [("user", "Where is order 7?")]}
    with pytest.raises(StepFailed, match=r"agent failed \(2 x transient\).*answered 503.*on_give_up"):
        builder.compile().invoke(question)

    graph = builder.compile(checkpointer=InMemorySaver())
    stopped = graph.invoke(question, CONFIG)
    (asked,) = stopped["__interrupt__"]
    assert asked.value["action_request"] == {"action": "retry", "args": {"step": "agent"}}
    assert "2 x transient" in asked.value["description"]
    assert graph.get_state(CONFIG).next == ("retry",)
    refused = graph.invoke(Command(resume={asked.id: {"type": "reject"}}), CONFIG)
    (asked,) = refused["__interrupt__"]
    assert "cannot be answered with 'reject'" in asked.value["description"]
    openai_endpoint.reset()
    openai_endpoint.responder = looks_up_once
    ended = graph.invoke(Command(resume={asked.id: {"type": "accept"}}), CONFIG)
    assert ended["messages"][-1].text.startswith("Good news")
    assert attempts(graph)[2] == ("agent", 1, 1, "ok")
    decisions = graph.get_state(CONFIG).values["retry_decisions"]
    assert [d["action"] for d in decisions] == ["again", "again"]
    assert "a person let it go on" in decisions[1]["reason"]


def test_a_state_that_returns_degraded_may_go_on_without_a_step() -> None:
    def breaks(_state: Told, _call: Call) -> dict[str, Any]:
        raise Transient("the mill is closed")

    builder = StateGraph(Told)
    add_retry(builder, [add_step(builder, breaks, QUICK, then=END, name="grind")])
    builder.add_edge(START, "grind")
    ended = builder.compile().invoke({"messages": []})
    assert ended["degraded"] is True
    assert "grind failed (2 x transient), last: the mill is closed" in ended["reasons"][0]


class Plain(TypedDict):
    text: str
    words: Annotated[list[str], operator.add]


@dataclass
class Classy:
    text: str = ""
    words: Annotated[list[str], operator.add] = field(default_factory=list)


class Model(BaseModel):
    text: str = ""
    words: Annotated[list[str], operator.add] = []


@pytest.mark.parametrize("schema", [Plain, Classy, Model])
def test_functions_get_the_state_as_its_owner_declared_it(schema: Any) -> None:
    seen: list[Any] = []

    def see(state: Any) -> Any:
        seen.append(type(state))
        return state["text"] if isinstance(state, dict) else state.text

    async def split(state: Any, _call: Call) -> dict[str, Any]:
        text = see(state)
        if len(seen) < 4:
            raise Transient("not yet")
        return {"words": text.split()}

    builder = StateGraph(schema)
    policy = Policy(retries=lambda s: len(see(s)), backoff=fixed(0))
    step = add_step(builder, split, policy, then=(lambda s: END if see(s) else "split", ["split", END]))
    add_retry(builder, [step])
    builder.add_edge(START, "split")
    graph = builder.compile(checkpointer=InMemorySaver())
    assert graph.invoke({"text": "two words"}, CONFIG)["words"] == ["two", "words"]
    assert set(seen) == {dict if schema is Plain else schema}
    assert [n for _, _, n, _ in attempts(graph)] == [1, 2]


def test_a_task_works_on_a_typed_dict_and_a_turn_begins_with_its_results_gone() -> None:
    class Text(BaseModel):
        text: str

    class Size(BaseModel):
        size: int

    class Sized(TypedDict, total=False):
        text: str
        size: int

    def measure(given: Text, _call: Call) -> Size:
        if not given.text:
            raise Transient("nothing to measure")
        return Size(size=len(given.text))

    task = Task(name="measure", input=Text, output=Size, providers={"rule": measure})
    builder = StateGraph(Sized)
    builder.add_node("begin", lambda state: begin_turn(state, {"measure": task}))
    step = add_step(builder, task, Policy(retries=0), then=END, on_give_up=END)
    add_retry(builder, [step])
    builder.add_edge(START, "begin")
    builder.add_edge("begin", "measure")
    graph = builder.compile(checkpointer=InMemorySaver())
    assert graph.invoke({"text": "four"}, CONFIG)["size"] == 4
    # The fields of a run belong to our nodes: one that reads them says so with `RunFields`.
    assert graph.get_state(CONFIG).values["provenance"]["size"]["provider"] == "rule"
    with pytest.raises(ValueError, match=r"task 'measure' writes \['size'\], which Plain does not have"):
        add_step(StateGraph(Plain), task, QUICK, then=END)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("a text", "has to return a dict of fields, got str"),
        ({"words": ["a"], "colour": "red"}, "writes 'colour', which the state does not have"),
        ({"spend": {}}, "writes 'spend', which is written for it"),
    ],
)
def test_a_function_that_returns_nonsense_is_a_failed_attempt(returned: Any, told: str) -> None:
    async def work(_state: Plain, _call: Call) -> Any:
        return returned

    builder = StateGraph(Plain)
    add_retry(builder, [add_step(builder, work, QUICK, then=END, on_give_up=END)])
    builder.add_edge(START, "work")
    graph = builder.compile(checkpointer=InMemorySaver())
    graph.invoke({"text": "x", "words": []}, CONFIG)
    (attempt,) = graph.get_state(CONFIG).values["attempts"]
    assert attempt["outcome"] == "permanent"
    assert told in attempt["error"]


def test_an_input_after_an_unfinished_one_inherits_no_failure() -> None:
    seen: list[tuple[int, int]] = []

    async def work(state: Plain, call: Call) -> dict[str, Any]:
        seen.append((call.visit, call.n))
        if state["text"] == "bad":
            raise Transient("not this one")
        return {"words": [state["text"]]}

    builder = StateGraph(Plain)
    add_retry(builder, [add_step(builder, work, Policy(retries=3, backoff=fixed(0)), then=END, on_give_up=END)])
    builder.add_edge(START, "work")
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["retry"])
    graph.invoke({"text": "bad", "words": []}, CONFIG)
    assert graph.get_state(CONFIG).next == ("retry",)
    ended = graph.invoke({"text": "good"}, CONFIG)
    assert ended["words"] == ["good"]
    assert seen == [(0, 1), (1, 1)]
    assert graph.get_state(CONFIG).values["failures"] == {}


def test_a_step_that_is_sent_to_says_what_to_do_instead() -> None:
    builder = StateGraph(Plain)
    add_retry(builder, [add_step(builder, lambda _s, _c: {}, QUICK, then=END, name="work")])
    builder.add_conditional_edges(START, lambda _s: [Send("work", {"text": t}) for t in "ab"], ["work"])
    with pytest.raises(ConfigurationError, match=r"step 'work' was reached by Send.*use add_group"):
        builder.compile().invoke({"text": "x", "words": []})


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_interrupt_inside_a_step_is_a_question_and_no_failure(asynchronous: bool) -> None:
    async def on_loop(_state: Plain, _call: Call) -> dict[str, Any]:
        return {"words": [interrupt("which word?")]}

    def in_thread(_state: Plain, _call: Call) -> dict[str, Any]:
        return {"words": [interrupt("which word?")]}

    builder = StateGraph(Plain)
    step = add_step(builder, on_loop if asynchronous else in_thread, QUICK, then=END, name="ask")
    add_retry(builder, [step])
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    (asked,) = graph.invoke({"text": "", "words": []}, CONFIG)["__interrupt__"]
    assert asked.value == "which word?"
    assert graph.invoke(Command(resume="this"), CONFIG)["words"] == ["this"]
    assert attempts(graph) == [("ask", 0, 1, "ok")]


def test_a_field_that_every_run_has_cannot_be_something_else() -> None:
    class Clash(TypedDict):
        reasons: list[str]

    with pytest.raises(ValueError, match="'Clash' has a field 'reasons' of its own"):
        add_step(StateGraph(Clash), lambda _s, _c: {}, QUICK, then=END, name="x")
    with pytest.raises(TypeError, match="add_review needs a state that extends RunState, which Plain does not"):
        add_review(StateGraph(Plain), ask=Any, answer=Any, tasks={}, then=END)


def gated_builder(endpoint: OpenAIEndpoint, answers: list[str], regenerations: int = 2) -> Any:
    endpoint.responder = lambda _body: answers.pop(0)
    model = guard(ChatOpenAI(model=MODEL, base_url=endpoint.url, api_key=SecretStr(KEY), stream_usage=True))

    async def answer(state: MessagesState, call: Call) -> dict[str, Any]:
        hint = [("system", call.feedback)] if call.feedback else []
        parts = [chunk async for chunk in model.astream([*state["messages"], *hint])]
        return {"messages": [sum(parts[1:], parts[0])]}

    builder = StateGraph(Told)
    step = add_step(builder, answer, QUICK, then="gate", on_give_up=END)
    polite = Check(name="polite", run=lambda text, _source: None if "please" in text else "say please")
    add_gate(
        builder, step, field="messages", source=lambda _s: "", checks=[polite], then=END, regenerations=regenerations
    )
    add_retry(builder, [step])
    builder.add_edge(START, "answer")
    return builder


def test_a_gate_removes_a_message_and_takes_its_tokens_back(openai_endpoint: OpenAIEndpoint) -> None:
    builder = gated_builder(openai_endpoint, ["Wait for a while.", "Wait, please, for a while."])
    graph = builder.compile(checkpointer=InMemorySaver())
    shown: list[dict[str, Any]] = []
    for part in graph.stream({"messages": [("user", "hello")]}, CONFIG, stream_mode="custom"):
        shown.append(part)
    ended = graph.get_state(CONFIG).values
    assert [m.text for m in ended["messages"]] == ["hello", "Wait, please, for a while."]
    kinds = [part["type"].removeprefix("surefoot.") for part in shown]
    assert kinds == ["token", "token", "retracted", "token", "token", "token", "confirmed"]
    assert all(part["provisional"] for part in shown if part["type"] == "surefoot.token")
    assert {(part["visit"], part["attempt"]) for part in shown[:3]} == {(0, 1)}
    assert {(part["visit"], part["attempt"]) for part in shown[3:]} == {(1, 1)}
    assert "polite: say please" in shown[2]["reason"]
    assert "".join(p["text"] for p in shown[3:6]) == "Wait, please, for a while."


def test_an_exhausted_gate_leaves_no_message_and_says_so(openai_endpoint: OpenAIEndpoint) -> None:
    ended = gated_builder(openai_endpoint, ["no", "no", "no"], 1).compile().invoke({"messages": [("user", "hello")]})
    assert [m.text for m in ended["messages"]] == ["hello"]
    assert ended["degraded"] is True
    assert any("say please" in reason or "gate" in reason for reason in ended["reasons"])


def test_they_compile_with_ours_too(openai_endpoint: OpenAIEndpoint) -> None:
    graph = compile_graph(agent_builder(openai_endpoint), name="agent", version="1")
    ended = graph.invoke({"messages": [("user", "Where is order 7?")]}, context=RunContext())
    assert isinstance(ended["messages"][-2], ToolMessage)


def test_a_model_state_of_messages_works(openai_endpoint: OpenAIEndpoint) -> None:
    class Chat(BaseModel):
        messages: Annotated[list[AnyMessage], add_messages] = []

    openai_endpoint.responder = lambda _body: "All is well."
    model = guard(ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY)))

    def reply(state: Chat, _call: Call) -> dict[str, Any]:
        return {"messages": [model.invoke(state.messages)]}

    builder = StateGraph(Chat)
    add_retry(builder, [add_step(builder, reply, QUICK, then=END)])
    builder.add_edge(START, "reply")
    openai_endpoint.script(status(500))
    assert builder.compile().invoke({"messages": [("user", "hello")]})["messages"][-1].text == "All is well."
