"""kill -9 in the middle of a 200-ticket run, three times, then the same command: everything ends once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpointers import connect
from surefoot.store import open_store
from surefoot.testing import KEY, MODEL, PRICES, OpenAIEndpoint, schema_in, status, support_responder
from surefoot.threads import RawThread, thread_id

COUNT = 200
WAIT_S = 8.0
"""What the endpoint asks for in Retry-After: long enough to be killed in, far above all else that takes time."""
SLOW = {7, 19, 42}
"""Tickets whose first classification is throttled."""


class Observer:
    """What the endpoint saw, by ticket and step."""

    def __init__(self, endpoint: OpenAIEndpoint) -> None:
        self.endpoint = endpoint
        self.lock = threading.Lock()
        self.throttled: dict[int, float] = {}
        self.answered: dict[tuple[int, str], list[float]] = defaultdict(list)
        endpoint.latency_s = 0.05
        endpoint.responder = self.respond
        endpoint.token_probability = 0.99
        endpoint.chaos = self.chaos

    @staticmethod
    def subject(body: dict[str, Any]) -> tuple[int, str]:
        number = re.search(r"marker-(\d+)-", str(body))
        fields = (schema_in(body) or {}).get("properties", {})
        step = next((name for name in ("category", "urgency", "draft") if name in fields), "?")
        return int(number[1]) if number else -1, step

    def chaos(self, body: dict[str, Any]) -> Any:
        ticket, step = self.subject(body)
        if ticket in SLOW and step == "category" and ticket not in self.throttled:
            self.throttled[ticket] = time.time()
            # Not a 429: after that the guard would leave the endpoint alone for all tickets.
            return status(503, retry_after=f"{WAIT_S:g}")
        return None

    def respond(self, body: dict[str, Any]) -> str:
        with self.lock:
            self.answered[self.subject(body)].append(time.time())
        return support_responder(body)


@pytest.fixture
def observer() -> Iterator[Observer]:
    server = OpenAIEndpoint().start()
    yield Observer(server)
    server.stop()


def ticket(number: int) -> dict[str, str]:
    text = ["The export crashes with an error.", "Send the invoice again.", "Where is the handbook?"][number % 3]
    return {"id": str(number), "text": f"{text} (marker-{number}-)"}


class Command:
    """`surefoot run` as a process of its own, which the test may kill."""

    def __init__(self, observer: Observer, home: Path, tickets: Path, out: Path) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SUREFOOT_", "OPENAI_"))}
        self.env = clean | {
            "OPENAI_BASE_URL": observer.endpoint.url,
            "OPENAI_API_KEY": KEY,
            "SUREFOOT_MODEL": MODEL,
            "SUREFOOT_PRICES": json.dumps(PRICES),
            "SUREFOOT_REDIS_URL": f"embedded:{home}",
        }
        self.words = [sys.executable, "-m", "surefoot.cli", "run", "support", str(tickets), "--out", str(out)]
        self.words += ["--parallel", "20", "--json", "--max-cost", "5"]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def kill_when(self, ready: Callable[[], bool]) -> None:
        process = self.start()
        try:
            for _ in range(6000):
                if ready():
                    break
                assert process.poll() is None, f"it ended before it was killed:\n{process.communicate()}"
                time.sleep(0.01)
            else:
                raise AssertionError("the moment to kill did not come")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def snapshot(home: Path) -> dict[int, RawThread]:
    """Read all threads as they are stored."""

    async def read() -> dict[int, RawThread]:
        async with open_store(f"embedded:{home}") as store:
            ids = {number: thread_id("support", str(number)) for number in range(COUNT)}
            return {number: await store.channels(tid) for number, tid in ids.items()}

    return asyncio.run(read())


def registered(client: Any) -> int:
    """Count the threads that the runner has begun."""
    return len(client.keys("surefoot:thread:*"))


def checkpointed(client: Any) -> int:
    """Count the threads that the saver holds a checkpoint of."""
    return len(client.keys("surefoot:{t.*}:index"))


STEPS = {"category": "category", "urgency": "urgency", "draft": "draft"}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_killed_three_times_ends_once(observer: Observer, embedded_dir: Path, tmp_path: Path) -> None:
    tickets, out = tmp_path / "tickets.jsonl", tmp_path / "rows.jsonl"
    tickets.write_text("".join(json.dumps(ticket(number)) + "\n" for number in range(COUNT)))
    command = Command(observer, embedded_dir, tickets, out)

    # Once while a thread is registered and has no checkpoint yet; the moment is short, so a miss is tried again.
    with connect(f"embedded:{embedded_dir}") as client:
        for _ in range(10):
            command.kill_when(lambda: registered(client) > checkpointed(client))
            if registered(client) > checkpointed(client):
                break
        else:
            raise AssertionError("no thread was cut before its first checkpoint")

    # Once while throttled tickets wait in their retry node, with the choice stored.
    def somebody_waits() -> bool:
        if len(observer.throttled) < len(SLOW):
            return False
        stored = snapshot(embedded_dir)
        return all((stored[n].values.get("failures") or {}).get("classify", {}).get("decision") for n in SLOW)

    command.kill_when(somebody_waits)
    second = snapshot(embedded_dir)
    chosen = {n: second[n].values["failures"]["classify"]["decision"]["at"] for n in SLOW}
    for number in SLOW:
        assert second[number].next == ["retry"]
        assert chosen[number] >= observer.throttled[number] + WAIT_S

    # Once at a random moment in the bulk.
    goal = len(observer.answered) + random.Random(5).randrange(60, 200)
    command.kill_when(lambda: len(observer.answered) >= goal)
    third = snapshot(embedded_dir)
    before = {key: len(times) for key, times in observer.answered.items()}

    process = command.start()
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    summary = json.loads(printed)
    assert summary["done"] == COUNT

    final = snapshot(embedded_dir)
    assert all(raw.values["outcome"] == "routed" for raw in final.values())
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert Counter(row["id"] for row in rows) == Counter(str(number) for number in range(COUNT))
    assert all(row["status"] == "done" and row["draft"] and not row["degraded"] for row in rows)
    assert_waits_were_kept(observer, final, chosen)
    assert_nothing_finished_was_run_again(observer, third, before)


def assert_waits_were_kept(observer: Observer, final: dict[int, RawThread], chosen: dict[int, float]) -> None:
    """The wait that was stored before the kill held, and the count went on."""
    for number, at in chosen.items():
        attempts = [a for a in final[number].values["attempts"] if a["step"] == "classify"]
        assert [(a["n"], a["outcome"]) for a in attempts] == [(1, "transient"), (2, "ok")]
        assert min(observer.answered[number, "category"]) >= at
        assert attempts[1]["wait_ms"] >= WAIT_S * 1000


def assert_nothing_finished_was_run_again(
    observer: Observer, third: dict[int, RawThread], before: dict[tuple[int, str], int]
) -> None:
    """A step whose output was in the checkpoint was not asked of the endpoint again."""
    checked = 0
    for number, raw in third.items():
        for step, field in STEPS.items():
            if raw.values.get(field) is not None:
                checked += 1
                assert len(observer.answered[number, step]) == before[number, step], (number, step)
    assert checked > 50
    # A call in flight at a kill may be asked again, once a kill; nothing else is.
    assert all(len(times) <= 4 for times in observer.answered.values())
    again = sum(len(times) - 1 for times in observer.answered.values())
    assert again <= 3 * 20
