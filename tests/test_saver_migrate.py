"""Threads of other savers: resumed from a copy they end as they would have ended where they were."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from servers import config_of
from typing_extensions import TypedDict

from checkpointers import AsyncRedisSaver, RedisSaver, amigrate, migrate

CASES = ["sibling", "subgraph", "history"]


@pytest.fixture
def saver(valkey_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(valkey_url) as opened:
        yield opened


def added(state: list[str], writes: list[Any]) -> list[str]:
    return [*state, *(one for write in writes for one in write)]


class State(TypedDict, total=False):
    steps: Annotated[list[str], operator.add]
    told: Annotated[list[str], DeltaChannel(added)]
    answer: str
    other: str


def asking(state: State) -> State:
    return {"steps": ["ask"], "answer": interrupt("which?")}


def node(name: str) -> Any:
    # Two channels, so that the writes of one task have an order.
    return lambda _state: {"steps": [name], "told": [name], "other": name}


def waiting(case: str) -> StateGraph[State, None, State, State]:
    builder = StateGraph(State)
    if case == "sibling":
        # What the sibling wrote waits with the thread: its output and its way to the next node.
        builder.add_node("ask", asking).add_node("sibling", node("sibling")).add_node("after", node("after"))
        builder.add_edge(START, "ask").add_edge(START, "sibling").add_edge("sibling", "after").add_edge("after", END)
    elif case == "subgraph":
        child = StateGraph(State).add_node("inner", node("inner")).add_node("ask", asking)
        child.add_edge(START, "inner").add_edge("inner", "ask")
        builder.add_node("child", child.compile()).add_node("after", node("after"))
        builder.add_edge(START, "child").add_edge("child", "after")
    else:
        builder.add_node("one", node("one")).add_node("two", node("two")).add_node("ask", asking)
        builder.add_edge(START, "one").add_edge("one", "two").add_edge("two", "ask")
    return builder


def told_by(graph: Any, thread: str) -> list[Any]:
    return [
        (state.values, state.next, [(task.name, task.interrupts) for task in state.tasks], state.metadata)
        for state in graph.get_state_history(config_of(thread))
    ]


@pytest.mark.parametrize("case", CASES)
def test_a_waiting_thread_ends_as_it_would_have_ended(saver: RedisSaver, case: str) -> None:
    thread, old = str(uuid4()), InMemorySaver()
    there, here = waiting(case).compile(checkpointer=old), waiting(case).compile(checkpointer=saver)
    there.invoke({"steps": ["start"]}, config_of(thread))
    assert migrate(old, saver, [thread]) == 1
    assert told_by(here, thread) == told_by(there, thread)
    resumed = [graph.invoke(Command(resume="this"), config_of(thread)) for graph in (there, here)]
    assert resumed[0] == resumed[1]
    assert here.get_state(config_of(thread)).next == there.get_state(config_of(thread)).next == ()


@pytest.mark.parametrize("case", CASES)
async def test_async_savers_are_copied_between_too(valkey_url: str, case: str) -> None:
    thread, old = str(uuid4()), InMemorySaver()
    async with AsyncRedisSaver.from_url(valkey_url) as saver:
        there, here = waiting(case).compile(checkpointer=old), waiting(case).compile(checkpointer=saver)
        await there.ainvoke({"steps": ["start"]}, config_of(thread))
        assert await amigrate(old, saver) == 1
        resumed = [await graph.ainvoke(Command(resume="this"), config_of(thread)) for graph in (there, here)]
        assert resumed[0] == resumed[1]


def test_all_threads_are_copied_and_a_second_time_changes_nothing(saver: RedisSaver) -> None:
    threads, old = [str(uuid4()) for _ in range(3)], InMemorySaver()
    for thread in threads:
        waiting("history").compile(checkpointer=old).invoke({"steps": ["start"]}, config_of(thread))
    assert migrate(old, saver, ["of nobody"]) == 0
    assert migrate(old, saver) == 3
    before = [list(saver.list({"configurable": {"thread_id": thread}})) for thread in threads]
    assert migrate(old, saver) == 3
    assert [list(saver.list({"configurable": {"thread_id": thread}})) for thread in threads] == before


def test_copies_of_a_fork_keep_what_each_branch_has(saver: RedisSaver) -> None:
    thread, old = str(uuid4()), InMemorySaver()
    there, here = (waiting("history").compile(checkpointer=at) for at in (old, saver))
    there.invoke({"steps": ["start"]}, config_of(thread))
    first = list(there.get_state_history(config_of(thread)))[-2].config
    there.update_state(first, {"steps": ["fork"]}, as_node="one")
    migrate(old, saver, [thread])
    assert told_by(here, thread) == told_by(there, thread)
    ended = []
    for graph in (there, here):
        graph.invoke(None, config_of(thread))
        ended.append(graph.invoke(Command(resume="this"), config_of(thread)))
    assert ended[0] == ended[1]
