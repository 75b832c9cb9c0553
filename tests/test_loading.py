"""No time limit of a step runs while something of ours is loading, or while a step waits in a line of ours."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from pydantic import create_model
from test_group import Letters, Text
from toy import Script, ToyState, Word
from toy import Text as ToyText

from nodes import Member, Policy, Task, add_group, add_retry, add_step, compile_graph, fixed
from nodes.call import Call
from nodes.cores import Turns, cores, turn
from nodes.errors import ConfigurationError
from nodes.events import Event, PreparingBegan, PreparingEnded, listening
from nodes.loading import Clock, loading, off_clock, prepare_once
from state import RunContext
from tasks.documents import read_document, workers

SLOW_S = 1.5
"""How long loading takes in these tests."""
SHORT_S = 0.75
"""Limits of these tests: less than loading takes, and far more than the work does."""


def slow() -> None:
    time.sleep(SLOW_S)


def one_step(task: Task[Any, Any], policy: Policy) -> Any:
    builder = StateGraph(ToyState, context_schema=RunContext)
    step = add_step(builder, task, policy, then=END, on_give_up=END)
    add_retry(builder, [step])
    builder.add_edge(START, "word")
    return compile_graph(builder, name="toy", version="1")


def prepared(function: Callable[[], Any], *, first: str = "rule", **providers: Any) -> Task[Any, Any]:
    providers = providers or {"rule": Script()}
    return Task(name="word", input=ToyText, output=Word, providers=providers, prepare={first: function})


def outcomes(ended: Any) -> list[tuple[str, str]]:
    return [(a["provider"], a["outcome"]) for a in ended["attempts"]]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_slow_preparation_is_not_on_the_clock_of_an_attempt(asynchronous: bool) -> None:
    def load() -> None:
        slow()

    graph = one_step(prepared(load), Policy(retries=0, timeout=SHORT_S))
    given = {"text": "it"}
    ended = asyncio.run(graph.ainvoke(given)) if asynchronous else graph.invoke(given)
    assert outcomes(ended) == [("rule", "ok")]
    assert ended["attempts"][0]["latency_ms"] < SLOW_S * 1000


def test_a_preparation_may_be_a_coroutine_function() -> None:
    done: list[str] = []

    async def load() -> None:
        await asyncio.sleep(SLOW_S)
        done.append("loaded")

    ended = one_step(prepared(load), Policy(retries=0, timeout=SHORT_S)).invoke({"text": "it"})
    assert (outcomes(ended), done) == ([("rule", "ok")], ["loaded"])


def test_a_preparation_is_not_on_the_clock_of_the_run() -> None:
    def load() -> None:
        slow()

    context = RunContext(deadline_s=SHORT_S)
    ended = one_step(prepared(load), Policy(retries=0, timeout=5)).invoke({"text": "it"}, context=context)
    assert outcomes(ended) == [("rule", "ok")]


def test_a_slow_preparation_is_not_on_the_clock_of_a_group() -> None:
    def load() -> None:
        slow()

    async def work(given: Text, _call: Call) -> dict[str, str]:
        return {"a": given.text}

    task = Task(name="find_a", input=Text, output=create_model("A", a=(str, ...)), providers={"rule": work},
                prepare={"rule": load})  # fmt: skip
    builder = StateGraph(Letters, context_schema=RunContext)
    add_group(builder, "find", [Member(task=task, policy=Policy(retries=0, timeout=SHORT_S))], then=END,
              deadline=SHORT_S)  # fmt: skip
    builder.add_edge(START, "find")
    ended = compile_graph(builder, name="letters", version="1").invoke({"text": "it"})
    assert (ended["a"], ended.get("degraded", False)) == ("it", False)


def test_other_attempts_stand_still_while_a_fallback_loads() -> None:
    """One member falls back to a provider that has to be loaded; its neighbour's work waits for the same processor."""
    loaded = threading.Event()

    def load() -> None:
        slow()
        loaded.set()

    async def waits(given: Text, _call: Call) -> dict[str, str]:
        while not loaded.is_set():
            await asyncio.sleep(0.01)
        return {"a": given.text}

    async def broken(_given: Text, _call: Call) -> dict[str, str]:
        raise ValueError("broken")

    async def works(given: Text, _call: Call) -> dict[str, str]:
        return {"b": given.text}

    short = Policy(retries=0, timeout=SHORT_S, fallback=("other",), on_exhausted="give_up")
    first = Task(name="find_a", input=Text, output=create_model("A", a=(str, ...)),
                 providers={"rule": waits, "other": waits}, first="rule")  # fmt: skip
    second = Task(name="find_b", input=Text, output=create_model("B", b=(str, ...)), first="rule",
                  providers={"rule": broken, "other": works}, prepare={"other": load})  # fmt: skip
    builder = StateGraph(Letters, context_schema=RunContext)
    members = [Member(task=first, policy=short), Member(task=second, policy=short)]
    add_group(builder, "find", members, then=END, deadline=SHORT_S * 2)
    builder.add_edge(START, "find")
    ended = compile_graph(builder, name="letters", version="1").invoke({"text": "it"})
    assert (ended["a"], ended["b"]) == ("it", "it")
    assert [(a["member"], a["outcome"]) for a in ended["attempts"] if a["member"] == "find_a"] == [("find_a", "ok")]


