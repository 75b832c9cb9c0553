"""Throttle and circuit breaker, in memory and in Valkey: who is held back, who is cut off, and for how long."""

from __future__ import annotations

import heapq
import itertools
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from guard_tools import Kit, request, settled
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes import events
from nodes.call import Admission, Limits, memory_admit, memory_settle
from nodes.call.front import GuardFront
from nodes.call.memory_state import Shared
from nodes.errors import BreakerOpen, ThrottledLocally


async def end(guard: GuardFront, admission: Admission, outcome: str = "ok", **more: Any) -> None:
    await guard.settle(admission, settled(outcome=outcome, **more))


async def begin(guard: GuardFront, **asked: Any) -> Admission:
    return await guard.admit(request(**{"thread": "", **asked}))


async def fail(guard: GuardFront, times: int, outcome: str = "transient", error: str = "", **asked: Any) -> None:
    """Let requests fail that began together: the throttle counts those under way as accepted."""
    for admission in [await begin(guard, **asked) for _ in range(times)]:
        await end(guard, admission, outcome, error=error)


async def test_an_endpoint_that_accepts_nothing_is_cut_off_with_its_cause_then_probed_one_at_a_time(kit: Kit) -> None:
    guard = kit.make()
    await fail(guard, 30, error="127.0.0.1:1 answered 500: upstream overloaded")
    with pytest.raises(BreakerOpen, match=r"30 of the last 30 requests failed, last: .* 500: upstream ov") as caught:
        await begin(kit.make())
    assert 0.25 <= (caught.value.retry_after or 0) <= 0.75
    await begin(guard, model="another")
    kit.clock.now += 0.75
    probe = await begin(guard)
    assert probe.probe
    with pytest.raises(BreakerOpen):
        await begin(kit.make())
    await end(guard, probe)
    assert not (await begin(guard)).probe


async def test_probes_go_on_steadily(kit: Kit) -> None:
    guard = kit.make()
    await fail(guard, 30, "timeout")
    waits = []
    for _ in range(12):
        with pytest.raises(BreakerOpen) as caught:
            await begin(guard)
        waits.append(caught.value.retry_after or 0)
        kit.clock.now += waits[-1] + 0.001
        await fail(guard, 1)
    assert all(1 <= wait <= 3 for wait in waits[1:])
    assert len(set(waits)) > 1


async def test_wrong_requests_among_good_ones_hold_nobody_back(kit: Kit) -> None:
    guard = kit.make(queue_age_s=0)
    for _ in range(20):
        await fail(guard, 20, "permanent")
        await fail(guard, 1, "ok")
    await begin(guard)


@pytest.mark.parametrize("outcome", ["throttled", "invalid_output", "cancelled", "truncated", "permanent"])
async def test_what_does_not_speak_against_an_endpoint_opens_nothing(kit: Kit, outcome: str) -> None:
    guard = kit.make(queue_age_s=0)
    await fail(guard, 60, outcome)
    await begin(guard)


async def test_fast_failures_of_a_burst_are_no_verdict_while_slower_answers_are_under_way(kit: Kit) -> None:
    guard = kit.make(queue_age_s=0)
    burst = [await begin(guard) for _ in range(50)]
    for admission in burst[1:]:
        await end(guard, admission, "transient")
    for _ in range(50):
        with suppress(ThrottledLocally):
            await end(guard, await begin(guard), "transient")
    # The first of them still may be accepted, and is: nothing was cut off.
    await end(guard, burst[0])
    kit.clock.now += 31
    assert not (await begin(guard)).probe


async def test_what_was_under_way_before_the_breaker_closed_is_old_news(kit: Kit) -> None:
    guard = kit.make()
    row, before = [[await begin(guard) for _ in range(n)] for n in (30, 40)]
    for admission in row:
        await end(guard, admission, "transient")
    kit.clock.now += 1
    await end(guard, await begin(guard))
    for admission in before:
        await end(guard, admission, "transient")
    await begin(guard)


async def test_an_answer_that_began_after_the_failures_closes_the_breaker(kit: Kit) -> None:
    guard = kit.make()
    row = [await begin(guard) for _ in range(30)]
    late = await begin(guard)
    for admission in row:
        await end(guard, admission, "transient")
    with pytest.raises(BreakerOpen):
        await begin(guard)
    await end(guard, late)
    assert not (await begin(guard)).probe


async def test_a_lost_probe_frees_itself_and_its_failure_puts_off_nobody(kit: Kit) -> None:
    guard = kit.make()
    await fail(guard, 30)
    kit.clock.now += 1
    lost = await begin(guard, timeout_s=5)
    kit.clock.now += 9.9
    with pytest.raises(BreakerOpen):
        await begin(guard)
    kit.clock.now += 0.2
    second = await begin(guard, timeout_s=5)
    assert second.probe
    await end(guard, lost, "transient")
    with pytest.raises(BreakerOpen) as caught:
        await begin(guard)
    assert caught.value.retry_after == 1.0, "the second probe is under way"
    await end(guard, second)
    assert not (await begin(guard)).probe


async def test_half_of_the_requests_may_fail_and_nobody_is_held_back(kit: Kit) -> None:
    guard = kit.make(queue_age_s=0)
    for n in range(200):
        await fail(guard, 1, "transient" if n % 2 else "ok")


