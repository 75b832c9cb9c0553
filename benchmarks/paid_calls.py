"""kill -9 at random during 500 paid calls repeats no settled call: `python benchmarks/paid_calls.py [--kills 24]`.

A worker process, the plain `surefoot run support FILE --provider openai`, is killed with SIGKILL at random moments
(seeded) and started again with the same command until it ends; every third time its embedded server is killed with it.
The endpoint is local and lives in this process, so it sees every request, whether anybody still listened or not.

A logical call (thread, step, visit, attempt, prompt) is one body of a request here: each ticket's text is its own, a
retry that follows an answer carries other words, and this endpoint never fails. A call is *settled* once its answer is
in the guard's ledger. That is read from the store itself after each kill, when the worker is dead and nothing can be
added any more; the time at which a response was sent would not tell, because an answer may be on its way to the guard
when the worker dies. To know which of several answers to one body was stored, each answer bills another number of
prompt tokens: its receipt.

The dangerous moment is the short one in which an answer is settled and the checkpoint of its step is not stored yet:
then only the ledger knows it. Two of three kills are aimed at it, some milliseconds after an answer; `replayed` counts
how often it was hit, that is, how many calls were answered from the ledger.

Every further request for a settled call counts as a fault and the exit status is 1. A request whose answer was not
stored at a kill was in flight then: it may be sent once more, at most as many as the worker has calls under way.
Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from checkpointers import connect, embedded  # noqa: E402 - the path comes first
from surefoot.store import open_store  # noqa: E402
from surefoot.testing import KEY, MODEL, Fault, OpenAIEndpoint, support_responder  # noqa: E402

CALLS_A_TICKET = 3
OUT_TOKENS = 50
PRICES = {MODEL: {"input": 1, "output": 2}}
"""Whole micro-dollars a token, so that nothing is lost in rounding."""
LEDGERS = "surefoot:guard:{g}:ledger:*"
CAP_OF_A_DAY_USD = 1000
RESULTS = ROOT / "benchmarks" / "results" / "paid_calls.json"


@dataclass(frozen=True)
class Sent:
    """One request as the endpoint saw it; its receipt is its place in the list."""

    body: str
    """Hash of the body: the logical call."""
    life: int
    """How many workers had been killed before it was sent."""


class Till:
    """The endpoint with its book: what was asked in which life of the worker, and what it billed."""

    def __init__(self, seed: int) -> None:
        self._lock, self._dice = threading.Lock(), random.Random(seed)
        self.sent: list[Sent] = []
        self.answers = self.life = 0
        self.endpoint = OpenAIEndpoint().start()
        self.endpoint.responder, self.endpoint.token_probability = self._answer, 0.99
        self.endpoint.chaos = self._take

    def _take(self, body: dict[str, Any]) -> Fault:
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        with self._lock:
            receipt = len(self.sent)
            self.sent.append(Sent(digest, self.life))
            delay = self._dice.uniform(0.03, 0.3)
        # The receipt goes along as the input tokens, of which a prompt has at least one.
        tokens_in = receipt + 1
        tokens = {"prompt_tokens": tokens_in, "completion_tokens": OUT_TOKENS, "total_tokens": tokens_in + OUT_TOKENS}
        return Fault(delay_s=delay, usage=tokens)

    def _answer(self, body: dict[str, Any]) -> str:
        self.answers += 1
        return support_responder(body)

    @property
    def distinct(self) -> int:
        """Logical calls so far."""
        with self._lock:
            return len({one.body for one in self.sent})

    def next_life(self) -> None:
        """Wait for the answers to the dead worker: a request it sent at its end must not count for the next one."""
        time.sleep(0.1)
        while self.endpoint.in_flight:
            time.sleep(0.01)
        self.life += 1

    def answered(self) -> list[int]:
        """Return the receipts of what was answered, read or not."""
        chats = [one for one in self.endpoint.requests if one.path.endswith("/chat/completions")]
        return [receipt for receipt, one in enumerate(chats) if one.status == 200]


def bill_of(receipts: list[int] | set[int]) -> int:
    """Return what the endpoint bills for some answers, in micro-dollars."""
    rates = PRICES[MODEL]
    return sum(rates["input"] * (receipt + 1) + rates["output"] * OUT_TOKENS for receipt in receipts)


def stored_in(url: str) -> set[int]:
    """Return the receipts of all answers in the guard's ledger."""
    with connect(url) as client:
        kept = [value for key in client.scan_iter(LEDGERS, count=1000) for value in client.hvals(key)]
    return {json.loads(value.partition(b":")[2])["answer"]["usage"]["input"] - 1 for value in kept}


