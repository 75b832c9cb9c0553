"""The registry: which threads there are and where they stand, without a scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any
from uuid import uuid4

import pytest
import redis
from langgraph.channels import LastValue
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.pregel._write import ChannelWriteEntry
from langgraph.types import Command, Interrupt, interrupt
from servers import checkpoint_of, config_of, put_values, tcp_server
from typing_extensions import TypedDict

from checkpointers import AsyncRedisSaver, Lease, LeaseLost, RedisSaver, ThreadEntry
from checkpointers._notes import keys_of
from checkpointers._place import binary
from checkpointers._scripts import READ, Call


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


@pytest.fixture
def holders(url: str) -> Iterator[tuple[RedisSaver, RedisSaver]]:
    """A holder that has asked somebody, and who took the thread from it."""
    with RedisSaver.from_url(url, registry=True) as former, RedisSaver.from_url(url, registry=True) as holder:
        former.acquire_lease("t", holder="former")
        config = put_values(former, config_of("t"), a=1)
        former.put_writes(config, [("__interrupt__", [Interrupt(value={"due_at": 1.0}, id="i")])], "task")
        holder.acquire_lease("t", holder="holder", instead_of="former")
        yield former, holder


def test_what_is_refused_changes_no_entry(holders: tuple[RedisSaver, RedisSaver]) -> None:
    former, holder = holders
    before = entry(holder, "t")
    refused: list[Callable[[], object]] = [
        lambda: put_values(former, config_of("t"), a=2),
        lambda: former.put_writes(config_of("t", "", before.checkpoint_id), [("__error__", ValueError())], "task"),
        lambda: former.delete_thread("t"),
        lambda: former.quarantine("t"),
    ]
    for change in refused:
        with pytest.raises(LeaseLost):
            change()
        assert entry(holder, "t") == before
    assert holder.list_waiting() == [before]


def test_a_thread_that_its_holder_deleted_does_not_come_back(holders: tuple[RedisSaver, RedisSaver]) -> None:
    former, holder = holders
    holder.delete_thread("t")
    with pytest.raises(LeaseLost):
        put_values(former, config_of("t"), a=2)
    assert (holder.list_threads(), holder.list_waiting()) == ([], [])


def test_a_note_that_came_between_two_holders_is_corrected(holders: tuple[RedisSaver, RedisSaver], url: str) -> None:
    _, holder = holders
    before = entry(holder, "t")
    late = holder._note_put("t", "", checkpoint_of({"outcome": "fine"}, {"outcome": "1"}))
    assert late is not None
    holder._ask(late)
    assert entry(holder, "t").outcome == "fine"
    with RedisSaver.from_url(url, registry=True) as next_one:
        next_one.acquire_lease("t", holder="next", instead_of="holder")
        corrected = entry(next_one, "t")
    assert replace(corrected, changed_at=before.changed_at) == before


async def test_a_thread_that_was_only_seen_stays_when_it_is_taken_over(url: str) -> None:
    async with (
        AsyncRedisSaver.from_url(url, registry=True) as first,
        AsyncRedisSaver.from_url(url, registry=True) as second,
    ):
        await first.aacquire_lease("t", holder="first")
        await first.anote_thread("t")
        seen = await first.afind_thread("t")
        assert seen is not None
        await second.aacquire_lease("t", holder="second", instead_of="first")
        assert await second.afind_thread("t") == seen


def test_a_lease_alone_is_no_thread(saver: RedisSaver) -> None:
    lease = saver.acquire_lease("t", holder="mine")
    assert isinstance(lease, Lease)
    assert saver.find_thread("t") is None
    saver.release_lease(lease)
    assert saver.list_threads() == []


@pytest.mark.parametrize("defer", [False, True])
def test_a_join_that_waits_is_to_run_next(saver: RedisSaver, defer: bool) -> None:
    builder = StateGraph(State)
    for name in ("one", "two", "long"):
        builder.add_node(name, lambda _state: {})
    builder.add_node("after", lambda _state: {"outcome": "fine"}, defer=defer)
    builder.add_edge(START, "one").add_edge(START, "two").add_edge("two", "long").add_edge(["one", "long"], "after")
    graph = builder.compile(checkpointer=saver, interrupt_before=["after"], interrupt_after=["two"])
    config, told = config_of("t"), []
    graph.invoke({"text": "", "outcome": ""}, config)
    while len(told) < 3:
        graph.invoke(None, config)
        told.append((graph.get_state(config).next, entry(saver, "t").next))
    assert told == [(("after",), True), ((), False), ((), False)]


def test_a_node_of_a_bare_pregel_is_to_run_next_again(saver: RedisSaver) -> None:
    """Before its first run nothing that is stored tells what triggers it."""
    graph = Pregel(
        nodes={
            "one": NodeBuilder().subscribe_only("a").do(lambda number: number + 1).write_to("b"),
            "two": NodeBuilder()
            .subscribe_only("b")
            .write_to(ChannelWriteEntry("a", skip_none=True, mapper=lambda number: number if number < 3 else None)),
        },
        channels={"a": LastValue(int), "b": LastValue(int)},
        input_channels="a",
        output_channels="b",
        checkpointer=saver,
        interrupt_before_nodes=["one"],
    )
    graph.invoke(1, config_of("t"))
    graph.invoke(None, config_of("t"))
    assert (graph.get_state(config_of("t")).next, entry(saver, "t").next) == (("one",), True)
    graph.invoke(None, config_of("t"))
    assert (graph.get_state(config_of("t")).next, entry(saver, "t").next) == ((), False)


def test_lost_notes_are_made_up_for(url: str) -> None:
    with RedisSaver.from_url(url) as plain, RedisSaver.from_url(url, registry=True) as saver:
        graph = graph_on(saver)
        graph.invoke({"text": "ask"}, config_of("asked"))
        wanted = entry(saver, "asked")
        graph_on(plain).invoke({"text": "fine"}, config_of("unknown"))
        put_values(saver, config_of("gone"), a=1)
        plain.delete_thread("gone")
        entries, changed, *_ = keys_of("junk")
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


def test_what_was_read_before_a_note_does_not_come_after_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisSaver.from_url(url, registry=True) as other, RedisSaver.from_url(url, registry=True) as saver:
        put_values(other, config_of("busy"), a=1)
        ask = saver._answer

        def read_slowly(call: Call) -> Any:
            reply = ask(call)
            if call.script is READ:
                graph_on(other).invoke({"text": "ask"}, config_of("busy"))
            return reply

        monkeypatch.setattr(saver, "_answer", read_slowly)
        assert saver.reconcile(["busy"]) == 1
        assert [found.thread_id for found in other.list_waiting()] == ["busy"]
