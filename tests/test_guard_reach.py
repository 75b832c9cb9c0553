"""Which failures count against an endpoint: no connection at all, or every item rejected; and never a few bad items."""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import Any

import pytest
from guard_tools import Kit, kit_of, request, settled

from nodes.call import Settlement
from nodes.call.front import GuardFront
from nodes.call.guard import Admission
from nodes.errors import BreakerOpen, CallError, EndpointDown, EndpointLost

REFUSED: dict[str, Any] = {"outcome": "transient", "connected": False}


async def send(guard: GuardFront, settlement: Settlement, **asked: Any) -> Admission:
    admission = await guard.admit(request(**({"thread": ""} | asked)))
    await guard.settle(admission, settlement)
    return admission


async def unconnected(guard: GuardFront, times: int, **asked: Any) -> None:
    for _ in range(times):
        await send(guard, settled(**REFUSED), **asked)


async def rejected(guard: GuardFront, items: range, **asked: Any) -> None:
    for number in items:
        named = {"thread": f"t{number}", "prompt_hash": f"p{number}"}
        await send(guard, settled(outcome="permanent"), **(named | asked))


# --- no connection --------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_never_answered_is_given_up_after_five_connections_that_failed(kit: Kit) -> None:
    guard, other = kit.make(), kit.make()
    await unconnected(other, 1)
    await unconnected(guard, 3)
    await unconnected(guard, 1, model="another")
    for model in ("m", "another"):
        with pytest.raises(EndpointDown, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
            await other.admit(request(model=model))
        assert not caught.value.retryable, "there is nothing to wait for"
    await guard.admit(request(endpoint="elsewhere"))


async def test_it_is_tried_again_every_few_seconds_and_one_answer_opens_it_for_everybody(kit: Kit) -> None:
    guard, waits = kit.make(), []
    await unconnected(guard, 5)
    for _ in range(5):
        with pytest.raises(EndpointDown) as caught:
            await guard.admit(request())
        waits.append(caught.value.retry_after)
        kit.clock.now += caught.value.retry_after or 0
        probe = await send(guard, settled(**REFUSED))
        assert probe.probe
    assert waits == [1, 2, 4, 5, 5]
    kit.clock.now += 5
    # A bad answer is an answer: the connection was made.
    await send(guard, settled(outcome="permanent"))
    assert not (await kit.make().admit(request())).probe


async def test_probes_need_no_retry_budget_and_one_that_hangs_does_not_hold_up_the_next(kit: Kit) -> None:
    guard = kit.make(retry_reserve=0)
    await unconnected(guard, 5)
    kit.clock.now += 1
    hangs = await guard.admit(request(retry=True))
    with pytest.raises(EndpointDown):
        await guard.admit(request())
    kit.clock.now += 1
    await send(guard, settled(), retry=True)
    await guard.admit(request())
    await guard.settle(hangs, settled(**REFUSED))
    await guard.admit(request())


async def test_who_comes_anew_tries_at_once_and_what_is_old_is_forgotten(kit: Kit) -> None:
    guard = kit.make()
    await unconnected(guard, 5)
    mended = kit.make()
    assert (await mended.admit(request())).probe, "perhaps it has just been started"
    with pytest.raises(EndpointDown):
        await mended.admit(request())
    kit.clock.now += 120
    assert not (await guard.admit(request())).probe, "a crowd after a pause is no crowd at a dead endpoint"
    kit.clock.now += 120
    await rejected(guard, range(20), endpoint="other")
    with pytest.raises(EndpointDown):
        await guard.admit(request(endpoint="other"))
    assert (await kit.make().admit(request(endpoint="other"))).probe
    kit.clock.now += 120
    assert not (await guard.admit(request(endpoint="other"))).probe


async def test_one_that_answered_a_moment_ago_is_waited_for_then_given_up(kit: Kit) -> None:
    guard = kit.make()
    await send(guard, settled())
    await unconnected(guard, 19)
    await unconnected(guard, 1)
    with pytest.raises(EndpointLost, match="answered a moment ago") as caught:
        await guard.admit(request())
    assert (caught.value.retryable, caught.value.retry_after) == (True, 5)
    for _ in range(30):
        kit.clock.now += 2
        try:
            await unconnected(guard, 1)
        except BreakerOpen:
            continue
    with pytest.raises(EndpointDown):
        await guard.admit(request())


async def test_connections_that_fail_at_once_are_no_verdict_while_older_requests_are_under_way(kit: Kit) -> None:
    guard = kit.make()
    burst = [await guard.admit(request(thread="")) for _ in range(50)]
    for admission in burst[:45]:
        await guard.settle(admission, settled(**REFUSED))
    more = [await guard.admit(request(thread="")) for _ in range(45)]
    for admission in more:
        await guard.settle(admission, settled(**REFUSED))
    await guard.settle(burst[45], settled())
    await guard.admit(request())
    for admission in burst[46:]:
        await guard.settle(admission, settled(outcome="timeout"))
    await guard.admit(request())


async def test_timeouts_and_cancellations_do_not_tell_whether_a_connection_was_made(kit: Kit) -> None:
    guard = kit.make()
    await unconnected(guard, 4)
    for outcome in ("timeout", "cancelled"):
        await send(guard, settled(outcome=outcome))
    await unconnected(guard, 1)
    with pytest.raises(EndpointDown):
        await guard.admit(request())


async def test_dead_processes_hold_up_no_verdict_for_longer_than_their_lease(kit: Kit) -> None:
    guard = kit.make()
    await guard.admit(request(timeout_s=5))
    await unconnected(guard, 9)
    await guard.admit(request(thread="", timeout_s=5))
    kit.clock.now += 36
    await unconnected(guard, 1)
    with pytest.raises(EndpointDown):
        await guard.admit(request())


async def test_a_servers_clock_that_is_set_back_keeps_nobody_waiting(kit: Kit) -> None:
    guard = kit.make()
    await unconnected(guard, 5)
    for _ in range(30):
        await send(guard, settled(outcome="timeout"), endpoint="breaks")
    await send(guard, settled(outcome="throttled", retry_after_s=20), endpoint="rests")
    for endpoint in ("127.0.0.1:1", "breaks", "rests"):
        with pytest.raises(CallError):
            await guard.admit(request(endpoint=endpoint))
    kit.clock.now -= 3600
    for endpoint in ("127.0.0.1:1", "breaks", "rests"):
        await send(guard, settled(), endpoint=endpoint)


# --- everything rejected --------------------------------------------------------------------------------------------


async def test_an_endpoint_that_rejects_every_item_is_given_up_and_tried_again_soon(kit: Kit) -> None:
    guard, other = kit.make(), kit.make()
    await rejected(other, range(1))
    await rejected(guard, range(1, 20))
    with pytest.raises(EndpointDown, match="rejects every request to m") as caught:
        await other.admit(request())
    assert (caught.value.retryable, caught.value.retry_after) == (False, 1)
    await guard.admit(request(model="another"))
    kit.clock.now += 1
    await rejected(guard, range(20, 21))
    with pytest.raises(EndpointDown) as caught:
        await guard.admit(request())
    assert caught.value.retry_after == 2
    kit.clock.now += 2
    assert (await send(guard, settled())).probe
    await rejected(guard, range(40))
    await guard.admit(request())


@pytest.mark.parametrize("bad", [{"thread": "t"}, {"prompt_hash": "p"}, {"thread": ""}])
async def test_one_bad_item_or_one_bad_prompt_counts_once_however_often_it_is_sent(
    kit: Kit, bad: dict[str, str]
) -> None:
    guard = kit.make(same_call=100)
    await rejected(guard, range(60), **({"prompt_hash": ""} if bad == {"thread": ""} else {}) | bad)
    await guard.admit(request())


async def test_an_accepted_item_among_bad_ones_ends_the_row(kit: Kit) -> None:
    guard = kit.make()
    for first in range(0, 200, 20):
        await rejected(guard, range(first, first + 19))
        await send(guard, settled(outcome="invalid_output"))
    await rejected(guard, range(200, 249))
    await send(guard, settled(outcome="throttled"))
    await rejected(guard, range(249, 250))
    with pytest.raises(EndpointDown):
        await guard.admit(request())


async def test_bad_items_that_are_rejected_at_once_open_nothing_beside_good_ones_that_take_time(kit: Kit) -> None:
    guard = kit.make()
    good = [await guard.admit(request(thread=f"g{number}")) for number in range(5)]
    await rejected(guard, range(45))
    await guard.admit(request(thread=""))
    for admission in good:
        await guard.settle(admission, settled())
    await rejected(guard, range(45, 80))
    await guard.admit(request(thread=""))


async def test_a_refused_key_is_a_halt_and_no_rejected_item(kit: Kit) -> None:
    guard = kit.make()
    for number in range(40):
        kit.clock.now += 31
        await send(guard, settled(outcome="permanent", halt="model", error="no"), prompt_hash=f"p{number}")
    kit.clock.now += 31
    await guard.admit(request())


# --- who has patience waits ------------------------------------------------------------------------------------------


async def settle_while_they_wait(guard: GuardFront, waiters: list[asyncio.Task[Admission]]) -> list[Admission]:
    """Return the admissions of waiters in the order in which they are let through, each answered at once."""
    order: list[Admission] = []
    async with asyncio.timeout(30):
        while waiters:
            done, _ = await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in waiters if task in done]:
                waiters.remove(task)
                order.append(task.result())
                await guard.settle(task.result(), settled())
    return order


