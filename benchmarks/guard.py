"""What the guard costs and what it holds: `python benchmarks/guard.py [--quick] [PART ...]`.

Parts: latency, cap, probes, slowdown, hedging. Servers are private ones on the loopback interface or a socket; nothing
is sent to a model. Times of slowdown and hedging are scaled down: a second of a model is `SCALE` seconds here.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
import redis.asyncio as aredis

from checkpointers._place import binary
from nodes.call import Limits, MemoryGuard, Request, Settlement
from nodes.call.front import GuardFront
from nodes.call.hedge import Race, Try
from nodes.call.redis_guard import RedisGuard
from nodes.errors import BreakerOpen, BudgetSpent, CallError, Throttled

SCALE = 0.02
REQUEST = Request("127.0.0.1:1", "m", "k", "s", "", "", 0, 30.0)


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """Yield the URLs of a private server: over TCP and over its socket."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="sf-bench-") as folder:
        path = Path(folder) / "s.sock"
        words = [binary(), "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path), "--dir", folder]
        # As the embedded server is set up: each write is on disk within a second.
        process = subprocess.Popen([*words, "--appendonly", "yes", "--save", ""], stdout=subprocess.DEVNULL)
        urls = {"unix socket": f"unix://{path}", "TCP": f"redis://127.0.0.1:{port}"}
        try:
            client = redis.Redis.from_url(urls["TCP"])
            for _ in range(500):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.02)
            client.close()
            yield urls
        finally:
            process.kill()
            process.wait()


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def done(cost: int, latency_s: float, outcome: str = "ok", **more: Any) -> Settlement:
    return Settlement(outcome=outcome, cost_microusd=cost, latency_s=latency_s, **more)  # type: ignore[arg-type]


# --- latency --------------------------------------------------------------------------------------------------------

ALL_ON = Limits(concurrency=50, max_cost_per_day_microusd=10**12, max_cost_per_tenant_day_microusd=10**12)


async def rounds(guard: GuardFront, count: int, parallel: int) -> list[float]:
    """Admit and settle with everything switched on; return the milliseconds that both took together."""
    took: list[float] = []

    async def worker(number: int) -> None:
        for i in range(count // parallel):
            asked = replace(REQUEST, worst_microusd=10, thread=f"t{number}", call_id=f"c{i}", prompt_hash=f"{i}")
            began = time.perf_counter()
            admission = await guard.admit(asked)
            await guard.settle(admission, done(7, 0.5, answer={"answer": {"text": "x" * 400}, "cost": 7}))
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(worker(number) for number in range(parallel)))
    return took


async def latency(count: int) -> None:
    rows = []
    with server() as urls:
        for parallel in (1, 20):
            guards: dict[str, Callable[[], GuardFront]] = {"memory": lambda: MemoryGuard(ALL_ON)}
            for name, url in urls.items():
                client = aredis.Redis.from_url(url)
                guards[name] = lambda c=client: RedisGuard(c, ALL_ON, base=f"surefoot:guard:{{{random.random()}}}")  # type: ignore[misc]
            for name, make in guards.items():
                guard = make()
                await rounds(guard, 200, 1)
                took = await rounds(guard, count, parallel)
                row = [f"{quantile(took, share):.2f}" for share in (0.5, 0.99)]
                rows.append([name, parallel, *row])
                if isinstance(guard, RedisGuard):
                    await guard.aclose()
    show("admit + settle in ms, every rule switched on (target: p50 <= 3 ms added to a call)",
         ["guard", "side by side", "p50", "p99"], rows)  # fmt: skip


# --- one cap --------------------------------------------------------------------------------------------------------


