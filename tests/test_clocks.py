"""Processes whose clocks are a day wrong, and clocks that jump: waits, orders and caps go by one time."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_tools import ROOT, TICKETS, Cli, read_rows, run_python, spawn, write_tickets
from guard_tools import own_base, request, settled
from langgraph.checkpoint.memory import InMemorySaver
from toy import Script, toy_graph

from checkpointers import connect_async
from nodes import Policy, clock, fixed
from nodes.call import Limits, MemoryGuard, using_guard
from nodes.call.redis_guard import RedisGuard
from nodes.decide import Again, decide
from nodes.errors import BreakerOpen, Throttled, Transient
from nodes.retry import WAIT_KIND
from state import Attempt, Decision, Failure, RunContext, RunState
from surefoot.drive import waiting
from surefoot.testing import OpenAIEndpoint, support_responder, throttle
from surefoot.threads import RawThread

DAY = 86_400
SHIFTED = """
import os, time
shift = float(os.environ["CLOCK_SHIFT_S"])
time_s, time_ns = time.time, time.time_ns
time.time = lambda: time_s() + shift
time.time_ns = lambda: time_ns() + int(shift * 1e9)
"""
"""Python runs it before anything else: the clock of that process is wrong for all that it imports."""


@pytest.fixture(params=[DAY, -DAY], ids=["ahead", "behind"])
def wrong(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose clock is a day wrong."""
    (tmp_path / "shift").mkdir()
    (tmp_path / "shift" / "sitecustomize.py").write_text(SHIFTED)
    return {"PYTHONPATH": f"{tmp_path / 'shift'}:{ROOT}", "CLOCK_SHIFT_S": str(request.param)}


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock of this host to another time."""
    clock.forget()
    true, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: true() + shift[0])

    def set_clock(seconds: float) -> None:
        shift[0] += seconds

    return set_clock


# --- the whole way --------------------------------------------------------------------------------------------------


def test_a_wait_that_a_process_with_a_wrong_clock_began_lasts_as_long_as_was_asked(
    cli: Cli, cli_url: str, tmp_path: Path, wrong: dict[str, str], openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.responder = support_responder
    openai_endpoint.script(throttle(4))
    tickets = write_tickets(tmp_path / "t.jsonl", {"down": TICKETS["down"]})
    name = f"wrong{wrong['CLOCK_SHIFT_S']}"
    arguments = ("run", "support", tickets, "--namespace", name, "--out", str(tmp_path / "rows.jsonl"))
    process = spawn(*arguments, env={"SUREFOOT_REDIS_URL": cli_url, **wrong}, cwd=tmp_path)
    try:
        made: list[dict[str, Any]] = []
        for _ in range(6000):
            if openai_endpoint.calls and (made := decisions(cli_url, f"{name}/support:down")):
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert [round(d["until"] - d["at"]) for d in made] == [4]
    assert abs(made[0]["at"] - time.time()) < 60, "by the server's time"
    began = time.monotonic()
    # Retry-After is honoured to the end by whoever goes on, and no longer.
    assert cli(*arguments).status == 0
    assert time.monotonic() - began < 60
    assert openai_endpoint.requests[1].at - openai_endpoint.requests[0].at >= 4
    assert read_rows(tmp_path / "rows.jsonl")["down"]["category"]


def test_a_question_of_a_process_with_a_wrong_clock_is_due_when_it_should_be(
    cli: Cli, cli_url: str, tmp_path: Path, wrong: dict[str, str]
) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", {"down": TICKETS["down"]})
    name = f"due{wrong['CLOCK_SHIFT_S']}"
    process = spawn("run", "support", tickets, "--namespace", name, env={"SUREFOOT_REDIS_URL": cli_url, **wrong})
    assert process.wait(timeout=120) == 3, process.communicate()
    process.communicate()
    (asked,) = [one for one in cli("inbox", "--json").json if name in str(one)]
    assert 0 < asked["due_at"] - time.time() <= 3600
    (thread,) = [one for one in cli("threads", "--json").json if name in str(one)]
    assert abs(thread["updated_at"] - time.time()) < 120


def decisions(url: str, key: str) -> list[dict[str, Any]]:
    """Return the decisions of the retry node that are stored of a thread."""
    from surefoot.store import open_store
    from surefoot.threads import id_of_key

    async def read() -> list[dict[str, Any]]:
        async with open_store(url) as store:
            values = (await store.channels(id_of_key(key))).values
            return list(values.get("retry_decisions") or ())

    return asyncio.run(read())


TAKES_OVER = """
import os, sys
from typing import TypedDict
from langgraph.graph import START, StateGraph
from checkpointers import open_saver