def test_a_preparation_runs_once_however_many_wait_for_it() -> None:
    calls: list[str] = []

    def load() -> None:
        calls.append("load")
        slow()

    graph = one_step(prepared(load), Policy(retries=0, timeout=SHORT_S))
    heard: list[Event] = []
    with listening(heard.append), ThreadPoolExecutor(12) as pool:
        ended = list(pool.map(lambda _: graph.invoke({"text": "it"}), range(12)))
    assert calls == ["load"]
    assert {tuple(outcomes(one)) for one in ended} == {(("rule", "ok"),)}
    told = [type(event) for event in heard if isinstance(event, PreparingBegan | PreparingEnded)]
    assert told == [PreparingBegan, PreparingEnded]


def test_a_preparation_that_fails_is_told_and_the_next_provider_answers() -> None:
    def load() -> None:
        raise OSError("no such file: model.bin, password=hunter2secret")

    task = prepared(load, rule=Script(), other=Script("FROM OTHER"))
    task = Task(**{**task.__dict__, "first": "rule"})
    graph = one_step(task, Policy(retries=2, backoff=fixed(0), fallback=("other",)))
    ended = graph.invoke({"text": "it"})
    assert outcomes(ended) == [("rule", "permanent"), ("other", "ok")]
    assert ended["word"] == "FROM OTHER"
    assert ended["attempts"][0]["error"].startswith("preparing rule for word failed: OSError: no such file")
    assert "hunter2secret" not in json.dumps(ended, default=str)


def test_a_preparation_that_fails_costs_a_group_one_member() -> None:
    def load() -> None:
        raise OSError("gone")

    async def work(given: Text, call: Call) -> dict[str, str]:
        return {call.step[-1]: given.text}

    members = [
        Member(
            task=Task(name=f"find_{name}", input=Text, output=create_model(name, **{name: (str, ...)}),
                      providers={"rule": work}, prepare={"rule": load} if name == "b" else {}),
            policy=Policy(retries=0, on_exhausted="give_up"),
        )
        for name in "abc"
    ]  # fmt: skip
    builder = StateGraph(Letters, context_schema=RunContext)
    add_group(builder, "find", members, then=END)
    builder.add_edge(START, "find")
    ended = compile_graph(builder, name="letters", version="1").invoke({"text": "it"})
    assert (ended["a"], ended.get("b"), ended["c"], ended["degraded"]) == ("it", None, "it", True)
    assert "preparing rule for find_b failed: OSError: gone" in ended["reasons"][0]


def test_a_library_that_is_missing_stops_the_run() -> None:
    def load() -> None:
        raise ConfigurationError("pip install it")

    with pytest.raises(ConfigurationError, match="pip install it"):
        one_step(prepared(load), Policy(retries=0)).invoke({"text": "it"})


