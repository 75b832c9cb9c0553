"""Admission and settlement: no cap is ever exceeded, nothing is settled twice, nobody waits for ever."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.bridge import run_sync
from nodes.call import Admission, Cap, MemoryGuard, Request, Settlement, spending_cap
from nodes.call.budget import Ledger
from nodes.call.hold import usd
from nodes.errors import BudgetSpent, ConfigurationError, OverBudget, Throttled


def request(worst: int, *, timeout_s: float = 5.0, caps: tuple[Cap, ...] = (), **changes: Any) -> Request:
    fields: dict[str, Any] = {
        "endpoint": "127.0.0.1:1", "model": "m", "key_id": "k", "step": "s", "thread": "t", "tenant": "",
    }  # fmt: skip
    return Request(**(fields | changes), worst_microusd=worst, timeout_s=timeout_s, caps=caps)


def settled(cost: int, **changes: Any) -> Settlement:
    fields: dict[str, Any] = {"outcome": "ok", "latency_s": 0.1}
    return Settlement(cost_microusd=cost, **(fields | changes))


def step_cap(limit: int, spent: int = 0, key: str = "step:t:s") -> tuple[Cap, ...]:
    return (Cap("step", key, limit, spent),)


async def test_everything_that_crosses_the_seam_is_plain_data() -> None:
    guard = MemoryGuard()
    admission = await guard.admit(request(5, caps=step_cap(10)))
    assert json.loads(json.dumps(asdict(admission)))["request"]["caps"][0]["limit_microusd"] == 10
    json.dumps(asdict(settled(3)))


async def test_the_timeout_is_handed_out() -> None:
    assert (await MemoryGuard().admit(request(5, timeout_s=7.5))).timeout_s == 7.5


async def test_settling_twice_counts_once() -> None:
    guard = MemoryGuard()
    with spending_cap(100) as budget:
        admission = await guard.admit(request(60))
        assert budget.reserved_microusd == 60
        for _ in range(3):
            await guard.settle(admission, settled(20))
        assert (budget.spent_microusd, budget.reserved_microusd, guard.in_flight) == (20, 0, 0)


async def test_an_unknown_admission_is_nothing() -> None:
    guard = MemoryGuard()
    with spending_cap(100) as budget:
        await guard.settle(Admission("never", request(5), 1.0, 5), settled(5))
        assert budget.spent_microusd == 0


async def test_spent_out_stops_and_reserved_out_waits() -> None:
    guard = MemoryGuard()
    with spending_cap(100) as budget:
        first = await guard.admit(request(70))
        waiting = asyncio.create_task(guard.admit(request(70)))
        await asyncio.sleep(0)
        assert not waiting.done()
        await guard.settle(first, settled(20))
        second = await waiting
        await guard.settle(second, settled(70))
        with pytest.raises(BudgetSpent, match=r"may spend \$0\.0001 and has spent \$0\.00009"):
            await guard.admit(request(11))
        assert budget.spent_microusd == 90


async def test_reserved_out_for_too_long_is_throttled() -> None:
    guard = MemoryGuard()
    with spending_cap(100):
        await guard.admit(request(70))
        with pytest.raises(Throttled):
            await guard.admit(request(70, timeout_s=0.05))


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    guard = MemoryGuard()
    with spending_cap(100) as budget:
        first = await guard.admit(request(70))
        waiting = asyncio.create_task(guard.admit(request(70)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await guard.settle(first, settled(0))
        assert (budget.reserved_microusd, guard.in_flight) == (0, 0)


async def test_a_free_call_is_never_refused_by_budgets() -> None:
    guard = MemoryGuard()
    with spending_cap(0):
        await guard.admit(request(0, caps=step_cap(0)))
        with pytest.raises(BudgetSpent):
            await guard.admit(request(1))


async def test_without_a_cap_there_is_no_limit() -> None:
    await MemoryGuard().admit(request(10**15))


async def test_a_cap_of_none_counts() -> None:
    guard = MemoryGuard()
    with spending_cap(None) as budget:
        await guard.settle(await guard.admit(request(10**12)), settled(7))
        assert budget.spent_microusd == 7


async def test_a_cap_inside_a_cap_counts_in_both() -> None:
    guard = MemoryGuard()
    with spending_cap(100) as outer:
        with spending_cap(1000) as inner:
            await guard.settle(await guard.admit(request(60)), settled(60))
            with pytest.raises(BudgetSpent):
                await guard.admit(request(60))
        assert (outer.spent_microusd, inner.spent_microusd) == (60, 60)


async def test_step_and_run_caps() -> None:
    guard = MemoryGuard()
    with pytest.raises(OverBudget, match=r"its step has \$0\.000005 left of \$0\.0001"):
        await guard.admit(request(6, caps=step_cap(100, spent=95)))
    run = (*step_cap(100), Cap("run", "run:t", 10, 8))
    with pytest.raises(OverBudget, match="its run has"):
        await guard.admit(request(6, caps=run))


async def test_calls_side_by_side_share_what_the_state_does_not_know_yet() -> None:
    guard = MemoryGuard()
    first = await guard.admit(request(60, caps=step_cap(100, spent=0)))
    with pytest.raises(OverBudget):
        await guard.admit(request(60, caps=step_cap(100, spent=0)))
    await guard.settle(first, settled(30))
    second = await guard.admit(request(60, caps=step_cap(100, spent=0)))
    await guard.settle(second, settled(40))
    with pytest.raises(OverBudget):
        await guard.admit(request(60, caps=step_cap(100, spent=0)))
    # The next checkpoint tells the sum: it is not counted on top of what the guard has seen.
    await guard.admit(request(30, caps=step_cap(100, spent=70)))


def test_the_ledger_forgets_threads_that_are_long_gone() -> None:
    ledger = Ledger()
    for i in range(10_050):
        ledger.reserve(f"run:{i}", 0, 1)
    assert ledger.used("run:0", 0) == 0
    assert ledger.used("run:10049", 0) == 1


async def test_a_refused_key_halts_everything_under_it_then_one_probe_goes() -> None:
    now = [0.0]
    guard = MemoryGuard(clock=lambda: now[0])
    first = await guard.admit(request(1))
    await guard.settle(first, settled(0, outcome="permanent", halt="key", error="the key was refused"))
    for model in ("m", "other"):
        with pytest.raises(ConfigurationError, match="the key was refused"):
            await guard.admit(request(1, model=model))
    await guard.admit(request(1, key_id="another key"))
    now[0] = 31.0
    probe = await guard.admit(request(1))
    with pytest.raises(ConfigurationError):
        await guard.admit(request(1))
    await guard.settle(probe, settled(1))
    await guard.admit(request(1))


async def test_a_missing_model_halts_only_itself() -> None:
    guard = MemoryGuard()
    first = await guard.admit(request(1))
    await guard.settle(first, settled(0, outcome="permanent", halt="model", error="no such model"))
    with pytest.raises(ConfigurationError, match="no such model"):
        await guard.admit(request(1))
    await guard.admit(request(1, model="other"))


async def test_a_lost_probe_is_followed_by_another() -> None:
    now = [0.0]
    guard = MemoryGuard(clock=lambda: now[0])
    await guard.settle(await guard.admit(request(1)), settled(0, outcome="permanent", halt="key", error="no"))
    now[0] = 31.0
    await guard.admit(request(1))
    now[0] = 62.0
    await guard.admit(request(1))


@given(
    cap=st.integers(0, 400),
    calls=st.lists(st.tuples(st.integers(0, 150), st.floats(0, 1)), max_size=25),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_no_order_of_events_exceeds_the_cap(cap: int, calls: list[tuple[int, float]], seed: int) -> None:
    guard, dice = MemoryGuard(), random.Random(seed)

    async def one(worst: int, share: float) -> int:
        try:
            admission = await guard.admit(request(worst))
        except (BudgetSpent, Throttled):
            return 0
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        cost = int(worst * share)
        await asyncio.gather(guard.settle(admission, settled(cost)), guard.settle(admission, settled(cost)))
        return cost

    async def scenario() -> None:
        with spending_cap(cap) as budget:
            costs = await asyncio.gather(*(one(worst, share) for worst, share in calls))
            assert budget.spent_microusd == sum(costs) <= cap
            assert budget.reserved_microusd == guard.in_flight == 0

    asyncio.run(scenario())


def test_threads_and_loops_share_one_budget() -> None:
    """Half of the calls run on the background loop, half on loops of their own; no primitive belongs to one loop."""
    guard = MemoryGuard()
    admitted: list[int] = []

    async def many() -> None:
        async def one() -> None:
            try:
                admission = await guard.admit(request(10))
            except BudgetSpent:
                return
            await asyncio.sleep(0)
            await guard.settle(admission, settled(10))
            admitted.append(10)

        await asyncio.gather(*(one() for _ in range(40)))

    with spending_cap(500) as budget:
        import contextvars

        threads = []
        for i in range(6):
            work = (lambda: run_sync(many())) if i % 2 else (lambda: asyncio.run(many()))
            threads.append(threading.Thread(target=contextvars.copy_context().run, args=(work,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert budget.spent_microusd == sum(admitted) == 500
        assert budget.reserved_microusd == 0


@pytest.mark.parametrize(("amount", "text"), [(0, "$0.00"), (1, "$0.000001"), (250_000, "$0.25"), (1_000_000, "$1.00")])
def test_money_for_people(amount: int, text: str) -> None:
    assert usd(amount) == text