class State(TypedDict, total=False):
    log: list

def node(name):
    def work(state):
        if name == "b" and os.environ.get("DIES"):
            os._exit(9)
        return {"log": [*state.get("log", ()), name]}
    return work

builder = StateGraph(State)
before = START
for name in "abcd":
    builder.add_node(name, node(name))
    builder.add_edge(before, name)
    before = name
with open_saver(os.environ["SUREFOOT_REDIS_URL"]) as saver:
    graph = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": os.environ["THREAD"]}}
    begun = graph.get_state(config).values
    graph.invoke(None if begun else {"log": []}, config, durability="sync")
    print(graph.get_state(config).values["log"], len(list(graph.get_state_history(config))))
"""


def test_a_thread_goes_on_from_one_process_to_the_next_whatever_their_clocks_say(
    shared_embedded_url: str, wrong: dict[str, str]
) -> None:
    thread = own_base()
    died = run_python(TAKES_OVER, shared_embedded_url, THREAD=thread, DIES="1", **wrong)
    assert died.returncode == 9, died.stderr
    for _ in range(2):
        after = run_python(TAKES_OVER, shared_embedded_url, THREAD=thread)
        # Checkpoints that are older than the one they follow would never be found, and the nodes run again each time.
        assert after.stdout == "['a', 'b', 'c', 'd'] 6\n", after.stdout + after.stderr


def test_ids_that_are_no_times_or_lie_years_ahead_are_not_followed(shared_embedded_url: str) -> None:
    from uuid import UUID

    from langgraph.checkpoint.base.id import uuid6

    from checkpointers._ids import follow

    before = uuid6()
    for odd in ("", "latest", str(UUID(int=(1 << 128) - 1)), "ffffffff-ffff-6fff-bfff-ffffffffffff"):
        follow(odd)
    after = uuid6()
    assert before < after
    assert (after.int >> 80) - (before.int >> 80) < 60 * 10_000_000 >> 12


KEEPS = """
import asyncio, os
from checkpointers import connect_async
from nodes import clock
from nodes.call.redis_guard import RedisGuard
from surefoot.store import open_store

async def work():
    async with connect_async(os.environ["SUREFOOT_REDIS_URL"]) as client:
        guard = RedisGuard(client, base=os.environ["BASE"])
        print(await guard.recall("t", "theirs"))
        await guard.keep("t", "ours", {"cost": 2})
        await guard.aclose()
    async with open_store(os.environ["SUREFOOT_REDIS_URL"]):
        print(round(clock.now()))

