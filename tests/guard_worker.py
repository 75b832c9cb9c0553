"""A process of its own that goes through a shared guard: `python guard_worker.py ROLE URL BASE JSON`, prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import redis.asyncio as aredis
from guard_tools import request, settled

from nodes.call import Limits
from nodes.call.redis_guard import RedisGuard
from nodes.errors import BreakerOpen, BudgetSpent, Throttled


async def spend(guard: RedisGuard, order: dict[str, Any]) -> dict[str, int]:
    """Make calls until the cap is spent; each costs less than its worst case, sometimes."""
    told = {"admitted": 0, "cost": 0, "spent_out": 0, "throttled": 0}

    async def one(number: int) -> None:
        try:
            admission = await guard.admit(request(order["worst"], thread="", timeout_s=30))
        except BudgetSpent:
            told["spent_out"] += 1
            return
        except Throttled:
            told["throttled"] += 1
            return
        cost = order["worst"] if number % 3 else order["worst"] // 2
        told["admitted"] += 1
        told["cost"] += cost
        await guard.settle(admission, settled(cost))

    places = asyncio.Semaphore(20)

    async def placed(number: int) -> None:
        async with places:
            await one(number)

    await asyncio.gather(*(placed(number) for number in range(order["calls"])))
    return told


async def probe(guard: RedisGuard, order: dict[str, Any]) -> dict[str, Any]:
    """Ask all the time, and let every call fail."""
    told: dict[str, Any] = {"sent": 0, "refused": 0, "probes": []}
    loop = asyncio.get_running_loop()
    until = loop.time() + order["seconds"]
    while loop.time() < until:
        try:
            admission = await guard.admit(request(thread=""))
        except BreakerOpen:
            told["refused"] += 1
            await asyncio.sleep(0.002)
            continue
        told["sent"] += 1
        if admission.probe:
            told["probes"].append(time.time())
        await asyncio.sleep(0.02)
        await guard.settle(admission, settled(outcome="transient"))
    return told


async def hang(guard: RedisGuard, order: dict[str, Any]) -> dict[str, int]:
    """Take a place and never give it back."""
    await guard.admit(request(order["worst"], timeout_s=order["timeout_s"]))
    print("admitted", flush=True)
    await asyncio.sleep(60)
    return {}


async def main() -> None:
    role, url, base, text = sys.argv[1:]
    order = json.loads(text)
    client = aredis.Redis.from_url(url)
    guard = RedisGuard(client, Limits(**order.get("limits", {})), base=base)
    print(json.dumps(await {"spend": spend, "probe": probe, "hang": hang}[role](guard, order)))
    await guard.aclose()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
