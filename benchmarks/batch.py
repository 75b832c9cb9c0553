"""What batches of ten save, lose and change: `python benchmarks/batch.py [--json]`.

The example résumés are read and their facts extracted, each is scored for five jobs: alone, and in batches of ten with
50 under way at once, side by side in one run on a local endpoint. Three endpoints: one behaves, one misbehaves (items
left out, ids given twice or made up, scores out of range, cut answers, 503), and the scores of one scatter by three
points from request to request, as a model's do. The endpoint scores by the rules of the embedded provider from
what the prompt says, so this measures what batching does to tokens and decisions, not how well a model judges. Scores
one by one on the scattering endpoint a second time tell how much of the difference is the scatter's own.
Tokens are characters / 4 of all messages, schemas and answers, failed requests and second ones included; the five jobs
are mixed, so that a batch has to tell all of them. Takes about ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nodes.batch import Batched  # noqa: E402 - the path comes first
from nodes.call import Call, MemoryGuard, reset_contacts, set_guard  # noqa: E402
from nodes.errors import CallError  # noqa: E402
from state.resumes import Job  # noqa: E402
from surefoot.testing import MODEL, PRICES, Fault, OpenAIEndpoint, says  # noqa: E402
from surefoot.testing.simulated import RESPONDERS  # noqa: E402
from tasks import resumes as tasks  # noqa: E402

JOBS = [
    Job(title="Data engineer", required=("Python", "SQL", "Apache Spark"), desired=("Airflow", "Kafka"), min_years=4),
    Job(title="Frontend developer", required=("JavaScript", "React", "CSS"), desired=("TypeScript",), min_years=2),
    Job(
        title="Platform engineer", required=("Linux", "Docker", "Kubernetes"), desired=("Terraform", "Go"), min_years=5
    ),
    Job(title="Analyst", required=("SQL", "Excel"), desired=("Python", "Tableau", "Power BI"), min_years=1),
]
AT_ONCE = 50
TRIES = 3
"""Attempts of an item, as the pipeline's policy makes them."""
SCATTER = 3.0


@dataclass
class Row:
    """How one way of scoring did."""

    endpoint: str
    way: str
    items: int
    lost: int
    """Items that ended without a score."""
    requests: int
    tokens: int
    same_decisions: float
    """Share of the items whose decision is that of the rules."""


async def facts() -> list[tasks.Facts]:
    """Read the example résumés and return the facts of each for each job."""
    folder = ROOT / "examples" / "resumes"
    jobs = [Job.model_validate(json.loads((folder / "job.json").read_text())), *JOBS]
    made: list[tasks.Facts] = []
    for path in sorted(set(folder.iterdir()) - {folder / "job.json"}):
        call = Call(step="read")
        try:
            read = await tasks.read_application(tasks.Application(path=str(path)), call)
        except CallError:
            continue
        resume = tasks.Resume(resume=read.resume)
        extracted = (
            tasks.technical_embedded(resume, call).technical, tasks.soft_embedded(resume, call).soft,
            tasks.certifications_by_rules(resume, call).certifications,
        )  # fmt: skip
        made += [
            tasks.Facts(
                job=job, technical=extracted[0], soft=extracted[1], certifications=extracted[2], years=read.years
            )
            for job in jobs
        ]
    return made


def decision(score: float | None) -> str:
    from graphs.resumes import THRESHOLDS

    if score is None:
        return "lost"
    return (
        "accept"
        if score >= THRESHOLDS["auto_accept"]
        else "person"
        if score >= THRESHOLDS["human_review"]
        else "reject"
    )


def behaving(body: dict[str, Any], _dice: random.Random) -> tuple[str, str]:
    return RESPONDERS["resumes"](body), "stop"


def scattering(body: dict[str, Any], dice: random.Random) -> tuple[str, str]:
    results = json.loads(RESPONDERS["resumes"](body))["results"]
    for result in results:
        result["score"] = min(100, max(0, round(result["score"] + dice.gauss(0, SCATTER))))
    return json.dumps({"results": results}), "stop"