asyncio.run(work())
"""


def test_kept_answers_are_replayed_whatever_the_clocks_say_and_the_servers_time_is_taken_over(
    shared_embedded_url: str, wrong: dict[str, str]
) -> None:
    base = own_base()

    async def here(other: bool) -> Any:
        async with connect_async(shared_embedded_url) as client:
            guard = RedisGuard(client, base=base)
            try:
                if not other:
                    await guard.keep("t", "theirs", {"cost": 1})
                return await guard.recall("t", "ours")
            finally:
                await guard.aclose()

    assert asyncio.run(here(False)) is None
    told = run_python(KEEPS, shared_embedded_url, BASE=base, **wrong)
    kept, moment = told.stdout.splitlines()
    assert kept == "{'cost': 1}", told.stderr
    assert abs(float(moment) - time.time()) < 60
    assert asyncio.run(here(True)) == {"cost": 2}


# --- waits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "made_at", "left"),
    [(DAY + 5, DAY, 5), (5, 0, 5), (-DAY + 5, -DAY, 0), (5, -1, 5), (DAY, -1, DAY), (3, 9, 0)],
    ids=["from a day ahead", "just begun", "from a day ago", "begun a second ago", "a long one", "backwards"],
)
def test_a_resumed_wait_is_never_longer_than_the_recorded_one(at: float, made_at: float, left: float) -> None:
    now = clock.now()
    assert clock.left(now + at, now + made_at) == pytest.approx(left, abs=0.5)
    value = {"kind": WAIT_KIND, "until": now + at, "since": now + made_at}
    _, until = waiting(RawThread(interrupts=[{"id": "i", "value": value}]))
    assert until is not None
    assert max(0.0, until - now) == pytest.approx(left, abs=0.5)


def test_a_wait_that_was_written_down_without_its_beginning_is_kept_as_it_is() -> None:
    assert clock.left(clock.now() + 50, 0.0) == pytest.approx(50, abs=0.5)
    value = {"kind": WAIT_KIND, "until": 17.0}
    assert waiting(RawThread(interrupts=[{"id": "i", "value": value}])) == ("time", 17.0)


def test_a_failure_that_another_clock_wrote_down_is_waited_for_no_longer_than_was_asked() -> None:
    policy = Policy(retries=3, backoff=fixed(1)).resolve(RunState())
    attempts = [Attempt(step="s", n=1, outcome="throttled", started_at=1000.0 + DAY)]
    failure = Failure(step="s", outcome="throttled", retryable=True, retry_after=5, failed_at=1000.0 + DAY)
    assert decide(policy, attempts, failure, 1000.0) == Again(at=1005.0, provider="")


async def test_a_thread_that_waits_for_a_day_that_never_comes_goes_on_after_what_was_asked() -> None:
    graph = toy_graph(Policy(retries=2), word=Script()).copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "skewed"}}
    future = clock.now() + DAY
    decision = Decision(action="again", at=future + 0.2, made_at=future, provider="word")
    failure = Failure(step="word", outcome="throttled", retryable=True, failed_at=future, decision=decision)
    await graph.aupdate_state(config, {"text": "x", "failures": {"word": failure}}, as_node="word")
    async with asyncio.timeout(30):
        state = await graph.ainvoke(None, config)
    assert state["word"] == "X"


# --- jumps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_clock_that_jumps_an_hour_moves_no_deadline_and_no_wait(
    seconds: float, jump: Callable[[float], None]
) -> None:
    script = Script(lambda: _fail(jump, seconds), lambda: _fail(jump, seconds), "well")
    ticks: list[float] = []

    async def provider(inputs: Any, call: Any) -> Any:
        ticks.append(time.monotonic())
        return await script(inputs, call)

    graph = toy_graph(Policy(retries=2, backoff=fixed(0.3)), word=provider)
    async with asyncio.timeout(30):
        state = await graph.ainvoke({"text": "x"}, context=RunContext(deadline_s=60))
    assert state["word"] == "well"
    assert all(later - earlier >= 0.29 for earlier, later in itertools.pairwise(ticks))
    assert [a["outcome"] for a in state["attempts"] if a["step"] == "word"] == ["transient", "throttled", "ok"]


def _fail(jump: Callable[[float], None], seconds: float) -> Any:
    jump(seconds)
    failed.append(seconds)
    if len(failed) % 2:
        raise Transient("it broke")
    raise Throttled("too many", retry_after=0.3)


failed: list[float] = []


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_the_guard_in_memory_goes_by_what_has_passed_not_by_the_hosts_clock(
    seconds: float, jump: Callable[[float], None]
) -> None:
    guard = MemoryGuard(Limits(max_cost_per_day_microusd=100, open_s=100))
    with using_guard(guard):
        live = await guard.admit(request(60, thread="", model="another"))
        for _ in range(30):
            await guard.settle(await guard.admit(request(thread="")), settled(outcome="timeout"))
        jump(seconds)
        with pytest.raises(BreakerOpen) as caught:
            await guard.admit(request(thread=""))
        assert 10 < (caught.value.retry_after or 0) <= 37.5
        (report,) = await guard.caps()
        assert (report.reserved, report.unknown) == (60, 0)
        await guard.settle(live, settled(1))


HOST_TIME = {
    "nodes/clock.py": "it is where the time comes from",
    "nodes/call/prices.py": "prices change on a date, an hour is near enough",
    "surefoot/telemetry/queue.py": "spans are told in the host's time",
    "surefoot/testing/endpoint.py": "a server of its own",
    "surefoot/testing/faults.py": "a server of its own",
}
"""Modules that may ask for the host's time, and why."""


def test_nothing_is_written_down_in_the_hosts_time() -> None:
    asks = {
        str(path.relative_to(ROOT))
        for folder in ("state", "tasks", "nodes", "graphs", "surefoot")
        for path in (ROOT / folder).rglob("*.py")
        if "time.time()" in path.read_text()
    }
    assert asks <= set(HOST_TIME), "use nodes.clock.now(): hosts' clocks differ and jump"
