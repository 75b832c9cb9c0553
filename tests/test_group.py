"""A group: members side by side, each with attempts and retries of its own; the join waits for no one in vain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, create_model

from nodes import Member, Policy, Task, add_group, compile_graph, fixed, missing_members
from nodes.call import Call, MemoryGuard, set_guard
from nodes.errors import BudgetSpent, ConfigurationError, Permanent, Transient
from nodes.group import Ended
from state import Checked, RunContext, RunState
from surefoot.testing import OpenAIEndpoint, status

GIVE_UP = Policy(retries=1, backoff=fixed(0), on_exhausted="give_up")


class Letters(RunState):
    text: Annotated[str, Checked] = ""
    a: Annotated[str | None, Checked] = None
    b: Annotated[str | None, Checked] = None
    c: Annotated[str | None, Checked] = None
    joined: Annotated[str | None, Checked] = None


class Text(BaseModel):
    text: str


def member(name: str, work: Callable[..., Any], policy: Policy = GIVE_UP, **providers: Any) -> Member:
    output = create_model(f"Out{name}", **{name: (str, ...)})
    task = Task(name=f"find_{name}", input=Text, output=output, providers={"rule": work, **providers})
    return Member(task=task, policy=policy)


def says(name: str, value: str = "", after: float = 0.0) -> Callable[..., Any]:
    async def work(given: Text, _call: Call) -> dict[str, str]:
        await asyncio.sleep(after)
        return {name: value or f"{name} of {given.text}"}

    return work


def fails(*errors: BaseException | str, name: str = "b") -> Callable[..., Any]:
    left = list(errors)

    async def work(_given: Text, _call: Call) -> dict[str, str]:
        error = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(error, BaseException):
            raise error
        return {name: error}

    return work


def build(*members: Member, **options: Any) -> Any:
    builder = StateGraph(Letters, context_schema=RunContext)
    add_group(builder, "find", members, then=END, **options)
    builder.add_edge(START, "find")
    return compile_graph(builder, name="letters", version="1")


def run(graph: Any, asynchronous: bool, **options: Any) -> Any:
    given = {"text": "it"}
    ended = asyncio.run(graph.ainvoke(given, **options)) if asynchronous else graph.invoke(given, **options)
    # Fields that nothing was written to are not in what a graph returns.
    return {"a": None, "b": None, "c": None, "degraded": False, "failures": {}} | ended


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_may_fail_and_the_others_go_on(asynchronous: bool) -> None:
    broken = member("b", fails(Transient("no answer")))
    ended = run(build(member("a", says("a")), broken, member("c", says("c"))), asynchronous)
    assert (ended["a"], ended["b"], ended["c"]) == ("a of it", None, "c of it")
    assert ended["degraded"] is True
    assert ended["reasons"] == ["find.find_b failed (2 x transient), last: no answer"]
    told = [(a["step"], a["member"], a["n"], a["outcome"]) for a in ended["attempts"]]
    assert sorted(told) == [
        ("find", "find_a", 1, "ok"),
        ("find", "find_b", 1, "transient"),
        ("find", "find_b", 2, "transient"),
        ("find", "find_c", 1, "ok"),
    ]
    assert [(d["member"], d["attempt"], d["action"]) for d in ended["retry_decisions"]] == [
        ("find_b", 1, "again"),
        ("find_b", 2, "give_up"),
    ]
    assert missing_members(Letters.model_validate(ended), "find") == {"find_b": "no answer"}
    assert ended["provenance"]["a"]["step"] == "find"
    assert ended["failures"] == {}


def test_members_run_at_the_same_time_and_wait_for_themselves_only() -> None:
    met = {name: asyncio.Event() for name in "ac"}

    def meets(name: str, other: str) -> Callable[..., Any]:
        async def work(_given: Text, _call: Call) -> dict[str, str]:
            met[name].set()
            await met[other].wait()
            await retried.wait()
            return {name: name}

        return work

    retried = asyncio.Event()
    tries: list[int] = []

    async def second_time(_given: Text, _call: Call) -> dict[str, str]:
        tries.append(1)
        if len(tries) == 1:
            raise Transient("once")
        retried.set()
        return {"b": "b at last"}

    waits = Policy(retries=1, backoff=fixed(0.1))
    crew = [member("a", meets("a", "c")), member("b", second_time, waits), member("c", meets("c", "a"))]
    ended = run(build(*crew), True)
    assert (ended["a"], ended["b"], ended["c"]) == ("a", "b at last", "c")
    assert ended["degraded"] is False


def test_a_member_falls_back_and_says_so() -> None:
    policy = Policy(retries=0, fallback=("other",))
    other = member("b", fails(Permanent("never")), policy, other=says("b", "from the other"))
    context = RunContext(provider="rule")
    ended = run(build(member("a", says("a")), other), False, context=context)
    assert ended["b"] == "from the other"
    assert ended["provenance"]["b"]["provider"] == "other"
    assert "find.find_b failed (permanent), last: never; other answered instead" in ended["reasons"]


def test_an_exhausted_member_can_be_a_question_for_a_person() -> None:
    ended = run(build(member("b", fails(Permanent("never")), Policy(retries=0))), False)
    assert set(ended["escalations"]) == {"find.find_b"}


def test_what_is_not_there_at_the_deadline_is_missing() -> None:
    began = time.monotonic()
    ended = run(build(member("a", says("a")), member("b", says("b", after=30)), deadline=1), True)
    assert time.monotonic() - began < 20
    assert (ended["a"], ended["b"]) == ("a of it", None)
    assert ended["attempts"][-1]["outcome"] == "timeout"
    assert "deadline" in ended["reasons"][0]


def test_enough_is_enough() -> None:
    def two(_state: Letters, ended: Any) -> bool:
        return len(ended) >= 2

    def join(state: Letters, ended: dict[str, Ended]) -> dict[str, Any]:
        return {"joined": state.text + "+".join(sorted(ended))}

    began = time.monotonic()
    crew = [member("a", says("a")), member("b", says("b", after=30)), member("c", says("c"))]
    ended = run(build(*crew, enough=two, finish=join), True)
    assert time.monotonic() - began < 20
    assert ended["joined"] == "itfind_a+find_c"
    assert {a["member"] for a in ended["attempts"]} == {"find_a", "find_c"}
    assert ended["degraded"] is False


def test_a_second_turn_is_another_visit() -> None:
    graph = build(member("b", fails(Transient("no"), Transient("no"), "yes"))).copy(
        update={"checkpointer": InMemorySaver()}
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    assert "b" not in graph.invoke({"text": "it"}, config)
    ended = graph.invoke({"text": "it"}, config)
    assert ended["b"] == "yes"
    assert [(a["visit"], a["n"]) for a in ended["attempts"]] == [(0, 1), (0, 2), (1, 1)]


def test_one_wrong_setting_is_a_missing_member_and_all_of_them_stop_the_run() -> None:
    wrong = ConfigurationError("set OPENAI_API_KEY")
    ended = run(build(member("a", says("a")), member("b", fails(wrong))), False)
    assert ended["a"] == "a of it"
    assert "find: set OPENAI_API_KEY" in ended["reasons"]
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        run(build(member("b", fails(wrong))), False)
    with pytest.raises(BudgetSpent, match="no money"):
        run(build(member("a", says("a")), member("b", fails(BudgetSpent("no money")))), False)


def test_a_question_of_a_member_is_asked_and_the_others_are_not_run_twice_for_money(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    set_guard(MemoryGuard())

    async def paid(given: Text, call: Call) -> dict[str, str]:
        return {"a": (await call.model(given.text)).value}

    def asks(_given: Text, _call: Call) -> dict[str, str]:
        return {"b": str(interrupt("what is b?"))}

    graph = build(member("a", paid), member("b", asks)).copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "asking"}}
    openai_endpoint.script(status(500))
    (question,) = graph.invoke({"text": "it"}, config)["__interrupt__"]
    assert question.value == "what is b?"
    assert openai_endpoint.calls == 2
    ended = graph.invoke(Command(resume="this"), config)
    assert (ended["a"], ended["b"]) == ("All is well.", "this")
    assert openai_endpoint.calls == 3, "what failed is tried anew, the answer that was paid for comes from the ledger"


def test_nonsense_is_refused_when_the_graph_is_built() -> None:
    builder = StateGraph(Letters)
    one, other = member("a", says("a")), member("a", says("a"))
    with pytest.raises(ValueError, match="members need names of their own"):
        add_group(builder, "find", [one, other], then=END)
    renamed = Task(name="second", input=Text, output=one.task.output, providers={"rule": says("a")})
    with pytest.raises(ValueError, match="'find_a' and 'second' both write 'a'"):
        add_group(builder, "find", [one, Member(task=renamed)], then=END)
    with pytest.raises(ValueError, match="writes 'z', which the state does not have"):
        add_group(builder, "find", [member("z", says("z"))], then=END)


def test_the_members_are_drawn() -> None:
    drawn = build(member("a", says("a")), member("b", says("b"))).get_graph().draw_mermaid()
    assert "find_a, find_b" in drawn
