"""The registry: which threads there are and where they stand, without a scan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import pytest
import redis
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, interrupt
from servers import checkpoint_of, config_of, put_values, tcp_server
from typing_extensions import TypedDict

from checkpointers import AsyncRedisSaver, LeaseLost, RedisSaver, ThreadEntry
from checkpointers._place import binary
from checkpointers.registry import _keys


@pytest.fixture
def url() -> Iterator[str]:
    """A server without threads of others."""
    with tcp_server(binary()) as started:
        yield started


@pytest.fixture
def saver(url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(url, registry=True) as opened:
        yield opened


class State(TypedDict):
    text: Annotated[str, lambda _old, new: new]
    outcome: str


def asking(state: State) -> dict[str, Any]:
    if state["text"] == "ask":
        said = interrupt({"secret": "quince-4711", "tier": "urgent", "due_at": 1_900_000_000.0})
        return {"text": said}
    if state["text"] == "break":
        raise ZeroDivisionError("secret quince-4711")
    return {}


def graph_on(saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("one", asking)
    builder.add_node("two", lambda _state: {"outcome": "failed: no" if _state["text"] == "fail" else "fine"})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", END)
    return builder.compile(checkpointer=saver)


def entry(saver: RedisSaver, thread: str) -> ThreadEntry:
    found = saver.find_thread(thread)
    assert found is not None
    return found


def test_a_run_is_followed_from_question_to_outcome(saver: RedisSaver) -> None:
    graph = graph_on(saver)
    graph.invoke({"text": "ask"}, config_of("t"))
    asked = entry(saver, "t")
    assert asked.status(held=True) == "waiting"
    assert [(one.tier, one.due_at) for one in asked.interrupts] == [("urgent", 1_900_000_000.0)]
    assert asked.next
    assert saver.list_waiting() == [asked]
    graph.invoke(Command(resume="thanks"), config_of("t"))
    done = entry(saver, "t")
    assert (done.status(held=False), done.outcome, done.interrupts, done.next) == ("done", "fine", (), False)
    assert saver.list_waiting() == []
    assert done.checkpoint_id == graph.get_state(config_of("t")).config["configurable"]["checkpoint_id"]


def test_failures_are_told_by_class_and_by_outcome(saver: RedisSaver) -> None:
    graph = graph_on(saver)
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"text": "break"}, config_of("broken"))
    graph.invoke({"text": "fail"}, config_of("failed"))
    assert (entry(saver, "broken").error, entry(saver, "broken").status(held=False)) == ("ZeroDivisionError", "failed")
    assert entry(saver, "failed").status(held=False) == "failed"


def test_nothing_of_what_is_asked_or_said_is_registered(saver: RedisSaver, url: str) -> None:
    graph = graph_on(saver)
    graph.invoke({"text": "ask"}, config_of("t"))
    with pytest.raises(ZeroDivisionError):
        graph.invoke({"text": "break"}, config_of("broken"))
    with redis.Redis.from_url(url) as client:
        told = b"".join(b"".join(client.hvals(key)) for key in client.keys("surefoot:{r.*}:threads"))
    assert b"ZeroDivisionError" in told
    assert b"quince-4711" not in told


def test_a_thread_in_the_middle_is_running_while_it_is_held_and_else_stalled(saver: RedisSaver) -> None:
    saver.put(
        config_of("t"), checkpoint_of({"branch:to:one": None}, {"branch:to:one": "1"}), {}, {"branch:to:one": "1"}
    )
    assert entry(saver, "t").status(held=True) == "running"
    assert entry(saver, "t").status(held=False) == "stalled"


def test_graphs_without_an_outcome_are_done_when_nothing_is_next(saver: RedisSaver) -> None:
    put_values(saver, config_of("t"), a=1)
    assert entry(saver, "t").status(held=False) == "done"


def test_notes_in_any_order_end_the_same(saver: RedisSaver) -> None:
    checkpoint = checkpoint_of({"a": 1}, {"a": "1"})
    config = config_of("t", "", checkpoint["id"])
    saver.put_writes(config, [("__interrupt__", [Interrupt(value={"tier": "routine"}, id="i")])], "task")
    assert entry(saver, "t").interrupts == (), "the checkpoint that it belongs to is not there yet"
    saver.put(config_of("t"), checkpoint, {}, {"a": "1"})
    assert [one.id for one in entry(saver, "t").interrupts] == ["i"]
    older = checkpoint_of({"a": 0}, {"a": "0"}, "00000000-0000-6000-8000-000000000000")
    before = entry(saver, "t")
    saver.put(config_of("t"), older, {}, {"a": "0"})
    saver.put_writes(config_of("t", "", older["id"]), [("__error__", ValueError())], "task")
    assert entry(saver, "t") == before


def test_subgraphs_are_no_threads(saver: RedisSaver) -> None:
    put_values(saver, config_of("t", "child"), a=1)
    assert saver.find_thread("t") is None


def test_the_last_changed_come_first_from_all_shards(saver: RedisSaver) -> None:
    threads = [f"t{number}" for number in range(300)]
    for thread in threads:
        put_values(saver, config_of(thread), a=1)
    put_values(saver, config_of("t5"), a=2)
    found = [e.thread_id for e in saver.list_threads()]
    assert (set(found), len(found)) == (set(threads), 300)
    newest = saver.list_threads(limit=7)
    assert newest[0].thread_id == "t5"
    assert [e.changed_at for e in newest] == sorted((e.changed_at for e in newest), reverse=True)
    assert [e.thread_id for e in newest] == found[:7]


def test_the_inbox_has_the_soonest_first(saver: RedisSaver) -> None:
    for number, due in enumerate((300.0, None, 100.0, 200.0)):
        config = put_values(saver, config_of(f"t{number}"), a=1)
        saver.put_writes(config, [("__interrupt__", [Interrupt(value={"due_at": due}, id="i")])], "task")
    assert [e.thread_id for e in saver.list_waiting()] == ["t2", "t3", "t0", "t1"]
    assert [e.thread_id for e in saver.list_waiting(limit=1)] == ["t2"]


def test_deleted_threads_are_gone_and_odd_ids_are_found(saver: RedisSaver) -> None:
    odd = ["a:b{c}", "\0", "é\ud800", "v", ""]
    for thread in odd:
        put_values(saver, config_of(thread), a=1)
    assert {e.thread_id for e in saver.list_threads()} == set(odd)
    for thread in odd:
        saver.delete_thread(thread)
    assert saver.list_threads() == []


def test_a_superseded_worker_registers_nothing(url: str) -> None:
    with RedisSaver.from_url(url, registry=True) as mine, RedisSaver.from_url(url, registry=True) as other:
        mine.acquire_lease("t", holder="mine")
        config = put_values(mine, config_of("t"), a=1)
        other.acquire_lease("t", holder="other", instead_of="mine")
        kept = put_values(other, config, a=2)
        with pytest.raises(LeaseLost):
            put_values(mine, kept, a=3)
        assert entry(other, "t").checkpoint_id == kept["configurable"]["checkpoint_id"]


def test_lost_notes_are_made_up_for(url: str) -> None:
    with RedisSaver.from_url(url) as plain, RedisSaver.from_url(url, registry=True) as saver:
        graph = graph_on(saver)
        graph.invoke({"text": "ask"}, config_of("asked"))
        wanted = entry(saver, "asked")
        graph_on(plain).invoke({"text": "fine"}, config_of("unknown"))
        put_values(saver, config_of("gone"), a=1)
        plain.delete_thread("gone")
        entries, changed, *_ = _keys("junk")
        nothing = {"c": "", "n": False, "o": "", "w": "", "e": "", "i": {}, "f": "", "t": "0"}
        saver.client.hset(entries, "junk", json.dumps(nothing))
        saver.client.zadd(changed, {"junk": 0})
        saver.reconcile()
        assert {e.thread_id for e in saver.list_threads()} == {"asked", "unknown"}
        assert entry(saver, "unknown").status(held=False) == "done"
        assert entry(saver, "asked").interrupts == wanted.interrupts
        assert entry(saver, "asked").changed_at == wanted.changed_at


async def test_the_async_saver_notes_the_same_on_a_cluster(cluster_service_url: str) -> None:
    thread = str(uuid4())
    async with AsyncRedisSaver.from_url(cluster_service_url, registry=True) as saver:
        graph = graph_on(saver)
        await graph.ainvoke({"text": "ask"}, config_of(thread))
        found = await saver.afind_thread(thread)
        assert found is not None
        assert found.status(held=False) == "waiting"
        assert thread in [e.thread_id for e in await saver.alist_waiting()]
        await graph.ainvoke(Command(resume="x"), config_of(thread))
        assert thread in [e.thread_id for e in await saver.alist_threads()]
        assert await saver.areconcile([thread]) == 1
        found = await saver.afind_thread(thread)
        assert found is not None
        assert found.status(held=False) == "done"
        await saver.adelete_thread(thread)
        assert await saver.afind_thread(thread) is None


def test_without_the_registry_nothing_is_noted(url: str) -> None:
    with RedisSaver.from_url(url) as saver:
        put_values(saver, config_of("t"), a=1)
        assert saver.list_threads() == []
        assert saver.client.keys("surefoot:{r.*") == []


def test_a_note_that_is_refused_does_not_hurt_the_write(saver: RedisSaver, caplog: pytest.LogCaptureFixture) -> None:
    put_values(saver, config_of("t"), a=1)
    for number in range(64):
        saver.client.set(f"surefoot:{{r.{number:02}}}:changed", "of another kind")
    config = put_values(saver, config_of("t"), a=2)
    assert saver.get_tuple(config) is not None
    assert "a note for the registry was lost" in caplog.text