def misbehaving(body: dict[str, Any], dice: random.Random) -> tuple[str, str] | None:
    """Spoil one item in fifty in one of four ways, and one request in thirty as a whole."""
    if dice.random() < 1 / 60:
        return None
    results = json.loads(RESPONDERS["resumes"](body))["results"]
    for place, result in reversed(list(enumerate(results))):
        if dice.random() < 0.02:
            spoil = dice.choice(("left out", "twice", "made up", "out of range"))
            if spoil == "left out":
                del results[place]
            elif spoil == "twice":
                results.append(result | {"score": 100 - result["score"]})
            elif spoil == "made up":
                result["id"] = "77"
            else:
                result["score"] = 1000
    text = json.dumps({"results": results})
    return (text[: len(text) // 2], "length") if dice.random() < 1 / 60 else (text, "stop")


async def scores(items: list[tasks.Facts], size: int) -> list[float | None]:
    """Score all items with batches of a size, 50 under way at once."""
    batched = tasks.score.providers["openai"]
    assert isinstance(batched, Batched)
    provider, room = replace(batched, size=size, wait_s=0.2), asyncio.Semaphore(AT_ONCE)

    async def one(place: int, item: tasks.Facts) -> float | None:
        async with room:
            for n in range(1, TRIES + 1):
                call = Call(step="score", thread=f"{size} {place}", n=n, timeout_s=20.0)
                try:
                    return (await provider(item, call)).score
                except CallError:
                    await asyncio.sleep(0.2)
            return None

    return list(await asyncio.gather(*(one(place, item) for place, item in enumerate(items))))


def measured(endpoint: OpenAIEndpoint, name: str, way: str, items: list[tasks.Facts], found: list[float | None]) -> Row:
    sent = sum(len(str(message["content"])) for r in endpoint.requests for message in r.body["messages"])
    sent += sum(len(json.dumps(r.body["response_format"])) for r in endpoint.requests if "response_format" in r.body)
    wanted = [decision(tasks.rule_score(item)[0]) for item in items]
    same = sum(decision(score) == right for score, right in zip(found, wanted, strict=True)) / len(items)
    return Row(name, way, len(items), found.count(None), endpoint.calls, (sent + ANSWERED[0]) // 4, same)


ANSWERED = [0]


async def measure(endpoint: OpenAIEndpoint, items: list[tasks.Facts]) -> list[Row]:
    """Score one by one and in batches on each endpoint."""
    rows = []
    kinds: dict[str, Callable[[dict[str, Any], random.Random], tuple[str, str] | None]] = {
        "behaves": behaving, "misbehaves": misbehaving, "scatters": scattering,
    }  # fmt: skip
    for name, kind in kinds.items():
        for way, size in (("one by one", 1), ("batches of ten", 10), ("one by one again", 1)):
            if way == "one by one again" and name != "scatters":
                continue
            dice = random.Random(f"{name} {way}")

            def answer(body: dict[str, Any], kind: Any = kind, dice: random.Random = dice) -> Fault:
                said = kind(body, dice)
                ANSWERED[0] += len(said[0]) if said else 0
                return says(*said) if said else Fault(status=503)

            endpoint.reset()
            ANSWERED[0] = 0
            endpoint.chaos = answer
            set_guard(MemoryGuard())
            reset_contacts()
            rows.append(measured(endpoint, name, way, items, await scores(items, size)))
    return rows


def told(rows: list[Row]) -> str:
    lines = [
        f"{'endpoint':12} {'way':18} {'items':>5} {'lost':>5} {'requests':>9} {'tokens':>8} {'share':>6} {'same':>7}"
    ]
    for row in rows:
        alone = next(r for r in rows if r.endpoint == row.endpoint and r.way == "one by one")
        lines.append(
            f"{row.endpoint:12} {row.way:18} {row.items:5} {row.lost:5} {row.requests:9} {row.tokens:8} "
            f"{row.tokens / alone.tokens:6.0%} {row.same_decisions:7.1%}"
        )
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    endpoint = OpenAIEndpoint().start()
    os.environ |= {
        "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "x", "SUREFOOT_MODEL": MODEL,
        "SUREFOOT_PRICES": json.dumps(PRICES), "SUREFOOT_RETRY_BUDGET": "1",
    }  # fmt: skip
    try:
        rows = asyncio.run(_run(endpoint))
    finally:
        endpoint.stop()
    print(json.dumps([asdict(row) for row in rows], indent=1) if chosen.json else told(rows))


async def _run(endpoint: OpenAIEndpoint) -> list[Row]:
    return await measure(endpoint, await facts())


if __name__ == "__main__":
    main()