async def test_an_endpoint_that_refuses_most_is_throttled_in_proportion_with_the_cause(kit: Kit) -> None:
    guard, held = kit.make(queue_age_s=0), list[ThrottledLocally]()
    for n in range(400):
        try:
            await fail(guard, 1, "ok" if n % 4 == 0 else "transient", error="it answered 503")
        except ThrottledLocally as error:
            held.append(error)
        kit.clock.now += 0.05
    assert 100 < len(held) < 300
    assert {(e.outcome, e.retryable) for e in held} == {("throttled_locally", True)}
    assert all(re.search("of the last .* failed, last: it answered 503", str(e)) for e in held)


async def test_everything_is_published(kit: Kit) -> None:
    seen: list[events.Event] = []
    guard = kit.make()
    with events.listening(seen.append):
        await fail(guard, 30)
        kit.clock.now += 1
        await end(guard, await begin(guard))
    changes = [(e.before, e.after) for e in seen if isinstance(e, events.BreakerChanged)]
    assert changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


@dataclass(order=True)
class Due:
    at: int
    number: int
    act: Callable[[], None] = field(compare=False)


class World:
    """An endpoint and its callers in virtual time: failures and latencies by dice, the rules of the guard between."""

    def __init__(self, seed: int, accepts: Callable[[int, random.Random], bool], callers: int, fast_ms: int,
                 slow_ms: int) -> None:  # fmt: skip
        self.dice, self.accepts, self.fast_ms, self.slow_ms = random.Random(seed), accepts, fast_ms, slow_ms
        self.shared, self.limits, self.now, self.numbers = Shared(), Limits().wire, 0, itertools.count()
        self.due: list[Due] = []
        self.sent: list[int] = []
        self.cut_off: list[int] = []
        """When somebody was refused by an open breaker."""
        for _ in range(callers):
            self.later(self.dice.randrange(500), self.call)

    def later(self, ms: int, act: Callable[[], None]) -> None:
        heapq.heappush(self.due, Due(self.now + ms, next(self.numbers), act))

    def run(self, until_ms: int) -> None:
        while self.due and self.due[0].at <= until_ms:
            due = heapq.heappop(self.due)
            self.now = due.at
            due.act()

    def call(self) -> None:
        ask = {
            "id": f"r{next(self.numbers)}", "ep": "e", "model": "m", "key": "k", "thread": "", "worst": 0,
            "timeout": 60_000, "ceiling": 60_000, "lat": "l", "call": "", "prompt": "", "retry": 0, "hedge": 0,
            "caps": [], "ticket": 0, "waiting": 0, "fresh": 0, "dice": self.dice.randrange(1_000_000),
            "patient": 0, "turn": 0, "limits": self.limits,
        }  # fmt: skip
        got = memory_admit.admit(self.shared, self.now, ask)
        if got["r"] != "admitted":
            self.cut_off += [self.now] if got["r"] == "open" else []
            self.later(min(got["retry_ms"], 500), self.call)
            return
        self.sent.append(self.now)
        good = self.accepts(self.now, self.dice)
        longest = self.slow_ms if good else self.fast_ms
        self.later(self.dice.randint(1, longest), lambda: self.settle(ask["id"], good))

    def settle(self, name: str, good: bool) -> None:
        outcome = "ok" if good else "transient"
        memory_settle.settle(self.shared, self.now, {
            "id": name, "outcome": outcome, "cost": 0, "latency": 1, "halt": "", "error": "", "connected": 1,
            "retry_ms": 0, "answer": "", "lost": 0, "limits": self.limits,
        })  # fmt: skip
        self.later(self.dice.randrange(200), self.call)


SCHEDULES = {
    "seed": st.integers(0, 10**6),
    "callers": st.integers(1, 60),
    "fast_ms": st.sampled_from([5, 300, 4000]),
    "slow_ms": st.sampled_from([100, 1000, 15_000]),
}


@settings(max_examples=60, deadline=None)
@given(share=st.sampled_from([0.5, 0.6, 0.9]), **SCHEDULES)
def test_who_accepts_half_of_the_requests_is_never_cut_off_for_longer_than_a_second(
    share: float, seed: int, callers: int, fast_ms: int, slow_ms: int
) -> None:
    world = World(seed, lambda _now, dice: dice.random() < share, callers, fast_ms, slow_ms)
    world.run(120_000)
    runs = [0]
    for earlier, later in itertools.pairwise(world.cut_off):
        runs.append(runs[-1] + later - earlier if later - earlier <= 600 else 0)
    assert max(runs) <= 1000


@settings(max_examples=60, deadline=None)
@given(**SCHEDULES)
def test_who_accepts_nothing_gets_no_more_than_the_probes(seed: int, callers: int, fast_ms: int, slow_ms: int) -> None:
    world = World(seed, lambda _now, _dice: False, callers, fast_ms, slow_ms)
    world.run(600_000)
    verdict = world.cut_off[0]
    begun_before, after = [at for at in world.sent if at <= verdict], [at for at in world.sent if at > verdict]
    assert len(begun_before) <= Limits().breaker_failures + 2 * callers
    assert len(after) <= (600_000 - verdict) / 1000 + 2, "a probe a second at the most"


@settings(max_examples=30, deadline=None)
@given(**SCHEDULES)
def test_who_comes_back_is_found_within_a_few_seconds(seed: int, callers: int, fast_ms: int, slow_ms: int) -> None:
    back = 90_000
    world = World(seed, lambda now, _dice: now >= back, callers, fast_ms, slow_ms)
    world.run(back + 30_000)
    first = next(at for at in world.sent if at >= back)
    assert first - back <= 3000 + fast_ms
    assert max((at for at in world.cut_off), default=0) <= first + slow_ms