def counted_in(url: str) -> dict[str, int]:
    """Return what the guard counts on the day's cap in micro-dollars; what died in flight is held at its worst case."""
    total: Counter[str] = Counter()
    with connect(url) as client:
        for key in client.scan_iter("surefoot:guard:{g}:cap:day:*", count=1000):
            total.update({name.decode(): int(value) for name, value in client.hgetall(key).items()})
    return {"spent": total["spent"], "held": total["held"]}


class Worker:
    """`surefoot run support FILE` as a process of its own, always the same command."""

    def __init__(self, till: Till, url: str, folder: Path, tickets: int, parallel: int) -> None:
        self.url, self.folder, self.out = url, folder, folder / "rows.jsonl"
        self._process: subprocess.Popen[str] | None = None
        texts = ("The export crashes with an error.", "Send the invoice again.", "Where is the handbook?")
        lines = [{"id": str(n), "text": f"{texts[n % 3]} (marker-{n}-)"} for n in range(tickets)]
        source = folder / "tickets.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SUREFOOT_", "OPENAI_"))}
        self._env = clean | {
            "OPENAI_BASE_URL": till.endpoint.url, "OPENAI_API_KEY": KEY, "SUREFOOT_MODEL": MODEL,
            "SUREFOOT_PRICES": json.dumps(PRICES), "SUREFOOT_REDIS_URL": url,
            "SUREFOOT_MAX_COST_PER_DAY_USD": str(CAP_OF_A_DAY_USD), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._words = [sys.executable, "-m", "surefoot.cli", "run", "support", str(source), "--provider", "openai",
                       "--parallel", str(parallel), "--out", str(self.out), "--max-cost", "50", "--json"]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        """Start it; what it prints goes to files, so that no pipe can fill."""
        # Not from the folder with the `.env` of somebody who works here.
        with (self.folder / "told.json").open("w") as out, (self.folder / "errors.txt").open("a") as errors:
            self._process = subprocess.Popen(
                self._words,
                env=self._env,
                cwd=self.folder,
                stdout=out,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        return self._process

    def end(self) -> None:
        """End what still runs, after a failure or Ctrl-C."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.kill_server()

    def errors(self) -> str:
        """Return the last of what it complained about."""
        return (self.folder / "errors.txt").read_text()[-2000:]

    def kill_server(self) -> bool:
        """Kill the embedded server, too; tell whether one was there."""
        if not self.url.startswith("embedded:"):
            return False
        pid = embedded.server_pid(os.path.realpath(self.url.removeprefix("embedded:")))
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True


@dataclass
class Report:
    """What was seen."""

    seed: int
    parallel: int
    requests: int = 0
    distinct_calls: int = 0
    kills: int = 0
    server_kills: int = 0
    kills_with_calls_in_flight: int = 0
    settled_calls: int = 0
    """Calls whose answer was stored by the end."""
    replayed: int = 0
    """Calls that were settled at a kill and in no checkpoint yet: answered from the ledger."""
    settled_at_kills: int = 0
    """Sum over all kills of the calls whose answer was stored then: each was a chance to repeat one."""
    repeats_in_flight: int = 0
    most_repeats_of_one_kill: int = 0
    repeats_of_settled: int = 0
    repeats_unexplained: int = 0
    """Sent twice in one life of the worker."""
    told_usd: float = 0.0
    """Cost in the rows of the run."""
    billed_usd: float = 0.0
    lost_usd: float = 0.0
    """Part of the bill for answers that a kill cut off before they were stored."""
    guard_usd: float = 0.0
    """What the guard counts on the cap of the day: calls that died in flight are held at their worst case."""
    items_done: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def soak(worker: Worker, till: Till, report: Report, calls: int, kills: int) -> list[set[int]]:
    """Kill and start again until the command ends; return what was stored after each kill, and in the end."""
    dice, stored = random.Random(report.seed), list[set[int]]()
    goals = sorted(dice.sample(range(1, max(kills + 1, calls - 2 * report.parallel)), kills))
    for number, goal in enumerate(goals):
        process = worker.start()
        begun = len(till.sent)
        wait_for(lambda: till.distinct >= goal and len(till.sent) > begun, process, worker)  # noqa: B023 - called here
        time.sleep(dice.uniform(0, 0.3))
        if number % 3:
            answers = till.answers
            wait_for(lambda: till.answers > answers, process, worker)  # noqa: B023 - called here
            time.sleep(dice.uniform(0.003, 0.02))
        process.kill()
        process.wait()
        report.kills += 1
        report.server_kills += number % 3 == 2 and worker.kill_server()
        till.next_life()
        stored.append(stored_in(worker.url) | (stored[-1] if stored else set()))
    process = worker.start()
    if process.wait(timeout=600) != 0:
        raise SystemExit(f"the worker failed: {worker.errors()}")
    stored.append(stored_in(worker.url) | stored[-1])
    return stored


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str], worker: Worker) -> None:
    """Wait for a moment to kill; ends the program when the worker ends before."""
    while not ready():
        if process.poll() is not None:
            raise SystemExit(f"the worker ended before it was killed: {worker.errors()}")
        time.sleep(0.001)


async def replays_in(worker: Worker) -> int:
    """Count the attempts that succeeded and sent nothing: their answers came from the ledger."""
    async with open_store(worker.url) as store:
        threads = [await store.channels(record.thread_id) for record in await store.records()]
    attempts = [attempt for thread in threads for attempt in thread.values.get("attempts", ())]
    replays = (a["provider"] == "openai" and a["outcome"] == "ok" and a["calls"] == 0 for a in attempts)
    return sum(replays)


def judge(report: Report, till: Till, stored: list[set[int]]) -> None:
    """Hold every request against what was stored before it."""
    by_body: dict[str, list[int]] = defaultdict(list)
    repeats: Counter[int] = Counter()
    for receipt, sent in enumerate(till.sent):
        earlier = by_body[sent.body]
        known = stored[sent.life - 1] if sent.life else set()
        if any(one in known for one in earlier):
            report.repeats_of_settled += 1
        elif earlier and till.sent[earlier[-1]].life == sent.life:
            report.repeats_unexplained += 1
        elif earlier:
            repeats[till.sent[earlier[-1]].life] += 1
        earlier.append(receipt)
    report.requests, report.distinct_calls = len(till.sent), len(by_body)
    report.settled_calls = sum(any(one in stored[-1] for one in receipts) for receipts in by_body.values())
    report.settled_at_kills = sum(len(found) for found in stored[:-1])
    report.repeats_in_flight, report.most_repeats_of_one_kill = repeats.total(), max(repeats.values(), default=0)
    cut = {sent.life for receipt, sent in enumerate(till.sent) if receipt not in stored[-1]}
    report.kills_with_calls_in_flight = len(cut)
    if report.repeats_of_settled:
        report.faults.append(f"{report.repeats_of_settled} settled calls were sent again")
    if report.repeats_unexplained:
        report.faults.append(f"{report.repeats_unexplained} calls were sent twice without a kill")
    if report.most_repeats_of_one_kill > report.parallel:
        report.faults.append("more calls were repeated after a kill than were under way")


def settle_up(report: Report, worker: Worker, till: Till, stored: set[int]) -> None:
    """Compare the money that the run tells with the endpoint's bill."""
    answered = till.answered()
    rows = {row["id"]: row for row in map(json.loads, worker.out.read_text().splitlines())}
    told = sum(row["cost_microusd"] for row in rows.values())
    lost = bill_of(set(answered) - stored)
    report.items_done = sum(row["status"] == "done" for row in rows.values())
    report.told_usd, report.billed_usd = told / 1e6, bill_of(answered) / 1e6
    report.lost_usd = lost / 1e6
    report.guard_usd = sum(counted_in(worker.url).values()) / 1e6
    if told != bill_of(stored):
        report.faults.append("the rows tell another cost than that of the settled calls")
    if report.guard_usd < report.billed_usd:
        report.faults.append("the guard counts less than was billed")


def measure(calls: int, kills: int, parallel: int, seed: int, url: str = "") -> Report:
    """Run the whole story on a private embedded server, or on the server at a URL (which is to be empty)."""
    report, till = Report(seed, parallel), Till(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sf-paid-") as folder:
        where = url or f"embedded:{folder}/data"
        worker = Worker(till, where, Path(folder), -(-calls // CALLS_A_TICKET), parallel)
        try:
            stored = soak(worker, till, report, calls, kills)
            judge(report, till, stored)
            settle_up(report, worker, till, stored[-1])
            report.replayed = asyncio.run(replays_in(worker))
        finally:
            worker.end()
            till.endpoint.stop()
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr] # it has one
    parser.add_argument("--calls", type=int, default=510, help="paid calls, three a ticket")
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--parallel", type=int, default=8, help="tickets, and so calls, under way at once")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--url", default="", help="an empty Redis server of your own; else a private embedded one")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are written as JSON")
    asked = parser.parse_args()
    report = measure(asked.calls, asked.kills, asked.parallel, asked.seed, asked.url)
    found = asdict(report)
    for name, value in found.items():
        print(f"{re.sub('_', ' ', name):28} {value if name != 'faults' else '; '.join(value) or 'none'}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