async def known(kit: Kit) -> GuardFront:
    """Return a guard whose endpoint answered a while ago."""
    guard = kit.make()
    await guard.settle(await guard.admit(request(thread="known")), settled())
    kit.clock.now += 61
    return guard


async def test_an_address_that_was_never_reached_is_not_waited_for_with_patience_either(kit: Kit) -> None:
    guard = kit.make()
    await unconnected(guard, 5)
    with pytest.raises(EndpointDown, match="cannot be reached"):
        await guard.admit(request(timeout_s=20, patience_s=600))


@pytest.mark.parametrize("how", ["unreachable", "rejects"])
async def test_patient_requests_wait_until_the_endpoint_is_back_and_the_others_are_refused(kit: Kit, how: str) -> None:
    guard = await known(kit)
    await (unconnected(guard, 5) if how == "unreachable" else rejected(guard, range(20)))
    waiters = []
    for number in range(8):
        asked = request(thread=f"w{number}", prompt_hash="", patience_s=60)
        waiters.append(asyncio.create_task(guard.admit(asked)))
        await asyncio.sleep(0.02)
    with pytest.raises(EndpointDown):
        await guard.admit(request())
    assert not any(waiter.done() for waiter in waiters)
    kit.clock.now += 2
    order = await settle_while_they_wait(guard, waiters)
    assert len(order) == 8
    assert sum(admission.probe for admission in order) == 1, "one finds out for all others"
    await guard.admit(request())


