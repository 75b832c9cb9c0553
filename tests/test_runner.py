"""The runner on a toy pipeline: reruns, waits, leases, and one item's trouble that stays its own."""

from __future__ import annotations

import asyncio
import operator
import os
import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel
from servers import checkpoint_of, config_of
from toy import Script, ToyState, Word, decision, toy_graph
from typing_extensions import TypedDict

from checkpointers import RedisSaver, SaverError
from nodes import Policy
from nodes.errors import BudgetSpent, Throttled
from nodes.graph import CheckedGraph
from state import Checked, RunContext
from surefoot import leases
from surefoot.drive import Result, result_of
from surefoot.errors import ThreadBusy
from surefoot.inputs import Item
from surefoot.leases import Leases, is_dead, process_scope
from surefoot.pipelines import Pipeline
from surefoot.records import record_key
from surefoot.runner import Runner, Summary
from surefoot.serving import HeldElsewhere, ServingSaver
from surefoot.store import Store, open_store
from surefoot.threads import ThreadRecord, thread_id


class ToyInput(BaseModel):
    text: Annotated[str, Checked]


class ToyPipeline(Pipeline):
    """A pipeline whose graph is given."""

    toy: CheckedGraph

    @property
    def graph(self) -> CheckedGraph:
        return self.toy

    @property
    def version(self) -> str:
        return "1"


def toy_pipeline(script: Any, policy: Policy | None = None, **more: Any) -> Pipeline:
    pipeline = ToyPipeline("toy", "toy", ToyState, ToyInput, ("text",), ("word",), lambda *_: 0)
    object.__setattr__(pipeline, "toy", toy_graph(policy or Policy(retries=2), only=script, **more))
    return pipeline


def item(name: str = "1", text: str = "hi") -> Item:
    return Item(name, {"text": text}, 1)


async def run(store: Store, pipeline: Pipeline, items: Any, **options: Any) -> tuple[Summary, dict[str, Result]]:
    results: dict[str, Result] = {}
    stop = options.pop("stop", None)
    runner = Runner(pipeline, store, **options)
    return await runner.run(items, on_result=lambda r: results.__setitem__(r.id, r), stop=stop), results


async def test_rerun_forgets_a_thread_once_and_not_after_each_wait(shared_embedded_url: str) -> None:
    script = Script(Throttled("429", retry_after=0.6), Throttled("429", retry_after=0.6))
    context = RunContext(max_inline_wait_s=0.1)
    async with open_store(shared_embedded_url) as store:
        pipeline = toy_pipeline(script)
        await run(store, toy_pipeline(Script()), [item()], namespace="rerun")
        _, results = await run(store, pipeline, [item()], namespace="rerun", rerun=True, context=context)
        raw = await store.channels(thread_id("toy", "1", "rerun"))
    assert results["1"].status == "done"
    assert [a["n"] for a in raw.values["attempts"] if a["step"] == "word"] == [1, 2, 3]


