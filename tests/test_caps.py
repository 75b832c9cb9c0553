"""What is spent, what is reserved and what nobody knows are three amounts, and an operator settles the third."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest
from cli_tools import Cli
from guard_tools import Kit, own_base, request, settled
from test_guard_processes import start

from checkpointers import connect_async
from nodes.call import Cap, CapReport, Limits
from nodes.call.front import GuardFront
from nodes.call.redis_guard import RedisGuard
from nodes.errors import BudgetSpent, OverBudget

DAY = {"max_cost_per_day_microusd": 100}


async def amounts(guard: GuardFront, name: str = "day") -> tuple[int, int, int, int]:
    """Return what is spent, reserved and unknown under a cap, and the number of unknown calls."""
    (report,) = [report for report in await guard.caps() if report.name == name]
    return report.spent, report.reserved, report.unknown, report.unknown_calls


async def lose(kit: Kit, guard: GuardFront, worst: int, **asked: Any) -> Any:
    """Admit a request whose process then dies, as far as anybody can tell."""
    admission = await guard.admit(request(worst, **asked))
    kit.clock.now += 36
    return admission


async def test_a_dead_process_leaves_an_unknown_amount_that_is_not_called_spent(kit: Kit) -> None:
    guard = kit.make(**DAY)
    assert await guard.caps() == []
    await guard.settle(await guard.admit(request(30)), settled(12))
    live = await guard.admit(request(10, timeout_s=500))
    await lose(kit, guard, 40)
    (report,) = await guard.caps()
    since = kit.clock.now
    assert report == CapReport("day", "2027-01-15", 12, 10, 40, 1, since, 100)
    with pytest.raises(BudgetSpent) as caught:
        await guard.admit(request(49))
    told = str(caught.value)
    assert "of which $0.000012 is spent and $0.00004 unknown (reserved by calls whose process died)" in told
    assert "surefoot doctor --settle-unknown USD" in told
    await guard.settle(live, settled(1))
    assert await amounts(guard) == (13, 0, 40, 1)


async def test_a_dead_process_that_was_only_slow_tells_better(kit: Kit) -> None:
    guard = kit.make(**DAY)
    slow = await lose(kit, guard, 60)
    assert await amounts(guard) == (0, 0, 60, 1)
    await guard.settle(slow, settled(10))
    assert await amounts(guard) == (10, 0, 0, 0)


async def test_the_same_call_made_again_shows_what_the_lost_one_did_cost_at_most(kit: Kit) -> None:
    guard = kit.make(**DAY, max_cost_per_tenant_day_microusd=100)
    asked = {"call_id": "c", "thread": "t", "tenant": "x"}
    await lose(kit, guard, 40, **asked)
    late = await lose(kit, guard, 40, **asked)
    await lose(kit, guard, 7, call_id="other", thread="t", tenant="x")
    assert await amounts(guard) == (0, 0, 87, 3)
    again = await guard.admit(request(13, **asked))
    await guard.settle(again, settled(5, answer={"cost": 5}))
    for name in ("day", "tenant:x"):
        assert await amounts(guard, name) == (5, 0, 5 + 5 + 7, 3)
    await guard.settle(late, settled(3))
    assert await amounts(guard) == (8, 0, 5 + 7, 2)


async def test_a_crash_loop_uses_up_a_cap_only_by_what_calls_cost(kit: Kit) -> None:
    guard = kit.make(max_cost_per_day_microusd=200)
    for _ in range(8):
        await lose(kit, guard, 40, call_id="c", thread="t")
        again = await guard.admit(request(40, call_id=f"c{kit.clock.now}", thread="u"))
        await guard.settle(again, settled(1))
        again = await guard.admit(request(40, call_id="c", thread="t"))
        # Answers that cannot be kept, so that it is sent each time.
        await guard.settle(again, settled(2))
    assert await amounts(guard) == (8 * 3, 0, 8 * 2, 8)


async def test_the_caps_of_run_and_step_count_what_is_unknown_of_theirs(kit: Kit) -> None:
    guard = kit.make()
    caps = (Cap("step", "step:t:s", 50, 0), Cap("run", "run:t", 80, 0))
    await lose(kit, guard, 30, caps=caps, thread="t", step="s", call_id="c")
    # A new process knows of the dead one's calls only from the shared guard.
    fresh = kit.make()
    with pytest.raises(OverBudget, match=r"its step has \$0\.00005 left, but calls whose process died may have cost"):
        await fresh.admit(request(21, caps=caps, thread="t", step="s", call_id="d"))
    other = (Cap("step", "step:t:z", 60, 0), Cap("run", "run:t", 80, 0))
    with pytest.raises(OverBudget, match=r"its run has \$0\.00008 left"):
        await fresh.admit(request(51, caps=other, thread="t", step="z"))
    await fresh.settle(await fresh.admit(request(20, caps=caps, thread="t", step="s", call_id="c")), settled(1))
    # Its state says what it has spent since.
    caps = (Cap("step", "step:t:s", 50, 1), Cap("run", "run:t", 80, 1))
    await fresh.settle(await fresh.admit(request(48, caps=caps, thread="t", step="s", call_id="d")), settled(0))
    await fresh.forget("t")
    await fresh.settle(await fresh.admit(request(49, caps=caps, thread="t", step="s", call_id="d")), settled(0))


async def test_an_operator_settles_what_is_unknown_and_late_word_changes_nothing(kit: Kit) -> None:
    guard = kit.make(**DAY, max_cost_per_tenant_day_microusd=90)
    slow = await lose(kit, guard, 60, tenant="x")
    await lose(kit, guard, 20, tenant="y")
    assert await amounts(guard) == (0, 0, 80, 2)
    await guard.caps({"day": 15})
    assert await amounts(guard) == (15, 0, 0, 0)
    assert await amounts(guard, "tenant:x") == (0, 0, 60, 1)
    await guard.settle(slow, settled(9))
    assert await amounts(guard) == (15, 0, 0, 0), "the operator's figure has it"
    assert await amounts(guard, "tenant:x") == (9, 0, 0, 0)
    await guard.settle(await guard.admit(request(85, tenant="z")), settled(0))


async def test_who_waits_for_money_is_woken_when_it_is_settled(kit: Kit) -> None:
    guard = kit.make(**DAY)
    await lose(kit, guard, 40)
    live = await guard.admit(request(50, timeout_s=500))
    waiting = asyncio.create_task(guard.admit(request(60, timeout_s=30)))
    await asyncio.sleep(0.05)
    await guard.caps({"day": 0})
    await guard.settle(live, settled(40))
    async with asyncio.timeout(20):
        await guard.settle(await waiting, settled(0))


async def test_a_process_that_is_killed_with_calls_in_flight_has_not_spent_them(valkey_url: str) -> None:
    base, limits = own_base(), {"max_cost_per_day_microusd": 100, "lease_s": 0.2}
    worker = start("hang", valkey_url, base, worst=60, timeout_s=0.5, limits=limits)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "admitted\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    import redis.asyncio as aredis

    async with aredis.Redis.from_url(valkey_url) as client:
        guard = RedisGuard(client, Limits(**limits), base=base)  # type: ignore[arg-type]
        assert await amounts(guard) == (0, 60, 0, 0)
        await asyncio.sleep(0.8)
        assert await amounts(guard) == (0, 0, 60, 1)
        await guard.aclose()


# --- doctor ---------------------------------------------------------------------------------------------------------


def lose_some(url: str, *tenants: str) -> None:
    """Let calls be admitted and lost on the guard that commands of this URL share."""

    async def work() -> None:
        async with connect_async(url) as client:
            limits = Limits(max_cost_per_day_microusd=1_000_000, max_cost_per_tenant_day_microusd=500_000, lease_s=0.01)
            guard = RedisGuard(client, limits)
            paid = await guard.admit(request(20_000, thread="", tenant=tenants[0]))
            await guard.settle(paid, settled(12_000))
            for tenant in tenants:
                await guard.admit(request(12_800, thread="", tenant=tenant, timeout_s=0.01))
            await asyncio.sleep(0.1)
            await guard.aclose()

    asyncio.run(work())


def finding(cli: Cli, name: str, *arguments: str) -> dict[str, Any]:
    found = cli("doctor", "--json", *arguments, SUREFOOT_MAX_COST_PER_DAY_USD="1").json
    (one,) = [finding for finding in found if finding["name"] == name]
    return dict(one)


def test_doctor_tells_the_three_amounts_and_settles_the_unknown(cli: Cli, cli_url: str) -> None:
    lose_some(cli_url, "acme", "nadir")
    found = finding(cli, "cap of the day")
    assert found["amounts"] == {
        "spent_microusd": 12_000, "reserved_microusd": 0, "unknown_microusd": 25_600, "unknown_calls": 2,
        "limit_microusd": 1_000_000,
    }  # fmt: skip
    assert (
        "$0.0120 spent, $0 reserved by calls under way, $0.0256 unknown (2 calls whose process died), of $1.00"
        in (found["told"])
    )
    assert found["level"] == "warn"
    assert "surefoot doctor --settle-unknown USD" in found["advice"]
    tenants = finding(cli, "caps of tenants")["amounts"]
    assert (tenants["acme spent_microusd"], tenants["nadir unknown_microusd"]) == (12_000, 12_800)

    for wrong, why in (
        ("0.5", "cost $0.0256 at most, $0.5000 is more"),
        ("ten", "takes US dollars"),
        (
            "nobody=0",
            "no call under the cap of tenant nobody has an unknown outcome today (UTC); tenants with some: acme",
        ),
        ("-1", "not negative"),
    ):
        refused = cli("doctor", "--settle-unknown", wrong)
        assert (refused.status, why in refused.err) == (2, True), refused.err
    assert finding(cli, "cap of the day")["amounts"]["unknown_microusd"] == 25_600, "nothing was changed"

    one = finding(cli, "caps of tenants", "--settle-unknown", "acme=0.004")
    assert (one["amounts"]["acme spent_microusd"], one["amounts"]["acme unknown_calls"]) == (16_000, 0)
    rest = finding(cli, "cap of the day", "--settle-unknown", "0")
    assert rest["told"].startswith("settled: the cap of the day $0, the cap of tenant nadir $0.")
    assert (rest["amounts"]["spent_microusd"], rest["amounts"]["unknown_calls"]) == (12_000, 0)
    assert finding(cli, "caps of tenants")["amounts"]["nadir unknown_microusd"] == 0
    again = finding(cli, "cap of the day", "--settle-unknown", "0")
    assert again["amounts"] == rest["amounts"], "settled twice is settled once"
    refused = cli("doctor", "--settle-unknown", "0.001")
    assert (refused.status, "no call under the cap of the day has an unknown outcome" in refused.err) == (2, True)


def test_doctor_without_any_call_says_so(cli: Cli, embedded_url: str) -> None:
    told = json.loads(cli("doctor", "--json", SUREFOOT_REDIS_URL=embedded_url).out)
    assert any(f["name"] == "caps of the day" and "nothing spent" in f["told"] for f in told)
