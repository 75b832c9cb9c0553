"""Several turns on a thread, deadlines that leave people their time, and contexts of other graphs."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from toy import SIZE, Script, Text, ToyState, Word, ask, decision, finish, toy_graph, toy_task

from graphs.support import graph as support
from nodes import Policy, Task, add_retry, add_review, add_step, begin_turn, compile_graph, fixed
from nodes.errors import ConfigurationError, NeedsCheckpointer, Transient
from state import Checked, RunContext, RunState

SURE = RunContext(provider="embedded", thresholds={"category_confidence": 0.0})
UNSURE = RunContext(provider="embedded", thresholds={"category_confidence": 1.0})
BILLING = {"text": "Please correct invoice 20931: we were charged for 42 seats and have only 37 users."}
BUG = {"text": "The export button crashes with a stack trace every time I click it since the last release."}


class NarrowState(RunState):
    """A state that takes fewer words than its task may give."""

    text: Annotated[str, Checked] = ""
    word: Annotated[Literal["yes", "no"] | None, Checked] = None


def config(thread: str = "t") -> Any:
    return {"configurable": {"thread_id": thread}}


def attached(graph: Any) -> Any:
    return graph.copy(update={"checkpointer": InMemorySaver()})


def test_a_second_ticket_on_a_thread_is_worked_on_from_the_start() -> None:
    graph = attached(support)
    first = graph.invoke(BILLING, config(), context=SURE)
    second = graph.invoke(BUG, config(), context=SURE)
    assert (first["category"], second["category"]) == ("billing", "bug")
    assert second["draft"] != first["draft"]
    assert second["outcome"] == "routed"
    visits = [(a["step"], a["visit"], a["n"]) for a in second["attempts"]]
    assert visits[4:8] == [("classify", 1, 1), ("urgency", 1, 1), ("route", 1, 1), ("draft", 1, 1)]
    assert second["started_at"] > first["started_at"]


def test_a_decision_of_an_earlier_turn_decides_nothing_in_the_next() -> None:
    graph = attached(support)
    (item,) = graph.invoke(BILLING, config(), context=UNSURE)["__interrupt__"]
    rejected = graph.invoke(Command(resume={item.id: decision("reject")}), config(), context=UNSURE)
    assert rejected["outcome"] == "rejected"
    asked_again = graph.invoke(BUG, config(), context=UNSURE)
    (item,) = asked_again["__interrupt__"]
    assert asked_again["category"] == "bug"
    done = graph.invoke(Command(resume={item.id: decision("accept")}), config(), context=UNSURE)
    assert (done["outcome"], len(done["review"])) == ("routed", 2)


def test_a_degraded_turn_leaves_no_mark_on_the_next() -> None:
    graph = attached(support)
    graph.invoke(BILLING, config(), context=SURE)
    graph.update_state(config(), {"degraded": True, "reasons": ["old"]})
    assert graph.invoke(BUG, config(), context=SURE)["degraded"] is False
    assert graph.get_state(config()).values["reasons"] == []


def turning(script: Script) -> Any:
    builder = StateGraph(ToyState, context_schema=RunContext)
    word = toy_task(only=script)
    builder.add_node("begin", lambda state: begin_turn(state, {"word": word}))
    step = add_step(builder, word, Policy(retries=1, backoff=fixed(0), on_exhausted="give_up"), then="done")
    add_retry(builder, [step])
    builder.add_node("done", finish)
    builder.add_edge(START, "begin")
    builder.add_edge("begin", "word")
    builder.add_edge("done", END)
    return attached(compile_graph(builder, name="turning", version="1"))


def test_retries_are_counted_anew_in_each_turn() -> None:
    script = Script(Transient("500"), "ONE", Transient("500"), "TWO")
    graph = turning(script)
    graph.invoke({"text": "a"}, config())
    values = graph.invoke({"text": "b"}, config())
    assert values["word"] == "TWO"
    assert [(a["visit"], a["n"], a["outcome"]) for a in values["attempts"]] == [
        (0, 1, "transient"), (0, 2, "ok"), (1, 1, "transient"), (1, 2, "ok"),
    ]  # fmt: skip


# deadlines


def test_no_call_is_made_after_the_deadline() -> None:
    async def slow() -> str:
        await asyncio.sleep(2)
        return "LATE"

    script, second = Script(Transient("500"), slow), Script()
    policy = Policy(retries=5, backoff=fixed(0), timeout=10, fallback=("second",), on_exhausted="give_up")
    graph = toy_graph(policy, only=script, second=second)
    values = graph.invoke({"text": "hi"}, context=RunContext(deadline_s=1, provider="only"))
    assert len(script.calls) == 2
    assert script.calls[1].timeout_s <= 1
    assert second.calls == []
    assert values["attempts"][1]["outcome"] == "timeout"
    size = next(a for a in values["attempts"] if a["step"] == "size") if values.get("word") else None
    assert size is None
    assert "deadline" in values["reasons"][0]


def test_the_time_that_a_person_takes_does_not_count() -> None:
    script = Script(*[Transient("500")] * 1)
    graph = attached(toy_graph(Policy(retries=0), review=True, only=script))
    context = RunContext(deadline_s=1.5)
    (item,) = graph.invoke({"text": "hi"}, config(), context=context)["__interrupt__"]
    time.sleep(1.6)
    values = graph.invoke(Command(resume={item.id: decision("edit", {"word": "OK"})}), config(), context=context)
    assert (values["word"], values["size"], values["outcome"]) == ("OK", 2, "done")


# reviews


def test_a_step_that_a_person_sends_back_has_all_its_retries_again() -> None:
    builder = StateGraph(ToyState, context_schema=RunContext)
    script = Script(Transient("1"), Transient("2"), Transient("3"), "OK")
    word = toy_task(only=script)
    step = add_step(builder, word, Policy(retries=1, backoff=fixed(0)), then="done")
    add_retry(builder, [step], escalate_to="human_review")
    add_review(
        builder,
        ask=ask,
        answer=lambda _s, _d: {},
        tasks={"word": word, "size": SIZE},
        then=(lambda s: "done" if s.word else "word", ["word", "done"]),
    )
    builder.add_node("done", finish)
    builder.add_edge(START, "word")
    builder.add_edge("done", END)
    graph = attached(compile_graph(builder, name="back", version="1"))
    (item,) = graph.invoke({"text": "hi"}, config())["__interrupt__"]
    values = graph.invoke(Command(resume={item.id: decision("accept")}), config())
    assert values["word"] == "OK"
    assert [(a["visit"], a["n"]) for a in values["attempts"]] == [(0, 1), (0, 2), (1, 1), (1, 2)]


async def test_a_bare_graph_does_not_accept_what_no_person_could_accept() -> None:
    async def down(*_: Any) -> Any:
        raise Transient("500")

    calls = 0

    def asked(state: Any) -> Any:
        nonlocal calls
        calls += 1
        request = ask(state)
        return request.model_copy(update={"config": request.config.model_copy(update={"allow_accept": False})})

    builder = StateGraph(ToyState, context_schema=RunContext)
    word = toy_task(only=down)
    step = add_step(builder, word, Policy(retries=0), then="done")
    add_retry(builder, [step], escalate_to="human_review")
    add_review(builder, ask=asked, answer=lambda _s, _d: {}, tasks={"word": word}, then="word")
    builder.add_node("done", finish)
    builder.add_edge(START, "word")
    builder.add_edge("done", END)
    with pytest.raises(NeedsCheckpointer, match="without a checkpointer"):
        await compile_graph(builder, name="bare", version="1").ainvoke({"text": "hi"})
    assert calls == 1


def test_a_policy_that_escalates_without_a_review_node_gives_up() -> None:
    values = toy_graph(Policy(retries=0, on_exhausted="escalate"), only=Script(Transient("500"))).invoke({"text": "x"})
    assert values["outcome"] == "done without a word"
    assert values["degraded"]
    assert not values.get("escalations")


# contexts and settings of others


@pytest.mark.parametrize("context", [{"provider": "second", "user_id": "u1"}, {"user_id": "u1"}, None])
def test_a_context_of_another_form_is_served(context: Any) -> None:
    builder: Any = StateGraph(ToyState)
    first, second = Script(), Script("SECOND")
    step = add_step(builder, toy_task(embedded=first, second=second), Policy(retries=0), then="done")
    add_retry(builder, [step])
    builder.add_node("done", finish)
    builder.add_edge(START, "word")
    builder.add_edge("done", END)
    values = compile_graph(builder, name="foreign", version="1").invoke({"text": "hi"}, context=context)
    assert values["word"] == ("SECOND" if context and "provider" in context else "HI")


def test_a_wrong_value_in_a_foreign_context_is_named() -> None:
    builder: Any = StateGraph(ToyState)
    step = add_step(builder, toy_task(only=Script()), Policy(retries=0), then="done")
    add_retry(builder, [step])
    builder.add_node("done", finish)
    builder.add_edge(START, "word")
    with pytest.raises(ConfigurationError, match="deadline_s"):
        compile_graph(builder, name="x", version="1").invoke({"text": "hi"}, context={"deadline_s": "soon"})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"retries": True}, "retries"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"fallback": "embedded"}, "fallback"),
        ({"backoff": 5}, "backoff"),
        ({"max_cost": -1}, "max_cost"),
        ({"on_exhausted": "explode"}, "on_exhausted"),
        ({"max_wait": -1}, "max_wait"),
    ],
)
def test_a_wrong_policy_is_refused_when_it_is_written(wrong: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Policy(**wrong)


def test_an_unknown_rung_of_the_ladder_is_refused_when_the_graph_is_built() -> None:
    with pytest.raises(ConfigurationError, match="no provider 'nobody'"):
        toy_graph(Policy(fallback=("nobody:model",)), only=Script())


# attempts


def test_an_output_that_the_state_refuses_is_a_failed_attempt_and_not_a_broken_thread() -> None:
    answers = ["maybe", "yes"]
    task = Task(name="word", input=Text, output=Word, providers={"only": lambda _i, _c: Word(word=answers.pop(0))})
    builder = StateGraph(NarrowState, context_schema=RunContext)
    step = add_step(builder, task, Policy(retries=1, backoff=fixed(0)), then=END)
    add_retry(builder, [step])
    builder.add_edge(START, "word")
    values = compile_graph(builder, name="narrow", version="1").invoke({"text": "hi"})
    assert values["word"] == "yes"
    assert [a["outcome"] for a in values["attempts"]] == ["invalid_output", "ok"]


def test_a_provider_that_cancels_itself_has_failed_and_the_run_goes_on() -> None:
    script = Script(asyncio.CancelledError())
    values = toy_graph(only=script).invoke({"text": "hi"})
    assert [a["outcome"] for a in values["attempts"][:2]] == ["transient", "ok"]


def test_a_failure_of_an_unknown_step_is_named() -> None:
    graph = attached(toy_graph(only=Script()))
    graph.invoke({"text": "hi"}, config())
    graph.update_state(config(), {"failures": {"gone": {"step": "gone"}, "word": {"step": "word"}}}, as_node="word")
    with pytest.raises(ValueError, match="step 'gone' is not served here; known: word, size"):
        graph.invoke(None, config())


def test_a_review_is_announced_once_with_its_thread() -> None:
    from nodes import events

    graph = attached(toy_graph(Policy(retries=0), review=True, only=Script(Transient("500"))))
    seen: list[events.Event] = []
    with events.listening(seen.append):
        (item,) = graph.invoke({"text": "hi"}, config("here"))["__interrupt__"]
        graph.invoke(Command(resume={item.id: decision("edit", {"word": "OK"})}), config("here"))
    assert [e.thread for e in seen if isinstance(e, events.ReviewAsked)] == ["here"]