async def test_a_thread_that_another_process_works_on_is_not_forgotten(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surefoot.runner.TTL_S", -1.0)
    async with open_store(shared_embedded_url) as store, open_store(shared_embedded_url) as other:
        await run(store, toy_pipeline(Script()), [item()], namespace="busy")
        tid = thread_id("toy", "1", "busy")
        assert await other.acquire(tid)
        summary, results = await run(store, toy_pipeline(Script()), [item()], namespace="busy", rerun=True)
        assert results["1"].status == "running"
        assert results["1"].error == "another process works on it"
        assert (await store.channels(tid)).values["word"] == "HI"
        await other.release(tid)
    assert summary.stalled == 1


async def test_a_thread_that_is_lost_at_its_end_is_left_to_who_has_it(shared_embedded_url: str) -> None:
    tid = thread_id("toy", "1", "lost")

    class LostAtTheEnd(ToyPipeline):
        def row(self, values: Any) -> dict[str, Any]:
            with RedisSaver.from_url(shared_embedded_url) as saver:
                saver.acquire_lease(tid, holder="other", instead_of=saver.lease_holder(tid))
            return super().row(values)

    pipeline = LostAtTheEnd("toy", "toy", ToyState, ToyInput, ("text",), ("word",), lambda *_: 0)
    object.__setattr__(pipeline, "toy", toy_graph(Policy(retries=2), only=Script()))
    async with open_store(shared_embedded_url) as store:
        summary, results = await run(store, pipeline, [item()], namespace="lost")
        assert results["1"].status == "running"
        assert "was taken over by another process" in results["1"].error
        assert (summary.stalled, summary.stopped) == (1, "")
        assert await store.saver.alease_holder(tid) == "other"


async def test_a_stored_far_wait_is_slept_through_and_the_endpoint_is_not_asked_early(shared_embedded_url: str) -> None:
    script = Script(Throttled("429", retry_after=1.5))
    pipeline, context = toy_pipeline(script), RunContext(max_inline_wait_s=0.1)
    async with open_store(shared_embedded_url) as store:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, stop.set)
        _, first = await run(store, pipeline, [item()], namespace="far", context=context, stop=stop)
        assert (first["1"].status, first["1"].waits_for) == ("waiting", "time")
        _, second = await run(store, pipeline, [item()], namespace="far", context=context)
    assert second["1"].status == "done"
    assert script.times[1] - script.times[0] >= 1.5
    assert len(script.calls) == 2


async def test_a_run_that_is_asked_to_stop_cuts_a_wait_that_an_earlier_run_began(shared_embedded_url: str) -> None:
    script = Script(Throttled("429", retry_after=60))
    pipeline = toy_pipeline(script)
    async with open_store(shared_embedded_url) as store:
        for _ in range(2):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.5, stop.set)
            context = RunContext(max_inline_wait_s=100)
            async with asyncio.timeout(20):
                _, results = await run(store, pipeline, [item()], namespace="cut", context=context, stop=stop)
            assert results["1"].status == "stalled"
    assert len(script.calls) == 1


async def test_a_thread_that_finishes_while_the_run_stops_is_finished(shared_embedded_url: str) -> None:
    stop = asyncio.Event()

    def extend(builder: Any, _step: Any) -> None:
        def last(_state: Any) -> dict[str, Any]:
            stop.set()
            return {"outcome": "done"}

        builder.add_node("last", last)

    async with open_store(shared_embedded_url) as store:
        pipeline = toy_pipeline(Script(), then="last", extend=extend)
        _, results = await run(store, pipeline, [item()], namespace="last", stop=stop)
        record = await store.get(thread_id("toy", "1", "last"))
    assert results["1"].status == "done"
    assert record is not None
    assert record.status == "done"


async def test_no_inline_wait_at_all_is_a_choice(shared_embedded_url: str) -> None:
    async with open_store(shared_embedded_url) as store:
        runner = Runner(toy_pipeline(Script()), store, context=RunContext(max_inline_wait_s=0))
    assert runner.context.max_inline_wait_s == 0


async def test_items_that_break_off_do_not_cut_what_is_under_way(shared_embedded_url: str) -> None:
    def source() -> Iterator[Item]:
        yield item()
        raise OSError("the disk is gone")

    results: list[Result] = []
    async with open_store(shared_embedded_url) as store:
        with pytest.raises(OSError, match="the disk is gone"):
            await Runner(toy_pipeline(Script()), store, namespace="source").run(source(), on_result=results.append)
    assert [r.status for r in results] == ["done"]


async def test_an_os_error_of_one_item_leaves_the_others_alone(shared_embedded_url: str) -> None:
    def extend(builder: Any, _step: Any) -> None:
        def read_attachment(state: ToyState) -> dict[str, Any]:
            if state.text == "bad":
                raise FileNotFoundError("/mnt/tickets/1.pdf")
            return {"outcome": "done"}

        builder.add_node("attachment", read_attachment)

    async with open_store(shared_embedded_url) as store:
        pipeline = toy_pipeline(Script(), then="attachment", extend=extend)
        items = [item("1", "bad"), item("2"), item("3")]
        summary, results = await run(store, pipeline, items, namespace="oserror", parallel=1)
    assert [results[i].status for i in "123"] == ["failed", "done", "done"]
    assert "FileNotFoundError" in results["1"].error
    assert summary.stopped == ""


