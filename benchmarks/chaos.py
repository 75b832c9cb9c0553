"""The same pipeline on the same misbehaving endpoint, four ways: `python benchmarks/chaos.py [--items 120] [--json]`.

Plain LangGraph with its defaults, LangGraph with a tuned retry policy, LangChain's retry and fallback wrappers, and
Surefoot, side by side in one run. Prints requests per model step, what became of the items, times and cost, and draws
them (`--png FILE`). The endpoint is local; the same seed makes the same faults for the same item, step and attempt.
Takes about four minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from chaos_ways import WAYS, Ended, Run  # noqa: E402 - the path comes first

from surefoot.testing import (  # noqa: E402
    MODEL,
    PRICES,
    Fault,
    OpenAIEndpoint,
    fenced,
    hang,
    prose,
    says,
    status,
    support_responder,
    throttle,
    truncated,
)
from surefoot.testing.answers import DRAFT  # noqa: E402

Menu = Callable[[random.Random], Fault | None]
STEPS = 2
"""Model steps of an item."""
SAYINGS = {
    "bug": "I get an error in the export",
    "billing": "the invoice of March is wrong",
    "feature_request": "it would be great: please add dark mode",
    "general": "how do I invite a colleague",
}


def failing(rate: float) -> Menu:
    return lambda dice: status(500) if dice.random() < rate else None


def throttling(dice: random.Random) -> Fault | None:
    return throttle(1) if dice.random() < 0.2 else None


def garbling(dice: random.Random) -> Fault | None:
    shapes = (fenced(), prose(), truncated(), truncated("stop"), says('{"category": "spam"}'), says("I am not sure."))
    return dice.choice(shapes) if dice.random() < 0.3 else None


def hanging(dice: random.Random) -> Fault | None:
    return hang(30) if dice.random() < 0.05 else None


def bad_afternoon(dice: random.Random) -> Fault | None:
    return failing(0.15)(dice) or garbling(dice) or (throttle(1) if dice.random() < 0.1 else None)


SCENARIOS: dict[str, Menu] = {
    "10 % errors": failing(0.1),
    "30 % errors": failing(0.3),
    "60 % errors": failing(0.6),
    "dead": failing(1.0),
    "20 % throttled": throttling,
    "30 % garbled": garbling,
    "5 % hang": hanging,
    "bad afternoon": bad_afternoon,
}


@dataclass
class Row:
    """How one way did in one scenario."""

    scenario: str
    way: str
    items: int
    requests: int
    per_step: float
    """Requests for each model step that an item came to."""
    correct: int
    told: int
    """Less than what was asked for, and said so."""
    lost: int
    """Ended with an exception: the caller has nothing."""
    wrong: int
    """Passed on as good, and not what a well-behaved endpoint answers."""
    broken_waits: int
    """Requests sent before the Retry-After of the one before was over."""
    p50_s: float
    p99_s: float
    cost_usd: float


class Misbehaviour:
    """Chooses the fault of each request by seed, item, step and attempt, so that all ways meet the same ones."""

    def __init__(self, menu: Menu, seed: int) -> None:
        self._menu, self._seed = menu, seed
        self._seen: Counter[tuple[str, str]] = Counter()
        self._until: dict[tuple[str, str], float] = {}
        self.broken_waits = 0

    def only_first(self, count: int) -> list[int]:
        """Return the items that never asked for a draft."""
        return [number for number in range(count) if (str(number), "draft") not in self._seen]

    def __call__(self, body: dict[str, Any]) -> Fault | None:
        """Choose the fault of a request."""
        key = _who(body)
        now = time.monotonic()
        self.broken_waits += now < self._until.get(key, 0.0) - 0.02
        self._seen[key] += 1
        fault = self._menu(random.Random(f"{self._seed} {key} {self._seen[key]}"))
        if fault is not None and fault.status == 429:
            self._until[key] = now + float(fault.headers["retry-after"])
        return fault


def _who(body: dict[str, Any]) -> tuple[str, str]:
    text = str(body["messages"])
    found = re.search(r"\(item (\d+)\)", text)
    return (found[1] if found else "?", "classify" if "into one category" in text else "draft")


def dollars(endpoint: OpenAIEndpoint) -> float:
    """Return what the endpoint would bill: what it answered, whether anybody still listened or not."""
    rates = PRICES[MODEL]
    total = 0.0
    for request in endpoint.requests:
        if request.status == 200 or request.status == 0:
            prompt = sum(len(str(m.get("content"))) for m in request.body["messages"]) // 4 + 3
            answer = len(support_responder(request.body)) // 4
            total += prompt * rates["input"] + answer * rates["output"]
    return total / 1e6


async def measure(endpoint: OpenAIEndpoint, scenario: str, way: str, count: int, seed: int) -> Row:
    """Run all items one way and judge what was handed over."""
    endpoint.reset()
    endpoint.responder, endpoint.latency_s = support_responder, 0.02
    chaos = Misbehaviour(SCENARIOS[scenario], seed)
    endpoint.chaos = chaos
    _forget()
    run, slots = WAYS[way](endpoint.url), asyncio.Semaphore(20)
    ends: Counter[str] = Counter()
    times: list[float] = []
    lost: set[int] = set()

    async def one(number: int) -> None:
        truth = list(SAYINGS)[number % len(SAYINGS)]
        async with slots:
            began = time.monotonic()
            end = await _judged(run, f"{way} {number}", f"{SAYINGS[truth]} (item {number})", truth)
            ends[end] += 1
            if end == "lost":
                lost.add(number)
            times.append(time.monotonic() - began)

    await asyncio.gather(*(one(number) for number in range(count)))
    times.sort()
    # An item that is lost in its first step never comes to its second.
    reached = STEPS * count - sum(1 for number in chaos.only_first(count) if number in lost)
    return Row(
        scenario=scenario,
        way=way,
        items=count,
        requests=endpoint.calls,
        per_step=round(endpoint.calls / (reached), 2),
        correct=ends["correct"],
        told=ends["told"],
        lost=ends["lost"],
        wrong=ends["wrong"],
        broken_waits=chaos.broken_waits,
        p50_s=round(statistics.median(times), 2),
        p99_s=round(times[min(len(times) - 1, int(0.99 * len(times)))], 2),
        cost_usd=round(dollars(endpoint), 6),
    )


async def _judged(run: Run, thread: str, text: str, truth: str) -> str:
    try:
        ended: Ended = await run(thread, text)
    except Exception:
        return "lost"
    if ended.told:
        return "told"
    return "correct" if (ended.category, ended.draft) == (truth, DRAFT) else "wrong"


def _forget() -> None:
    """Begin each measurement without what an earlier one has learned about the endpoint."""
    from nodes.call import reset_call_settings, reset_contacts, set_guard

    reset_call_settings()
    reset_contacts()
    set_guard(None)


async def measure_all(endpoint: OpenAIEndpoint, asked: argparse.Namespace) -> list[Row]:
    """Measure all that was asked for in one event loop: `ChatOpenAI` shares connections between loops and breaks."""
    rows = []
    for scenario in asked.scenario or SCENARIOS:
        for way in asked.way or WAYS:
            rows.append(await measure(endpoint, scenario, way, asked.items, asked.seed))
            print(f"{scenario:15} {way:20} {rows[-1].per_step:5.2f} requests/step", file=sys.stderr)
    return rows


def print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = ["requests/step", "correct", "told", "lost", "wrong", "early", "p50 s", "p99 s", "cost $"]
    by_scenario = defaultdict(list)
    for row in rows:
        by_scenario[row.scenario].append(row)
    for scenario, group in by_scenario.items():
        table = Table("way", *names, title=f"{scenario}: {group[0].items} items", title_justify="left")
        for row in group:
            counts = [f"{n / row.items:.0%}" for n in (row.correct, row.told, row.lost, row.wrong)]
            table.add_row(row.way, f"{row.per_step:.2f}", *counts, str(row.broken_waits), f"{row.p50_s:.2f}",
                          f"{row.p99_s:.2f}", f"{row.cost_usd:.4f}")  # fmt: skip
        Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr] # it has one
    parser.add_argument("--items", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenario", choices=SCENARIOS, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--png", type=Path, help="draw the rows into this file")
    asked = parser.parse_args()
    endpoint = OpenAIEndpoint().start()
    os.environ |= {
        "OPENAI_BASE_URL": endpoint.url,
        "OPENAI_API_KEY": "x",
        "SUREFOOT_MODEL": MODEL,
        "SUREFOOT_PRICES": json.dumps(PRICES),
        "SUREFOOT_MAX_COST_USD": "100",
    }
    os.environ.pop("SUREFOOT_REDIS_URL", None)
    try:
        rows = asyncio.run(measure_all(endpoint, asked))
    finally:
        endpoint.stop()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print_table(rows)
    if asked.png:
        from chaos_picture import draw

        draw([asdict(row) for row in rows], asked.png)


if __name__ == "__main__":
    main()
