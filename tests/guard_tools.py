"""What the tests of the guard share: requests, settlements, and both guards on a clock that the test turns."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio as aredis

from nodes.call import Cap, Limits, MemoryGuard, Request, Settlement
from nodes.call.front import GuardFront
from nodes.call.redis_guard import RedisGuard

_numbers = itertools.count()

SERVERS = {"valkey": "valkey_url", "redis": "redis_url", "cluster": "cluster_url"}
"""Where the shared guard must hold, with the fixture of each one's URL."""


def own_base() -> str:
    """Return a base of keys that nobody else has."""
    return f"surefoot:guard:{{t{os.getpid()}-{next(_numbers)}}}"


def request(worst: int = 0, *, timeout_s: float = 5.0, caps: tuple[Cap, ...] = (), **changes: Any) -> Request:
    fields: dict[str, Any] = {
        "endpoint": "127.0.0.1:1", "model": "m", "key_id": "k", "step": "s", "thread": "t", "tenant": "",
    }  # fmt: skip
    return Request(**(fields | changes), worst_microusd=worst, timeout_s=timeout_s, caps=caps)


def settled(cost: int = 0, **changes: Any) -> Settlement:
    fields: dict[str, Any] = {"outcome": "ok", "latency_s": 0.1}
    return Settlement(cost_microusd=cost, **(fields | changes))


class Clock:
    """Seconds since the epoch, turned by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., GuardFront]


@dataclass
class Kit:
    """Guards of one kind on one clock: those made with the same kit share their state."""

    kind: str
    clock: Clock
    make: Make


@asynccontextmanager
async def kit_of(kind: str, url: str = "") -> AsyncIterator[Kit]:
    clock, base, made = Clock(), own_base(), []
    if kind == "memory":
        memory = MemoryGuard(clock=clock)

        def twin(**limits: Any) -> GuardFront:
            guard = MemoryGuard(Limits(**limits), clock=clock)
            guard._shared, guard._shared_lock, guard._doors = memory._shared, memory._shared_lock, memory._doors
            return guard

        yield Kit(kind, clock, twin)
        return

    client: Any = aredis.RedisCluster.from_url(url) if kind == "cluster" else aredis.Redis.from_url(url)

    def shared(**limits: Any) -> GuardFront:
        guard = RedisGuard(client, Limits(**limits), base=base, clock=clock)
        made.append(guard)
        return guard

    try:
        yield Kit(kind, clock, shared)
    finally:
        for guard in made:
            await guard.aclose()
        await client.aclose()


@pytest.fixture(params=["memory", *SERVERS])
def kit_place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Kind and URL of each guard in turn; asynchronous fixtures cannot ask for others by name."""
    return request.param, request.getfixturevalue(SERVERS[request.param]) if request.param in SERVERS else ""


@pytest.fixture(params=list(SERVERS))
def any_server(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """A function that makes a blocking client of each server in turn."""
    url = request.getfixturevalue(SERVERS[request.param])
    made = redis.RedisCluster if request.param == "cluster" else redis.Redis
    return lambda: made.from_url(url)


@pytest.fixture
async def kit(kit_place: tuple[str, str]) -> AsyncIterator[Kit]:
    """Each kind of guard in turn."""
    async with kit_of(*kit_place) as found:
        yield found