async def test_a_clock_goes_on_after_loading_and_ends_in_time() -> None:
    def load() -> None:
        slow()

    left: list[float] = []

    async def limited() -> None:
        async with Clock(SHORT_S) as clock:
            await prepare_once(load, "it")
            left.append(clock.left())
            await asyncio.sleep(SHORT_S * 2)

    with pytest.raises(TimeoutError):
        await limited()
    assert 0 < left[0] <= SHORT_S


async def test_a_clock_that_is_extended_has_the_longer_time() -> None:
    async with Clock(0.05) as clock:
        clock.extend(5.0)
        with loading():
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
        assert clock.left() > 4.5
        assert clock.ran() < 4.0


async def test_only_the_clocks_around_it_stand_still_in_a_line() -> None:
    async def in_line() -> None:
        async with Clock(SHORT_S), Clock(SHORT_S):
            with off_clock():
                await asyncio.sleep(SHORT_S * 2)

    async def elsewhere() -> None:
        async with Clock(SHORT_S):
            await asyncio.sleep(SHORT_S * 2)

    first, second = await asyncio.gather(in_line(), elsewhere(), return_exceptions=True)
    assert first is None
    assert isinstance(second, TimeoutError)


def test_work_that_computes_takes_turns_and_its_limit_begins_with_its_turn() -> None:
    lock, at_once, most = threading.Lock(), 0, 0

    def compute(given: ToyText, _call: Call) -> Word:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return Word(word=given.text)

    task = Task(name="word", input=ToyText, output=Word, providers={"rule": compute}, computes=frozenset({"rule"}))
    graph = one_step(task, Policy(retries=0, timeout=20))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(graph.ainvoke({"text": str(n)}) for n in range(8 * cores())))

    ended = asyncio.run(all_of_them())
    assert {tuple(outcomes(one)) for one in ended} == {(("rule", "ok"),)}
    assert most <= cores()


async def test_a_turn_passes_on_from_work_that_hangs() -> None:
    hang = asyncio.Event()

    async def hold() -> None:
        async with turn():
            await hang.wait()

    holding = [asyncio.create_task(hold()) for _ in range(cores())]
    await asyncio.sleep(0)
    async with asyncio.timeout(60), turn():
        assert not any(task.done() for task in holding)
    hang.set()
    await asyncio.gather(*holding)


async def test_a_turn_is_not_lost_with_whoever_stopped_waiting() -> None:
    turns = Turns(1)
    await turns.take()
    waiting = [asyncio.create_task(turns.take()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    turns.give()
    await waiting[1]
    turns.give()
    await waiting[2]
    assert waiting[0].cancelled()


async def test_waiting_for_a_document_reader_is_not_on_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "cv.txt"
    path.write_text("Ten years of Python, SQL and Kubernetes at a bank, then a team of six to lead.")
    for _ in range(workers.WORKERS):
        await workers._free.take()

    async def free_later() -> None:
        await asyncio.sleep(SLOW_S)
        for _ in range(workers.WORKERS):
            workers._free.give()

    freeing = asyncio.create_task(free_later())
    async with Clock(30) as clock:
        document = await read_document(path)
        ran = clock.ran()
    await freeing
    assert document.text.startswith("Ten years")
    assert ran < 30 - SHORT_S


HOG = "while True: sum(range(10_000))"


@pytest.mark.slow
def test_transactions_on_a_busy_machine_lose_no_attempt_to_the_cold_start(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(cores())]
    try:
        out = tmp_path / "out.jsonl"
        command = [sys.executable, "-m", "surefoot", "run", "fraud", str(root / "examples/transactions.csv"),
                   "--limit", "60", "--out", str(out)]  # fmt: skip
        done = subprocess.run(
            command, env={"SUREFOOT_REDIS_URL": f"embedded:{tmp_path}", "SUREFOOT_PROVIDER": "embedded"},
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (len(rows), [row["reasons"] for row in rows if row["degraded"]]) == (60, [])
    assert "failed attempt" not in done.stderr + done.stdout
    assert done.stderr.startswith("preparing embedded for logistic")