@pytest.mark.parametrize("how", ["unreachable", "rejects"])
async def test_when_patience_ends_the_refusal_says_what_was_waited_for(kit: Kit, how: str) -> None:
    guard = await known(kit)
    await (unconnected(guard, 5) if how == "unreachable" else rejected(guard, range(20)))
    with pytest.raises(EndpointDown, match="cannot be reached" if how == "unreachable" else "rejects every request"):
        await guard.admit(request(timeout_s=0.1, patience_s=0.4))
    with pytest.raises(EndpointDown):
        await guard.admit(request(timeout_s=20, patience_s=0.4))


# --- nobody who answers is cut off ----------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {"unconnected": REFUSED, "rejected": {"outcome": "permanent"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8])
async def test_fifty_side_by_side_with_fast_failures_beside_slow_answers_cut_nothing_off(
    kind: str, rate: float
) -> None:
    """2,000 items, each sent once; failures take 5 ms and answers a second."""
    async with kit_of("memory") as kit:
        guard, dice, cut = kit.make(), random.Random(11), 0
        under_way: list[tuple[float, int, Admission, Settlement]] = []
        for number in range(2_000):
            while len(under_way) >= 50:
                at, _, admission, ends = heapq.heappop(under_way)
                kit.clock.now = max(kit.clock.now, at)
                await guard.settle(admission, ends)
            try:
                admission = await guard.admit(request(thread=f"t{number}", prompt_hash=f"p{number}"))
            except CallError:
                cut += 1
                continue
            bad = dice.random() < rate
            ends = settled(**KINDS[kind]) if bad else settled()
            heapq.heappush(under_way, (kit.clock.now + (0.005 if bad else 1.0), number, admission, ends))
        assert cut == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_one_after_another_at_half_of_the_requests_nothing_is_cut_off_for_longer_than_a_second(kind: str) -> None:
    async with kit_of("memory") as kit:
        dice, longest = random.Random(5), 0.0
        for story in range(200):
            guard, cut_at = kit.make(), None
            kit.clock.now += 100_000
            for number in range(100):
                kit.clock.now += 0.05
                named = {"thread": f"{story}-{number}", "prompt_hash": f"{story}-{number}"}
                try:
                    admission = await guard.admit(request(endpoint=f"e{story}", **named))
                except CallError:
                    cut_at = cut_at or kit.clock.now
                    continue
                longest = max(longest, kit.clock.now - cut_at if cut_at else 0.0)
                bad = dice.random() < 0.5
                cut_at = cut_at if bad else None
                await guard.settle(admission, settled(**KINDS[kind]) if bad else settled())
                if not bad:
                    cut_at = None
                elif admission.probe:
                    # The next probe comes later, and is a wait of its own.
                    cut_at = kit.clock.now
        assert longest <= 5.05
