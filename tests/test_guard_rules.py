"""Each rule of the guard, in memory and in Valkey: who is admitted, who waits, who is refused and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from guard_tools import Kit, request, settled

from nodes import events
from nodes.call import Cap, Limits, Settlement, spending_cap
from nodes.call.front import GuardFront
from nodes.errors import (
    BreakerOpen,
    BudgetSpent,
    ConfigurationError,
    HedgesSpent,
    OverBudget,
    RetriesSpent,
    Runaway,
    Throttled,
    ThrottledLocally,
)


async def once(guard: GuardFront, settlement: Settlement | None = None, **asked: Any) -> float:
    """Send one request; return the time limit that it got."""
    admission = await guard.admit(request(**asked))
    await guard.settle(admission, settlement or settled())
    return admission.timeout_s


async def fail(guard: GuardFront, times: int, outcome: str = "transient", **asked: Any) -> None:
    for _ in range(times):
        await once(guard, settled(outcome=outcome), thread="", **asked)


async def test_an_admission_is_settled_once(kit: Kit) -> None:
    guard = kit.make(max_cost_per_day_microusd=100)
    with spending_cap(100) as budget:
        admission = await guard.admit(request(60))
        for _ in range(3):
            await guard.settle(admission, settled(20))
        assert (budget.spent_microusd, budget.reserved_microusd, guard.in_flight) == (20, 0, 0)
    await guard.admit(request(80))
    with pytest.raises(BudgetSpent):
        await kit.make(max_cost_per_day_microusd=100).admit(request(81))


# --- ledger ---------------------------------------------------------------------------------------------------------


async def test_a_settled_answer_is_replayed_and_not_charged_again(kit: Kit) -> None:
    kept = {"answer": {"text": "é", "p": -0.12345678901234567}, "cost": 7}
    await once(kit.make(), settled(7, answer=kept), call_id="c")
    with spending_cap(100) as budget:
        admission = await kit.make().admit(request(50, call_id="c"))
        assert admission.replay == kept
        assert (budget.spent_microusd, budget.reserved_microusd) == (0, 0)
    assert (await kit.make().admit(request(call_id="c", thread="another"))).replay is None
    kit.clock.now += 86_401
    assert (await kit.make().admit(request(call_id="c"))).replay is None


async def test_only_good_answers_are_kept_and_a_forgotten_thread_asks_anew(kit: Kit) -> None:
    guard = kit.make()
    await once(guard, settled(outcome="transient", answer={"cost": 1}), call_id="c")
    assert (await guard.admit(request(call_id="c"))).replay is None
    await once(guard, settled(answer={"cost": 1}), call_id="d")
    await guard.forget("t")
    assert (await guard.admit(request(call_id="d"))).replay is None


async def test_an_answer_that_came_with_no_request_is_kept_too(kit: Kit) -> None:
    guard = kit.make()
    assert await guard.recall("t", "part") is None
    await guard.keep("t", "part", {"answer": {"text": "é"}, "cost": 7})
    assert await kit.make().recall("t", "part") == {"answer": {"text": "é"}, "cost": 7}
    assert await guard.recall("u", "part") is None
    kit.clock.now += 86_401
    assert await guard.recall("t", "part") is None
    await guard.keep("t", "part", {"cost": 1})
    await guard.forget("t")
    assert await guard.recall("t", "part") is None


# --- halts ----------------------------------------------------------------------------------------------------------


async def test_a_refused_key_halts_its_models_then_one_probe_goes(kit: Kit) -> None:
    guard = kit.make()
    await once(guard, settled(outcome="permanent", halt="key", error="the key was refused"))
    for model in ("m", "other"):
        with pytest.raises(ConfigurationError, match="the key was refused"):
            await guard.admit(request(model=model))
    await guard.admit(request(key_id="another"))
    kit.clock.now += 31
    probe = await guard.admit(request())
    with pytest.raises(ConfigurationError):
        await guard.admit(request())
    await guard.settle(probe, settled())
    await guard.admit(request())


async def test_who_comes_anew_tries_a_halted_key_once(kit: Kit) -> None:
    await once(kit.make(), settled(outcome="permanent", halt="key", error="no"))
    mended = kit.make()
    await once(mended)
    await mended.admit(request())


# --- velocity -------------------------------------------------------------------------------------------------------


async def test_the_same_prompt_again_and_again_is_a_runaway(kit: Kit) -> None:
    guard = kit.make()
    for _ in range(12):
        await once(guard, prompt_hash="p")
    with pytest.raises(Runaway, match="12 times") as caught:
        await kit.make().admit(request(prompt_hash="p"))
    assert (caught.value.escalates, caught.value.retryable, caught.value.outcome) == (True, False, "over_budget")
    await guard.admit(request(prompt_hash="q"))
    await guard.admit(request(prompt_hash="p", thread="another"))
    kit.clock.now += 601
    await guard.admit(request(prompt_hash="p"))


async def test_spending_too_fast_is_a_runaway(kit: Kit) -> None:
    guard = kit.make()
    await once(guard, settled(1_000_001))
    with pytest.raises(Runaway, match=r"\$1\.000001 within a minute"):
        await guard.admit(request())
    await guard.admit(request(thread="another"))
    kit.clock.now += 66
    await guard.admit(request())


# --- retry budget ---------------------------------------------------------------------------------------------------


async def test_retries_are_earned_by_successes_and_a_retry_that_succeeds_earns_too(kit: Kit) -> None:
    limits = {"retry_reserve": 10, "retry_deposit": 0.5}
    guard = kit.make(**limits)
    for _ in range(10):
        await once(guard, settled(outcome="invalid_output"), retry=True)
    with pytest.raises(RetriesSpent) as caught:
        await guard.admit(request(retry=True))
    assert (caught.value.retryable, caught.value.outcome) == (False, "retry_budget_spent")
    await once(guard)
    await once(kit.make(**limits))
    await once(guard, retry=True)
    with pytest.raises(RetriesSpent):
        await guard.admit(request(retry=True))
    await guard.admit(request(retry=True, endpoint="elsewhere"))


@pytest.mark.parametrize(("rate", "most", "served"), [(0.3, 1.46, 0.985), (0.6, 2.6, 0.975), (1.0, 0.1, 0.0)])
async def test_an_outage_is_not_amplified_and_a_bad_day_gets_all_its_retries(
    kit: Kit, rate: float, most: float, served: float
) -> None:
    """As many retries as make 99 of 100 calls succeed; nothing waits, so a request that is held back comes again."""
    import random

    guard, dice, calls, sent, good = kit.make(queue_age_s=0), random.Random(3), 600, 0, 0
    for _ in range(calls):
        n = 0
        for _ in range(200):
            try:
                admission = await guard.admit(request(retry=n > 0, thread=""))
            except ThrottledLocally:
                continue
            except (RetriesSpent, BreakerOpen):
                break
            sent, n = sent + 1, n + 1
            bad = dice.random() < rate
            await guard.settle(admission, settled(outcome="transient" if bad else "ok"))
            good += not bad
            if not bad or n == {0.3: 4, 0.6: 9, 1.0: 4}[rate]:
                break
    assert sent / calls <= most
    assert good / calls >= served


# --- places ---------------------------------------------------------------------------------------------------------


async def waiting(guard: GuardFront, order: list[int], number: int, **asked: Any) -> None:
    admission = await guard.admit(request(**asked))
    order.append(number)
    await guard.settle(admission, settled())


async def test_waiters_go_in_their_order_and_are_woken(kit: Kit) -> None:
    guard, other = kit.make(concurrency=1), kit.make(concurrency=1)
    first = await guard.admit(request())
    order: list[int] = []
    tasks = []
    for number in range(6):
        tasks.append(asyncio.create_task(waiting((guard, other)[number % 2], order, number)))
        await asyncio.sleep(0.03)
    assert order == []
    began = asyncio.get_running_loop().time()
    await guard.settle(first, settled())
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]
    assert asyncio.get_running_loop().time() - began < 2.5


async def test_a_place_is_waited_for_no_longer_than_the_queue_allows(kit: Kit) -> None:
    guard = kit.make(concurrency=1, queue_age_s=0.05)
    await guard.admit(request())
    with pytest.raises(Throttled, match="no place"):
        await guard.admit(request())
    await guard.admit(request(endpoint="another"))


async def test_a_waiter_that_gives_up_leaves_the_line(kit: Kit) -> None:
    guard = kit.make(concurrency=1)
    first = await guard.admit(request())
    order: list[int] = []
    gone = asyncio.create_task(waiting(guard, order, 0))
    await asyncio.sleep(0.05)
    stays = asyncio.create_task(waiting(guard, order, 1))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await asyncio.sleep(0.02)
    await guard.settle(first, settled())
    await stays
    assert order == [1]


async def test_dead_waiters_and_dead_processes_give_their_places_back(kit: Kit) -> None:
    guard = kit.make(concurrency=1)
    await guard.admit(request(timeout_s=5))
    with pytest.raises(Throttled):
        await kit.make(concurrency=1, queue_age_s=0).admit(request())
    kit.clock.now += 35.1
    await guard.admit(request())


async def test_after_a_429_the_endpoint_is_left_alone_by_everybody(kit: Kit) -> None:
    guard = kit.make()
    await once(guard, settled(outcome="throttled", retry_after_s=20))
    kit.clock.now += 5
    with pytest.raises(Throttled) as caught:
        await kit.make().admit(request(model="another"))
    assert caught.value.retry_after == 15
    kit.clock.now += 15
    await once(guard, settled(outcome="throttled", retry_after_s=3600))
    with pytest.raises(Throttled) as caught:
        await guard.admit(request())
    assert caught.value.retry_after == 60


async def test_the_limit_adapts(kit: Kit) -> None:
    guard = kit.make(concurrency="auto", concurrency_start=2, concurrency_max=3, queue_age_s=0)
    seen: list[events.Event] = []

    async def places() -> int:
        held = []
        while True:
            try:
                held.append(await guard.admit(request()))
            except Throttled:
                break
        for admission in held:
            await guard.settle(admission, settled(outcome="cancelled"))
        return len(held)

    with events.listening(seen.append):
        assert await places() == 2
        for _ in range(2):
            await once(guard)
        assert await places() == 3
        for _ in range(10):
            await once(guard)
        assert await places() == 3
        kit.clock.now += 1
        burst = [await guard.admit(request()) for _ in range(3)]
        for admission in burst:
            await guard.settle(admission, settled(outcome="throttled"))
        assert await places() == 2
    changes = [(e.before, e.after) for e in seen if isinstance(e, events.LimitChanged)]
    assert changes == [(2, 3), (3, 2)]


# --- money ----------------------------------------------------------------------------------------------------------


async def test_the_caps_of_a_day_hold_for_everybody_and_end_with_it(kit: Kit) -> None:
    caps = {"max_cost_per_day_microusd": 100, "max_cost_per_tenant_day_microusd": 60}
    guard = kit.make(**caps)
    await once(guard, settled(50), worst=50, tenant="a")
    with pytest.raises(BudgetSpent, match=r"the tenant's cap of the day is \$0\.00006.*SUREFOOT_MAX_COST_PER_TENANT"):
        await kit.make(**caps).admit(request(11, tenant="a"))
    await once(guard, settled(40), worst=40, tenant="b")
    with pytest.raises(BudgetSpent, match=r"the day's cap is \$0\.0001.*SUREFOOT_MAX_COST_PER_DAY_USD"):
        await guard.admit(request(11, tenant="c"))
    await guard.admit(request(0, tenant="a"))
    kit.clock.now += 86_400
    await guard.admit(request(60, tenant="a"))


async def test_reserved_out_waits_and_is_woken(kit: Kit) -> None:
    caps = {"max_cost_per_day_microusd": 100}
    guard, other = kit.make(**caps), kit.make(**caps)
    first = await guard.admit(request(70))
    task = asyncio.create_task(other.admit(request(70)))
    await asyncio.sleep(0.1)
    assert not task.done()
    await guard.settle(first, settled(20))
    await other.settle(await task, settled(70))
    await guard.admit(request(9))
    with pytest.raises(Throttled, match="cap of the day is reserved"):
        await kit.make(**caps, queue_age_s=0).admit(request(9))


async def test_a_dead_process_has_spent_what_it_reserved_until_it_tells_better(kit: Kit) -> None:
    caps = {"max_cost_per_day_microusd": 100}
    guard = kit.make(**caps)
    lost = await guard.admit(request(60, timeout_s=5))
    kit.clock.now += 36
    with pytest.raises(BudgetSpent):
        await guard.admit(request(41))
    await guard.settle(lost, settled(10))
    await guard.admit(request(90))


async def test_what_the_shared_guard_refuses_is_given_back_to_the_command(kit: Kit) -> None:
    guard = kit.make(max_cost_per_day_microusd=10)
    with spending_cap(100) as budget:
        with pytest.raises(BudgetSpent):
            await guard.admit(request(50, caps=(Cap("step", "step:t:s", 60, 0),)))
        assert (budget.reserved_microusd, budget.spent_microusd) == (0, 0)
        await guard.admit(request(10, caps=(Cap("step", "step:t:s", 60, 0),)))
        with pytest.raises(OverBudget):
            await guard.admit(request(51, caps=(Cap("step", "step:t:s", 60, 0),)))


async def test_a_cancelled_request_leaves_nothing_admitted(kit: Kit) -> None:
    guard = kit.make(max_cost_per_day_microusd=100, concurrency=1)
    for pause in (0.0, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(guard.admit(request(100)))
        await asyncio.sleep(pause)
        task.cancel()
        done = (await asyncio.gather(task, return_exceptions=True))[0]
        if not isinstance(done, BaseException):
            await guard.settle(done, settled(0))
    await guard.settle(await guard.admit(request(100)), settled(0))


# --- timeouts -------------------------------------------------------------------------------------------------------


async def test_timeouts_are_learned_between_floor_and_ceiling(kit: Kit) -> None:
    guard = kit.make()
    for _ in range(50):
        assert await once(guard, settled(latency_s=4.0), timeout_s=30) == 30
        kit.clock.now += 0.1
    kit.clock.now += 1
    await once(guard, settled(latency_s=4.0), timeout_s=30)
    assert await once(guard, timeout_s=30) == pytest.approx(6.0, rel=0.03)
    assert await once(guard, timeout_s=30, max_tokens=4000) == 30, "longer answers are another kind"
    assert await once(guard, timeout_s=30, step="another") == 30
    assert await once(guard, timeout_s=30, ceiling_s=5.5) == 5.5
    assert (await guard.admit(request(timeout_s=30))).p95_s == pytest.approx(4.0, rel=0.03)


async def test_fast_calls_get_the_floor(kit: Kit) -> None:
    guard = kit.make()
    for _ in range(52):
        await once(guard, settled(latency_s=0.01))
        kit.clock.now += 0.1
    assert await once(guard) == Limits().timeout_floor_s


async def test_timeouts_in_a_row_raise_the_next_until_successes_bring_the_percentile_up(kit: Kit) -> None:
    guard = kit.make()
    for _ in range(61):
        await once(guard, settled(latency_s=2.0), timeout_s=20)
        kit.clock.now += 0.1
    limits = [await once(guard, settled(outcome="timeout"), timeout_s=20) for _ in range(5)]
    assert limits[:4] == pytest.approx([3, 6, 12, 24], rel=0.03)
    assert limits[4] == 40


# --- hedges and events ----------------------------------------------------------------------------------------------


async def test_second_requests_have_a_budget_of_their_own(kit: Kit) -> None:
    guard = kit.make()
    await once(guard, hedge=True, retry=True)
    with pytest.raises(HedgesSpent):
        await guard.admit(request(hedge=True, retry=True))
    for _ in range(20):
        await once(guard)
    await once(guard, hedge=True, retry=True)


async def test_everything_is_told(kit: Kit) -> None:
    guard = kit.make(retry_reserve=1, retry_deposit=0.2)
    seen: list[events.Event] = []
    with events.listening(seen.append):
        await once(guard, settled(3), worst=5)
        await once(guard, settled(outcome="transient"), retry=True)
        with pytest.raises(RetriesSpent):
            await guard.admit(request(retry=True))
        for _ in range(5):
            await once(guard, settled(answer={"cost": 0}), call_id="c", thread="u")
        await guard.admit(request(call_id="c", thread="u"))
        for _ in range(4):
            await once(guard)
        for admission in [await guard.admit(request(model="n", thread="")) for _ in range(30)]:
            await guard.settle(admission, settled(outcome="transient"))
    told = [type(event).__name__ for event in seen]
    assert set(told) == {
        "CallAdmitted", "CallSettled", "CallRefused", "CallReplayed", "RetryBudgetChanged", "BreakerChanged",
    }  # fmt: skip
    assert [e.empty for e in seen if isinstance(e, events.RetryBudgetChanged)] == [True, False]
    first = seen[0]
    assert isinstance(first, events.CallAdmitted)
    assert events.place_of(first) == ("127.0.0.1:1", "m", "s", "t")
    assert (first.reserved_microusd, first.timeout_ms) == (5, 5000)