async def test_the_cap_of_the_settings_holds_when_a_thread_is_resumed(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nodes.call.budget import command_budget
    from surefoot import api
    from surefoot.settings import settings

    seen: list[Any] = []

    async def go_on(*_args: Any) -> Any:
        seen.append(command_budget())
        raise BudgetSpent("spent")

    async with open_store(shared_embedded_url) as store:
        script = Script(Throttled("429", retry_after=60))
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.4, stop.set)
        pipeline = toy_pipeline(script)
        await run(store, pipeline, [item()], namespace="cap", stop=stop)
        monkeypatch.setattr(api, "pipeline_of", lambda _record: pipeline)
        monkeypatch.setattr(api, "_go_on", go_on)
        record = await store.find("cap/toy:1")
        with pytest.raises(BudgetSpent):
            await api.resume_in(store, record)
    assert seen[0] is not None
    assert seen[0].limit_microusd == settings().max_cost_microusd


async def test_a_record_of_a_newer_version_is_not_taken_for_another_content(shared_embedded_url: str) -> None:
    async with open_store(shared_embedded_url) as store:
        await run(store, toy_pipeline(Script()), [item()], namespace="newer")
        tid = thread_id("toy", "1", "newer")
        await store._client.set(record_key(tid), '{"thread_id": "t", "status": "dreaming"}')
        summary, _ = await run(store, toy_pipeline(Script()), [item()], namespace="newer")
        (refused,) = summary.refused
        assert "cannot be read by this version" in refused.reason
        assert "update this installation" in refused.reason
        assert "--rerun" not in refused.reason
        await store._client.delete(record_key(tid))


class Fan(TypedDict, total=False):
    done: Annotated[list[str], operator.add]


def fan(*edges: tuple[Any, str], sends: bool = False) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(Fan)
    for name in ("a", "b", "c", "d", "e"):
        builder.add_node(name, lambda _state, name=name: {"done": [name]})
    builder.add_edge(START, "a")
    for source, target in edges:
        builder.add_edge(source, target)
    if sends:
        builder.add_conditional_edges("a", lambda _state: [Send("b", {}), Send("b", {}), Send("c", {})], ["b", "c"])
    return builder


@pytest.mark.parametrize(
    ("builder", "stops", "at"),
    [
        (fan(("a", "b"), ("a", "c"), (["b", "c"], "d")), "d", ["d"]),
        (fan(("a", "b"), ("a", "c"), ("c", "e"), (["b", "e"], "d")), "e", ["e"]),
        (fan(sends=True), "b", ["b", "c"]),
        (fan(("a", "b")), "e", []),
    ],
)
async def test_a_thread_before_a_join_or_sends_is_not_finished(
    shared_embedded_url: str, builder: StateGraph[Any, Any, Any, Any], stops: str, at: list[str]
) -> None:
    async with open_store(shared_embedded_url) as store:
        tid = f"fan-{stops}"
        await builder.compile(checkpointer=store.saver, interrupt_before=[stops]).ainvoke({}, config_of(tid))
        raw = await store.channels(tid)
        assert raw.next == at
        assert raw.values.keys() == {"done"}
        record = ThreadRecord(thread_id=tid, key=tid, pipeline="toy", item_id="1")
        assert result_of(toy_pipeline(Script()), record, raw).status == ("stalled" if at else "failed")


