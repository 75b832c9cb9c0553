"""What a pruning keeps (the state, what waits, what is rebuilt) and drops: calls of subgraphs that have ended."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from servers import checkpoint_of, config_of, put_values
from typing_extensions import TypedDict

from checkpointers import AsyncRedisSaver, Encryption, RedisSaver, ThreadConflict
from checkpointers._codec import frame, thread_keys, unframe

KEYS = [None, {"k": bytes(32)}]


class Count(TypedDict):
    n: int


class Notes(TypedDict):
    notes: Annotated[list[str], operator.add]


class Log(TypedDict):
    log: Annotated[list[str], DeltaChannel(lambda left, right: [*left, *(x for xs in right for x in xs)])]


@pytest.fixture
def thread() -> str:
    return str(uuid4())


@pytest.fixture(params=KEYS, ids=["plain", "encrypted"])
def saver(request: pytest.FixtureRequest, sealed_url: str) -> Iterator[RedisSaver]:
    keys = request.param
    with RedisSaver.from_url(sealed_url, encryption=Encryption(keys) if keys else None) as opened:
        yield opened


def config_for(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def namespaces(saver: RedisSaver, thread: str) -> list[str]:
    return [found.config["configurable"]["checkpoint_ns"] for found in saver.list(config_for(thread))]


def adding() -> Any:
    return StateGraph(Count).add_node("n", lambda s: {"n": s["n"] + 1}).add_edge(START, "n")


def noting(name: str, **options: Any) -> Any:
    """Return a subgraph that notes how many notes it has seen."""
    builder = StateGraph(Notes).add_node("note", lambda s: {"notes": [f"{name} saw {len(s['notes'])}"]})
    return builder.add_edge(START, "note").compile(**options)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_calls_of_a_subgraph_go_with_the_checkpoint_they_began_at(
    saver: RedisSaver, thread: str, at_the_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpointers._removal.CALLS_PAGE", 7)
    graph = StateGraph(Count).add_node("call", adding().compile()).add_edge(START, "call").compile(checkpointer=saver)
    for turn in range(20):
        graph.invoke({"n": turn}, config_for(thread))
        if not at_the_end:
            saver.prune([thread])
    saver.prune([thread])
    assert namespaces(saver, thread) == [""]
    left: list[bytes] = saver.client.hkeys(thread_keys(thread)[0])  # type: ignore[assignment]  # the sync client's
    assert not [name for name in left if b"call:" in name]
    assert graph.get_state(config_for(thread)).values == {"n": 20}


def test_a_kept_checkpoint_has_no_parent_and_can_be_gone_on_with(saver: RedisSaver, thread: str) -> None:
    graph = adding().compile(checkpointer=saver)
    graph.invoke({"n": 1}, config_for(thread))
    before = graph.get_state(config_for(thread))
    assert before.parent_config is not None
    saver.prune([thread])
    after = graph.get_state(config_for(thread))
    assert after == before._replace(parent_config=None)
    assert [state.parent_config for state in graph.get_state_history(config_for(thread))] == [None]
    graph.update_state(after.config, {"n": 7})
    assert graph.get_state(config_for(thread)).parent_config == after.config
    assert graph.invoke({"n": 5}, config_for(thread)) == {"n": 6}


def test_the_last_few_are_a_chain_that_ends(saver: RedisSaver, thread: str) -> None:
    configs = [config_of(thread)]
    for step in range(6):
        configs.append(put_values(saver, configs[-1], step=step, a=step))
    saver.prune([thread], strategy="keep_last", keep=3)
    assert [found.parent_config for found in saver.list(config_of(thread))] == [configs[5], configs[4], None]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_memory_stays_and_the_thread_goes_on_like_its_twin(saver: RedisSaver, durability: Any) -> None:
    outer = StateGraph(Notes)
    outer.add_node("memory", noting("memory", checkpointer=True))
    outer.add_node("call", noting("call"))
    outer.add_edge(START, "memory")
    outer.add_edge("memory", "call")
    graph = outer.compile(checkpointer=saver)
    pruned, twin = str(uuid4()), str(uuid4())
    for turn in range(3):
        for name in (pruned, twin):
            graph.invoke({"notes": [f"turn {turn}"]}, config_for(name), durability=durability)
    saver.prune([pruned])
    assert sorted(namespaces(saver, pruned)) == ["", "memory"]
    results = [graph.invoke({"notes": ["last"]}, config_for(name), durability=durability) for name in (pruned, twin)]
    assert results[0] == results[1]


def asking() -> Any:
    """Return a graph whose subgraph has a subgraph that asks, beside one that does not, after a call that ended."""
    ask = StateGraph(Notes).add_node("ask", lambda s: {"notes": [interrupt("what?")]}).add_edge(START, "ask")
    middle = StateGraph(Notes)
    middle.add_node("ended", noting("ended"))
    middle.add_node("ask", ask.compile())
    middle.add_node("beside", noting("beside"))
    middle.add_edge(START, "ended")
    middle.add_edge("ended", "ask")
    middle.add_edge("ended", "beside")
    outer = StateGraph(Notes).add_node("first", noting("first")).add_node("middle", middle.compile())
    return outer.add_edge(START, "first").add_edge("first", "middle")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_question_deep_inside_stays_answerable(saver: RedisSaver, durability: Any) -> None:
    graph = asking().compile(checkpointer=saver)
    pruned, twin = str(uuid4()), str(uuid4())
    for name in (pruned, twin):
        graph.invoke({"notes": ["a"]}, config_for(name), durability=durability)
        graph.invoke(Command(resume="early"), config_for(name), durability=durability)
        graph.invoke({"notes": ["b"]}, config_for(name), durability=durability)
    for _ in range(2):
        saver.prune([pruned])
    left = namespaces(saver, pruned)
    assert len(left) == len(set(left))
    assert not [ns for ns in left if "first:" in ns or "ended:" in ns]
    assert len([ns for ns in left if "ask:" in ns]) == 1
    assert [i.value for i in graph.get_state(config_for(pruned), subgraphs=True).interrupts] == ["what?"]
    results = [graph.invoke(Command(resume="late"), config_for(name), durability=durability) for name in (pruned, twin)]
    assert sorted(results[0]["notes"]) == sorted(results[1]["notes"])
    assert "late" in results[0]["notes"]
    saver.prune([pruned])
    assert namespaces(saver, pruned) == [""]


def test_a_question_that_was_gone_back_to_stays_answerable(saver: RedisSaver) -> None:
    graph = asking().compile(checkpointer=saver)
    results = []
    for pruned in (True, False):
        config = config_for(str(uuid4()))
        graph.invoke({"notes": ["a"]}, config)
        graph.invoke(Command(resume="first"), config)
        past = next(state for state in graph.get_state_history(config) if state.next == ("middle",))
        assert [i.value for i in graph.invoke(None, past.config)["__interrupt__"]] == ["what?"]
        inner = graph.get_state(config, subgraphs=True).tasks[0].state
        graph.update_state(inner.config, {"notes": ["edited"]}, as_node="ended")
        if pruned:
            saver.prune([config["configurable"]["thread_id"]])
        results.append(sorted(graph.invoke(Command(resume="second"), config).get("notes", [])))
    assert results[0] == results[1]
    assert {"second", "edited"} <= set(results[0])


def test_what_finished_beside_a_failure_does_not_run_again(saver: RedisSaver, thread: str) -> None:
    runs, broken = list[int](), [True]

    def pending() -> Any:
        found = saver.get_tuple(config_for(thread))
        return found.pending_writes if found is not None else []

    def fail(_state: Notes) -> dict[str, Any]:
        if broken:
            # A run that fails stores nothing more of the others.
            deadline = time.monotonic() + 20
            while ("notes", ["worked"]) not in [write[1:] for write in pending()] and time.monotonic() < deadline:
                time.sleep(0.01)
            raise LookupError("not yet")
        return {"notes": ["mended"]}

    builder = StateGraph(Notes).add_node("works", lambda s: runs.append(1) or {"notes": ["worked"]})
    builder.add_node("fails", fail)
    builder.add_edge(START, "works")
    builder.add_edge(START, "fails")
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(LookupError):
        graph.invoke({"notes": ["in"]}, config_for(thread), durability="sync")
    saver.prune([thread])
    broken.clear()
    assert sorted(graph.invoke(None, config_for(thread))["notes"]) == ["in", "mended", "worked"]
    assert runs == [1]


def put_call(saver: RedisSaver, thread: str, ns: str, parents: dict[str, str]) -> Any:
    metadata: Any = {"source": "loop", "step": 0, "parents": parents}
    return saver.put(config_of(thread, ns), checkpoint_of({"a": 1}, {"a": "1"}), metadata, {"a": "1"})


def test_a_call_that_began_at_a_checkpoint_yet_to_come_stays(saver: RedisSaver, thread: str) -> None:
    root = put_values(saver, config_of(thread), a=1)["configurable"]["checkpoint_id"]
    put_call(saver, thread, "call:1", {"": root})
    put_call(saver, thread, "call:2", {"": "f" * 8})
    put_call(saver, thread, "call:3", {})
    put_call(saver, thread, "call:4", {"elsewhere": "1"})
    saver.prune([thread])
    assert sorted(namespaces(saver, thread)) == ["", "call:1", "call:2", "call:3", "call:4"]


def test_what_an_earlier_pruning_left_behind_goes(saver: RedisSaver, thread: str) -> None:
    old = put_values(saver, config_of(thread), run_id="first", a=1)
    put_call(saver, thread, "call:1", {"": old["configurable"]["checkpoint_id"]})
    saver.put_writes(config_of(thread, "call:1", "f" * 8), [("a", 1)], "task")
    put_values(saver, old, run_id="second", a=2)
    saver.delete_for_runs(["first"])
    saver.prune([thread])
    assert namespaces(saver, thread) == [""]
    fields: list[bytes] = saver.client.hkeys(thread_keys(thread)[0])  # type: ignore[assignment]  # the sync client's
    assert not [field for field in fields if b"call:1" in field]


def test_keep_last_keeps_the_calls_of_what_it_keeps(saver: RedisSaver, thread: str) -> None:
    config = config_of(thread)
    for step in range(5):
        config = put_values(saver, config, step=step, a=step)
        put_call(saver, thread, f"call:{step}", {"": config["configurable"]["checkpoint_id"]})
    saver.prune([thread], strategy="keep_last", keep=2)
    assert sorted(namespaces(saver, thread)) == ["", "", "call:3", "call:4"]


def test_a_call_that_cannot_be_read_stays_and_is_told(
    saver: RedisSaver, thread: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = put_values(saver, config_of(thread), a=1)
    at = put_call(saver, thread, "call:1", {"": old["configurable"]["checkpoint_id"]})["configurable"]["checkpoint_id"]
    put_values(saver, old, a=2)
    field = b"ccall:1\0" + at.encode()
    record: bytes = saver.client.hget(thread_keys(thread)[0], field)  # type: ignore[assignment]  # the sync client's
    saver.client.hset(thread_keys(thread)[0], field, frame([*unframe(record)[:5], b"?"]))
    with caplog.at_level(logging.WARNING, "surefoot.saver"):
        saver.prune([thread])
    assert saver.client.hexists(thread_keys(thread)[0], field)
    assert thread in caplog.text
    assert [found.checkpoint["channel_values"] for found in saver.list(config_of(thread))] == [{"a": 2}]


def test_a_call_that_began_at_what_is_kept_as_history_only_goes(saver: RedisSaver, thread: str) -> None:
    inner = StateGraph(Count).add_node("n", lambda s: {"n": 1}).add_edge(START, "n").compile()

    def call(_state: Log) -> dict[str, Any]:
        return {"log": [f"x{inner.invoke({'n': 0})['n']}"]}

    graph = StateGraph(Log).add_node("call", call).add_edge(START, "call").compile(checkpointer=saver)
    for turn in range(4):
        graph.invoke({"log": [f"in {turn}"]}, config_for(thread))
        saver.prune([thread])
    left = namespaces(saver, thread)
    assert len(left) > 1, "the history that the channel is rebuilt from"
    assert set(left) == {""}
    assert graph.get_state(config_for(thread)).values == {
        "log": ["in 0", "x1", "in 1", "x1", "in 2", "x1", "in 3", "x1"]
    }


def test_a_delta_channel_is_rebuilt_after_runs_were_deleted_or_they_stay(saver: RedisSaver, thread: str) -> None:
    builder = StateGraph(Log).add_node("x", lambda _s: {"log": ["x"]}).add_edge(START, "x")
    graph = builder.compile(checkpointer=saver)
    for turn in range(3):
        graph.invoke({"log": [f"in {turn}"]}, {**config_for(thread), "metadata": {"run_id": f"{thread}-{turn}"}})
    before = graph.get_state(config_for(thread)).values
    plain = str(uuid4())
    put_values(saver, put_values(saver, config_of(plain), run_id=f"{thread}-0", a=1), run_id=f"{thread}-1", a=2)
    with pytest.raises(ThreadConflict, match=thread):
        saver.delete_for_runs([f"{thread}-0"])
    # The others are done.
    assert len(namespaces(saver, plain)) == 1
    assert graph.get_state(config_for(thread)).values == before
    saver.delete_for_runs([f"{thread}-2"])
    assert graph.get_state(config_for(thread)).values == {"log": ["in 0", "x", "in 1", "x"]}


@pytest.mark.asyncio
async def test_the_async_saver_prunes_calls_too(any_url: str, thread: str) -> None:
    async with AsyncRedisSaver.from_url(any_url) as saver:
        graph = StateGraph(Count).add_node("call", adding().compile()).add_edge(START, "call")
        compiled = graph.compile(checkpointer=saver)
        for turn in range(3):
            await compiled.ainvoke({"n": turn}, config_for(thread))
        await saver.aprune([thread])
        found = [one async for one in saver.alist(config_for(thread))]
        assert [(one.config["configurable"]["checkpoint_ns"], one.parent_config) for one in found] == [("", None)]