def spend(url: str, base: str, calls: int, cap: int, results: Any) -> None:
    """One process: make calls on the cap, 50 side by side."""

    async def work() -> dict[str, int]:
        client = aredis.Redis.from_url(url)
        guard = RedisGuard(client, Limits(max_cost_per_day_microusd=cap), base=base)
        told = {"admitted": 0, "cost": 0, "spent_out": 0, "false": 0}
        dice, places = random.Random(), asyncio.Semaphore(50)

        async def one() -> None:
            async with places:
                try:
                    admission = await guard.admit(replace(REQUEST, worst_microusd=100))
                except BudgetSpent:
                    told["spent_out"] += 1
                    return
                except Throttled:
                    told["false"] += 1
                    return
                cost = dice.randrange(20, 101)
                told["admitted"] += 1
                told["cost"] += cost
                await guard.settle(admission, done(cost, 0.1))

        await asyncio.gather(*(one() for _ in range(calls)))
        await guard.aclose()
        await client.aclose()
        return told

    results.put(asyncio.run(work()))


def gather(target: Any, processes: int, *arguments: Any) -> list[dict[str, Any]]:
    """Run a function in several processes and return what each puts into its queue."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=target, args=(*arguments, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return found


def cap(calls: int) -> None:
    limit, base = 8 * calls * 30, "surefoot:guard:{cap}"
    with server() as urls:
        began = time.monotonic()
        found = gather(spend, 8, urls["unix socket"], base, calls, limit)
        seconds = time.monotonic() - began
        with redis.Redis.from_url(urls["TCP"]) as client:
            (key,) = client.keys(base + ":cap:*")
            kept = {name.decode(): int(value) for name, value in client.hgetall(key).items()}
    cost, asked = sum(one["cost"] for one in found), 8 * calls
    refused = sum(one["spent_out"] for one in found)
    # A refusal is false when its worst case would have fitted into what is left in the end.
    false = sum(one["false"] for one in found) + (refused if limit - cost >= 100 else 0)
    show("8 processes on one cap (targets: over-admission 0, false refusals < 1 %)",
         ["calls", "cap", "spent", "over", "left held", "refused", "false", "seconds"],
         [[asked, limit, cost, max(0, cost - limit), kept["held"], refused, f"{false / asked:.2%}",
           f"{seconds:.0f}"]])  # fmt: skip
    assert kept["spent"] == cost


# --- probes ---------------------------------------------------------------------------------------------------------


def knock(url: str, base: str, seconds: float, results: Any) -> None:
    """One process: ask all the time; every call fails."""

    async def work() -> dict[str, Any]:
        client = aredis.Redis.from_url(url)
        guard = RedisGuard(client, Limits(open_s=0.5), base=base)
        told: dict[str, Any] = {"probes": [], "refused": 0}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                admission = await guard.admit(REQUEST)
            except BreakerOpen:
                told["refused"] += 1
                await asyncio.sleep(0.001)
                continue
            if admission.probe:
                told["probes"].append(time.time())
            await asyncio.sleep(0.02)
            await guard.settle(admission, done(0, 0.02, "transient"))
        await guard.aclose()
        await client.aclose()
        return told

    results.put(asyncio.run(work()))


def probes(seconds: float) -> None:
    with server() as urls:
        found = gather(knock, 4, urls["unix socket"], "surefoot:guard:{probes}", seconds)
    times = sorted(at for one in found for at in one["probes"])
    gaps = [later - earlier for earlier, later in pairwise(times)]
    show("4 processes at an endpoint that is down, a probe every 0.25 to 0.75 s (target: one at a time)",
         ["probes", "shortest gap", "gaps < 0.25 s", "refused"],
         [[len(times), f"{min(gaps):.3f} s", sum(gap < 0.25 for gap in gaps),
           sum(one["refused"] for one in found)]])  # fmt: skip


# --- slowdown -------------------------------------------------------------------------------------------------------

SCALED = Limits(timeout_floor_s=SCALE, timeout_ceiling_s=120 * SCALE, breaker_failures=10**9,
                throttle_ratio=10**6, same_call=10**6)  # fmt: skip


async def slowdown(calls: int) -> None:
    """The endpoint becomes 20 times slower; a fixed time limit and the learned one meet the same latencies."""
    rows = []
    for name, learned in (("1.5 x p99, fixed then", False), ("adaptive", True)):
        guard, dice = MemoryGuard(SCALED), random.Random(11)
        counts = {"before": [0, 0], "after": [0, 0]}
        places = asyncio.Semaphore(40)

        async def one(
            phase: str, factor: float, fixed_s: float | None, guard: GuardFront = guard, dice: random.Random = dice,
            places: asyncio.Semaphore = places, counts: dict[str, list[int]] = counts,
        ) -> None:  # fmt: skip
            async with places:
                admission = await guard.admit(replace(REQUEST, timeout_s=10 * SCALE))
                limit = fixed_s or admission.timeout_s
                takes = dice.lognormvariate(0.0, 0.4) * SCALE * factor
                await asyncio.sleep(min(takes, limit))
                late = takes > limit
                await guard.settle(admission, done(0, min(takes, limit), "timeout" if late else "ok"))
                counts[phase][0] += 1
                counts[phase][1] += late

        await asyncio.gather(*(one("before", 1, None) for _ in range(calls // 4)))
        usual = (await guard.admit(replace(REQUEST, timeout_s=10 * SCALE))).timeout_s
        await asyncio.gather(*(one("after", 20, None if learned else usual) for _ in range(calls)))
        rows.append([name, *(f"{late / total:.1%}" for total, late in counts.values())])
    show("an endpoint becomes 20 times slower: calls that time out (target: <= 3 % after)",
         ["time limit", "before", "after"], rows)  # fmt: skip


# --- hedging --------------------------------------------------------------------------------------------------------


async def hedging(calls: int) -> None:
    """Latencies with a long tail; the same ones with and without a second request."""
    rows = []
    for hedged in (False, True):
        guard, dice, sent = MemoryGuard(SCALED), random.Random(5), 0
        took: list[float] = []
        places = asyncio.Semaphore(40)

        def takes(dice: random.Random = dice) -> float:
            slow = dice.random() < 0.03
            return (dice.uniform(8, 30) if slow else dice.lognormvariate(0.0, 0.3)) * SCALE

        async def send(one: Try, guard: GuardFront = guard, takes: Callable[[], float] = takes) -> bool:
            nonlocal sent
            request = replace(REQUEST, timeout_s=60 * SCALE, hedge=one.hedge, retry=one.hedge)
            try:
                admission = await guard.admit(request)
            except CallError:
                return False
            one.admitted(admission)
            sent += 1
            began, outcome = time.monotonic(), "cancelled"
            try:
                await asyncio.sleep(takes())
                outcome = "ok"
                return True
            finally:
                await guard.settle(admission, done(0, time.monotonic() - began, outcome, lost=one.lost))

        async def call(
            record: bool, hedged: bool = hedged, send: Any = send, places: asyncio.Semaphore = places,
            took: list[float] = took,
        ) -> None:  # fmt: skip
            async with places:
                began = time.monotonic()
                if hedged:
                    race: Race[bool] = Race(send, bool)
                    await race.run()
                else:
                    await send(Try())
                if record:
                    took.append((time.monotonic() - began) / SCALE)

        await asyncio.gather(*(call(False) for _ in range(300)))
        sent = 0
        await asyncio.gather(*(call(True) for _ in range(calls)))
        rows.append(["hedged at p95" if hedged else "one request", f"{statistics.median(took):.2f}",
                     f"{quantile(took, 0.95):.1f}", f"{quantile(took, 0.99):.1f}",
                     f"{sent / calls - 1:+.1%}"])  # fmt: skip
    show("a long tail, in seconds of the model (target: p99 halved for <= 5 % more calls)",
         ["", "p50", "p95", "p99", "calls"], rows)  # fmt: skip


def main() -> None:
    parts = ["latency", "cap", "probes", "slowdown", "hedging"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="which of them; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    work: dict[str, Callable[[], Any]] = {
        "latency": lambda: asyncio.run(latency(6000 // share)),
        "cap": lambda: cap(10_000 // share),
        "probes": lambda: probes(20 / share),
        "slowdown": lambda: asyncio.run(slowdown(10_000 // share)),
        "hedging": lambda: asyncio.run(hedging(10_000 // share)),
    }
    for name in options.parts or parts:
        work[name]()
    words = [*(["--quick"] if options.quick else []), *options.parts]
    print("\n" + " ".join(["reproduce: python benchmarks/guard.py", *words]))


if __name__ == "__main__":
    main()