async def test_a_context_that_was_named_in_studio_stays_when_others_go_on(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surefoot import api

    pipeline = toy_pipeline(Script(Throttled("429"), Throttled("429")), Policy(retries=0), review=True)
    monkeypatch.setattr(api, "pipeline_of", lambda _record: pipeline)
    begun = RunContext(variant="runner", thresholds={"kept": 1.0})
    async with open_store(shared_embedded_url) as store:
        _, results = await run(store, pipeline, [item("1"), item("2")], namespace="studio", context=begun)
        assert {result.waits_for for result in results.values()} == {"person"}
        serving = ServingSaver(store.saver)
        graph = pipeline.graph.copy(update={"checkpointer": serving})
        for name in "12":
            await graph.ainvoke(
                Command(resume=decision("edit", {"word": "QUINCE"})), config_of(thread_id("toy", name, "studio")),
                context=RunContext(variant="studio"), interrupt_before=["size"],
            )  # fmt: skip
        result = await api.resume_in(store, await store.find("studio/toy:1"))
        assert (result.status, result.values["attempts"][-1]["variant"]) == ("done", "studio")
        record = await store.find("studio/toy:1")
        assert (record.context.variant, record.context.thresholds) == ("studio", {"kept": 1.0})
        assert record.context.max_inline_wait_s is not None, "a wait is the affair of who runs it"
        _, results = await run(store, pipeline, [item("2")], namespace="studio", context=RunContext(thresholds={}))
        assert (results["2"].status, results["2"].values["attempts"][-1]["variant"]) == ("done", "studio")
        record = await store.find("studio/toy:2")
        assert (record.context.variant, record.context.thresholds) == ("studio", {})


# leases


async def test_who_was_superseded_writes_nothing_and_the_other_one_s_result_stands(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first runner freezes in its call, its lease passes to the second one, and then it wakes up."""
    asked, woken = asyncio.Event(), asyncio.Event()

    async def freeze() -> Word:
        asked.set()
        await woken.wait()
        return Word(word="STALE")

    tid = thread_id("toy", "1", "frozen")
    async with open_store(shared_embedded_url) as first, open_store(shared_embedded_url) as second:
        frozen = asyncio.create_task(run(first, toy_pipeline(Script(freeze)), [item()], namespace="frozen"))
        await asyncio.wait_for(asked.wait(), 60)
        with monkeypatch.context() as patch:
            patch.setattr(leases, "is_dead", lambda _holder: True)
            summary, results = await run(second, toy_pipeline(Script("FRESH")), [item()], namespace="frozen")
        assert (summary.done, results["1"].status) == (1, "done")
        woken.set()
        summary, results = await asyncio.wait_for(frozen, 60)
        assert results["1"].status == "running"
        assert "thread frozen/toy:1 was taken over by another process" in results["1"].error
        assert summary.stopped == "", "the other items of the run are not concerned"
        assert summary.stalled == 1
        record = await first.get(tid)
        assert record is not None
        assert record.status == "done"
        assert (await first.channels(tid)).values["word"] == "FRESH"


@pytest.mark.parametrize("finished", [True, False])
async def test_the_record_belongs_to_who_has_the_lease(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    tid = f"record-{finished}"
    record = ThreadRecord(thread_id=tid, key=tid, pipeline="toy", item_id="1")
    async with open_store(shared_embedded_url) as first, open_store(shared_embedded_url) as second:
        assert await first.acquire(tid)
        await first.save(record)
        monkeypatch.setattr(leases, "is_dead", lambda _holder: True)
        assert await second.acquire(tid)
        if finished:
            # Whoever takes a thread over has it from that moment on, before it has written anything.
            await second.save(record.model_copy(update={"status": "done"}))
        for write in (first.save(record.model_copy(update={"status": "failed"})), first.forget(tid)):
            with pytest.raises(ThreadBusy, match=f"{tid} was taken over by another process"):
                await write
        stored = await second.get(tid)
        assert stored is not None
        assert stored.status == ("done" if finished else "running")
        await second.save(record.model_copy(update={"status": "waiting"}))
        await second.release(tid)
        await second.forget(tid)
        assert await second.get(tid) is None


def holder(**changes: Any) -> Mapping[str, Any]:
    return {"scope": process_scope(), "pid": os.getpid(), "started": leases.started_at(os.getpid())} | changes


def test_a_process_id_means_something_in_its_own_scope_only(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = 4_190_000
    assert is_dead(dict(holder(pid=gone)))
    assert not is_dead(dict(holder(pid=gone, scope="another container with the same host name")))
    assert not is_dead(dict(holder()))
    assert is_dead(dict(holder(started="1")))
    monkeypatch.setattr(leases.socket, "gethostname", lambda: "elsewhere")
    assert not is_dead(dict(holder(pid=gone, scope="x")))


async def test_a_lease_that_was_lost_and_taken_anew_is_not_counted_as_lost(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TTL_S", 0.3)
    async with open_store(shared_embedded_url) as store, open_store(shared_embedded_url) as elsewhere:
        mine = Leases(store.saver)
        async with mine.renewing():
            assert await mine.acquire("renewed")
            await asyncio.sleep(0.7)
            told = await elsewhere.saver.alease_holder("renewed")
            assert told, "renewed in time"
            other = await elsewhere.saver.aacquire_lease("renewed", holder="other", ttl=5, instead_of=told)
            assert not isinstance(other, str)
            deadline = time.monotonic() + 5
            while "renewed" not in mine.lost and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            assert mine.lost == {"renewed"}
            assert await elsewhere.saver.arelease_lease(other)
            assert await mine.acquire("renewed")
            await asyncio.sleep(0.3)
            assert mine.lost == set()


async def test_a_lease_is_given_back_when_the_record_cannot_be_taken(shared_embedded_url: str) -> None:
    async with open_store(shared_embedded_url) as store:
        await store._client.rpush(record_key("odd"), "no record")
        with pytest.raises(SaverError, match="WRONGTYPE"):
            await store.acquire("odd")
        await store._client.set(record_key("later"), f"{'9' * 16} {{}}")
        assert not await store.acquire("later")
        for tid in ("odd", "later"):
            assert not store.leases.token(tid)
            assert not await store.saver.alease_holder(tid)
            await store._client.delete(record_key(tid))


async def test_studio_deletes_nothing_that_the_runner_works_on(shared_embedded_url: str) -> None:
    async with open_store(shared_embedded_url) as store, open_store(shared_embedded_url) as other:
        serving = ServingSaver(other.saver)
        for tid in ("studio-held", "studio-free"):
            await store.saver.aput(config_of(tid), checkpoint_of({}, {}), {"step": 0}, {})
        assert await store.acquire("studio-held")
        for change in (
            serving.adelete_thread("studio-held"),
            serving.acopy_thread("studio-free", "studio-held"),
            serving.aprune(["studio-held", "studio-free"], strategy="delete"),
        ):
            with pytest.raises(HeldElsewhere, match="another process is working on thread studio-held"):
                await change
        assert (await store.channels("studio-held")).exists
        assert not (await store.channels("studio-free")).exists, "the others are not concerned"
        with pytest.raises(TypeError, match="in brackets"):
            await serving.aprune("studio-held", strategy="delete")
        await store.release("studio-held")
        await serving.adelete_thread("studio-held")
        assert not (await store.channels("studio-held")).exists
        assert not await store.saver.alease_holder("studio-held")


async def test_who_froze_before_studio_went_on_writes_no_record(
    shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tid = "studio-took-over"
    record = ThreadRecord(thread_id=tid, key=tid, pipeline="toy", item_id="1")
    async with open_store(shared_embedded_url) as frozen, open_store(shared_embedded_url) as other:
        assert await frozen.acquire(tid)
        await frozen.save(record)
        monkeypatch.setattr(leases, "is_dead", lambda _holder: True)
        await ServingSaver(other.saver).aput(config_of(tid), checkpoint_of({}, {}), {"step": 0}, {})
        with pytest.raises(ThreadBusy, match=f"{tid} was taken over by another process"):
            await frozen.save(record.model_copy(update={"status": "waiting"}))
        stored = await other.get(tid)
        assert stored is not None
        assert stored.status == "running"
        await other.forget(tid)
