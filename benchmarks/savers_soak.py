"""The soak of the saver benchmark: whether memory and latency of our saver stay flat as its threads grow."""

from __future__ import annotations

import asyncio
import json
import math
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from savers_load import Walk, messages
from savers_peers import Contender, entries

CLIENTS = 64
SAMPLES = 200
"""Reads of a kind, each tenth."""
HEADER = ("step", "s", "bytes/checkpoint", "server MB", "client MB", "small put p50", "p99", "get p50", "p99",
          "messages put p50", "p99", "get p50", "p99")  # fmt: skip


@dataclass(frozen=True)
class Tenth:
    """What was seen in a tenth of the soak; times in ms."""

    step: int
    seconds: float
    bytes_each: float
    """Of the checkpoints of this tenth alone."""
    server_mb: float
    client_mb: float
    """The most that this process has held."""
    put_small: tuple[float, float]
    get_small: tuple[float, float]
    put_messages: tuple[float, float]
    get_messages: tuple[float, float]

    def cells(self) -> list[str]:
        """As a row of the table."""
        times = (*self.put_small, *self.get_small, *self.put_messages, *self.get_messages)
        sizes = (f"{self.bytes_each:,.0f}", f"{self.server_mb:,.0f}", f"{self.client_mb:,.0f}")
        return [f"{self.step:,}", f"{self.seconds:.0f}", *sizes, *(f"{took:.2f}" for took in times)]


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    ranked = sorted(values)
    p50, p99 = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.99))
    return p50, p99


async def _lengthen(walks: Sequence[Walk], steps: int) -> list[float]:
    """Add steps to threads in turn, 64 side by side; return ms of put + put_writes."""
    took: list[float] = []

    async def client(own: Sequence[Walk]) -> None:
        for _ in range(steps):
            for walk in own:
                began = time.perf_counter()
                await walk.astep()
                took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(client(walks[number::CLIENTS]) for number in range(CLIENTS)))
    return took


async def _read(contender: Contender, walks: Sequence[Walk], dice: random.Random) -> tuple[float, float]:
    took = []
    for walk in dice.choices(walks, k=SAMPLES):
        began = time.perf_counter()
        found = await contender.saver.aget_tuple(walk.config)
        took.append((time.perf_counter() - began) * 1000)
        assert found is not None
        assert found.checkpoint["channel_values"]["count"] == walk.count
    return _quantiles(took)


def _client_mb() -> float:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


async def _soak(contender: Contender, threads: int, steps: int, as_json: bool) -> None:
    dice, began, done = random.Random(3), time.perf_counter(), 0
    messages(max(2000, steps + 1))
    walks = [Walk(contender.saver, grows=number < threads // 2) for number in range(threads)]
    small, growing = ([walk for walk in walks if walk.grows is grows] for grows in (False, True))
    held = await contender.size()
    if not as_json:
        print(f"{threads:,} threads, half of them with messages; {CLIENTS} clients; ms of put + put_writes, and of "
              "get_tuple by one client")  # fmt: skip
        print("  ".join(f"{name:>9}" for name in HEADER))
    for tenth in range(1, 11):
        target = steps * tenth // 10
        if target == done:
            continue
        # One after the other, because long states take the time of the others on one loop.
        took_small = await _lengthen(small, target - done)
        took_growing = await _lengthen(growing, target - done)
        now = await contender.size()
        seen = Tenth(
            target, time.perf_counter() - began, (now - held) / threads / (target - done), now / 2**20, _client_mb(),
            _quantiles(took_small), await _read(contender, small, dice),
            _quantiles(took_growing), await _read(contender, growing, dice),
        )  # fmt: skip
        held, done = now, target
        row = [f"{cell:>{max(9, len(name))}}" for cell, name in zip(seen.cells(), HEADER, strict=True)]
        print(json.dumps(asdict(seen)) if as_json else "  ".join(row), flush=True)


async def run(system: bool, threads: int, steps: int, as_json: bool) -> None:
    """Soak AsyncRedisSaver on a server whose writes are on disk within a second."""
    opening = entries(system)[0].openings[1]
    async with opening() as contender:
        await _soak(contender, max(2, threads), max(1, steps), as_json)
