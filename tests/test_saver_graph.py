"""Real graphs on both savers: run, interrupt, resume, fork, many at once, and each saver reading the other's data."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from checkpointers import AsyncRedisSaver, RedisSaver, WrongLoop, open_saver


class Note(BaseModel):
    text: str


class State(BaseModel):
    notes: Annotated[list[Note], operator.add] = Field(default_factory=list)
    messages: Annotated[list[AnyMessage], add_messages] = Field(default_factory=list)
    answer: str = ""


def build() -> StateGraph[State, None, State, State]:
    def work(state: State) -> dict[str, Any]:
        return {"notes": [Note(text=f"note {len(state.notes)}")], "messages": [HumanMessage("hi", id=str(uuid4()))]}

    def ask(state: State) -> dict[str, Any]:
        return {"answer": interrupt({"have": len(state.notes)})}

    builder = StateGraph(State)
    for name in ("one", "two", "three"):
        builder.add_node(name, work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("one", "three")
    builder.add_edge(["two", "three"], "ask")
    builder.add_edge("ask", END)
    return builder


def config_for(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def check(result: Any, answer: str) -> None:
    assert result["answer"] == answer
    assert [note.text for note in result["notes"]] == ["note 0", "note 1", "note 1"]
    assert all(isinstance(note, Note) for note in result["notes"])
    assert len(result["messages"]) == 3


@pytest.fixture
def saver(any_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(any_url, allow=[Note]) as opened:
        yield opened


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_sync_graph_runs_stops_and_resumes(saver: RedisSaver, durability: Any) -> None:
    graph = build().compile(checkpointer=saver)
    config = config_for(str(uuid4()))
    stopped = graph.invoke({}, config, durability=durability)
    assert stopped["__interrupt__"][0].value == {"have": 3}
    check(graph.invoke(Command(resume="yes"), config, durability=durability), "yes")
    assert graph.get_state(config).values["answer"] == "yes"
    if durability != "exit":
        assert [s.metadata["step"] for s in graph.get_state_history(config) if s.metadata] == [3, 2, 1, 0, -1]


@pytest.mark.asyncio
async def test_an_async_graph_runs_stops_and_resumes(any_url: str) -> None:
    async with AsyncRedisSaver.from_url(any_url, allow=[Note]) as saver:
        graph = build().compile(checkpointer=saver)
        config = config_for(str(uuid4()))
        stopped = await graph.ainvoke({}, config)
        assert stopped["__interrupt__"][0].value == {"have": 3}
        check(await graph.ainvoke(Command(resume="yes"), config), "yes")
        history = [state async for state in graph.aget_state_history(config)]
        forked = await graph.aupdate_state(history[-2].config, {"answer": "forked"}, as_node="one")
        assert (await graph.aget_state(forked)).values["answer"] == "forked"
        again = [state async for state in graph.aget_state_history(config)]
        assert [s.values for s in again[1:]] == [s.values for s in history]


@pytest.mark.asyncio
async def test_each_saver_goes_on_with_what_the_other_stored(any_url: str) -> None:
    first, second = config_for(str(uuid4())), config_for(str(uuid4()))
    opener = open_saver(any_url, allow=[Note])
    async with opener as asaver:
        with opener as saver:
            sync_graph, async_graph = build().compile(checkpointer=saver), build().compile(checkpointer=asaver)
            await asyncio.to_thread(sync_graph.invoke, {}, first)
            check(await async_graph.ainvoke(Command(resume="async"), first), "async")
            await async_graph.ainvoke({}, second)
            check(await asyncio.to_thread(sync_graph.invoke, Command(resume="sync"), second), "sync")


@pytest.mark.asyncio
async def test_a_sync_saver_serves_an_async_graph(saver: RedisSaver) -> None:
    graph = build().compile(checkpointer=saver)
    config = config_for(str(uuid4()))
    await graph.ainvoke({}, config)
    check(await graph.ainvoke(Command(resume="yes"), config), "yes")
    assert len([state async for state in graph.aget_state_history(config, limit=2)]) == 2


@pytest.mark.asyncio
async def test_an_async_saver_serves_a_sync_graph_in_another_thread(valkey_url: str) -> None:
    async with AsyncRedisSaver.from_url(valkey_url, allow=[Note]) as saver:
        graph = build().compile(checkpointer=saver)
        config = config_for(str(uuid4()))

        def run() -> None:
            graph.invoke({}, config)
            check(graph.invoke(Command(resume="yes"), config), "yes")
            assert len(list(graph.get_state_history(config))) == 5
            saver.copy_thread(config["configurable"]["thread_id"], "copy of it")
            saver.prune(["copy of it"])
            assert saver.expire_thread("copy of it", 10)
            saver.delete_for_runs(["none"])
            saver.delete_thread("copy of it")

        await asyncio.to_thread(run)
        with pytest.raises(WrongLoop, match="aget_tuple"):
            saver.get_tuple(config)
        with pytest.raises(WrongLoop):
            list(saver.list(config))


def test_a_saver_of_another_loop_says_so(valkey_url: str) -> None:
    made: list[AsyncRedisSaver] = []

    async def make() -> None:
        async with AsyncRedisSaver.from_url(valkey_url) as saver:
            made.append(saver)

    async def use() -> None:
        with pytest.raises(WrongLoop, match="another event loop"):
            await made[0].aget_tuple(config_for("t"))
        with pytest.raises(WrongLoop, match="another event loop"):
            await made[0].with_allowlist([("a", "B")]).aget_tuple(config_for("t"))

    asyncio.run(make())
    asyncio.run(use())
    with pytest.raises(WrongLoop, match="run in another thread"):
        made[0].get_tuple(config_for("t"))


@pytest.mark.asyncio
async def test_two_graphs_of_64_runs_at_once_async(any_url: str) -> None:
    async with (
        AsyncRedisSaver.from_url(any_url, allow=[Note]) as one,
        AsyncRedisSaver.from_url(any_url, allow=[Note]) as two,
    ):
        threads = [str(uuid4()) for _ in range(64)]

        async def run(saver: AsyncRedisSaver, thread: str) -> None:
            graph = build().compile(checkpointer=saver)
            await graph.ainvoke({}, config_for(thread))
            check(await graph.ainvoke(Command(resume=thread), config_for(thread)), thread)

        await asyncio.gather(*(run(saver, f"{n}{thread}") for n, saver in enumerate((one, two)) for thread in threads))


def test_two_graphs_of_64_runs_at_once_sync(any_url: str) -> None:
    with RedisSaver.from_url(any_url, allow=[Note]) as saver, ThreadPoolExecutor(128) as pool:
        graphs = [build().compile(checkpointer=saver) for _ in range(2)]

        def run(number: int) -> None:
            graph, config = graphs[number % 2], config_for(str(uuid4()))
            graph.invoke({}, config)
            check(graph.invoke(Command(resume=str(number)), config), str(number))

        list(pool.map(run, range(128)))


def test_a_subgraph_keeps_its_own_interrupt_through_a_prune(saver: RedisSaver) -> None:
    inner = StateGraph(State)
    inner.add_node("ask", lambda _state: {"answer": interrupt("inner?")})
    inner.add_edge(START, "ask")
    outer = StateGraph(State)
    outer.add_node("before", lambda _state: {"notes": [Note(text="x")]})
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "before")
    outer.add_edge("before", "inner")
    graph = outer.compile(checkpointer=saver)
    config = config_for(str(uuid4()))
    stopped = graph.invoke({}, config)
    saver.prune([config["configurable"]["thread_id"]])
    assert [i.value for i in graph.get_state(config).interrupts] == ["inner?"]
    answered = graph.invoke(Command(resume={stopped["__interrupt__"][0].id: "pruned"}), config)
    assert answered["answer"] == "pruned"


def append(left: list[str], right: list[Any]) -> list[str]:
    return [*left, *(item for items in right for item in items)]


class Log(TypedDict):
    log: Annotated[list[str], DeltaChannel(append, snapshot_frequency=3)]


def test_a_delta_channel_is_rebuilt_also_after_a_prune(saver: RedisSaver) -> None:
    builder = StateGraph(Log)
    builder.add_node("left", lambda _state: {"log": ["left"]})
    builder.add_node("right", lambda _state: {"log": ["right"]})
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    results = []
    for checkpointer in (saver, InMemorySaver()):
        graph = builder.compile(checkpointer=checkpointer)
        config = config_for(str(uuid4()))
        for turn in range(7):
            result = graph.invoke({"log": [f"in {turn}"]}, config)
            if isinstance(checkpointer, RedisSaver):
                checkpointer.prune([config["configurable"]["thread_id"]])
        assert graph.get_state(config).values == result
        results.append(result)
    assert results[0] == results[1]
    assert len(results[0]["log"]) == 21


def test_foreign_string_versions_are_continued(saver: RedisSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build().compile(checkpointer=saver)
    config = config_for(str(uuid4()))
    theirs = InMemorySaver().get_next_version
    with monkeypatch.context() as patch:
        patch.setattr(saver, "get_next_version", theirs)
        graph.invoke({}, config)
    check(graph.invoke(Command(resume="ours"), config), "ours")
