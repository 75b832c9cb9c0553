"""How many malformed answers become right values, and at how many calls: `python benchmarks/parsing.py [--json]`.

A local endpoint gives the answers of the corpus (`tests/data/malformed_answers.jsonl`) for 17 % of the items and good
ones for the rest; then the corpus alone, half of which holds no value that may be accepted. A second request for the
same item gets a good answer four times in five. Side by side in one run: `json.loads` with pydantic, json-repair with
pydantic, LangChain's `PydanticOutputParser`, its `with_structured_output`, and Surefoot. All try three times.
Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import json_repair  # noqa: E402 - the path comes first
from answer_schemas import SCHEMAS, corpus  # noqa: E402
from langchain_core.output_parsers import PydanticOutputParser  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from pydantic import BaseModel, SecretStr  # noqa: E402

from nodes.call import Call, reset_contacts, set_guard  # noqa: E402
from surefoot.testing import MODEL, PRICES, Fault, OpenAIEndpoint, says  # noqa: E402

GOOD = {
    "ticket": {"category": "billing", "urgency": "high"},
    "draft": {"draft": "Thank you for writing."},
    "score": {"id": 17, "score": 72.5, "skills": ["python"], "hired": False},
    "score2": {"id": 17, "note": None},
    "invoice": {"number": "INV-7", "currency": "EUR", "lines": [], "total": 49.98},
}
"""A good answer by schema, where an item has no one right value."""
SECOND_GOOD = 0.8
TRIES = 3
"""Attempts of an item, as a step with two retries makes them; Surefoot's own second request is one more within each."""
MALFORMED = 0.17
"""Share of malformed first answers in the mixed run: what was measured of a model at temperature 0 in production."""

Ask = Callable[[str, type[BaseModel]], Awaitable[BaseModel]]


@dataclass
class Row:
    """How one way of reading did."""

    answers: str
    way: str
    items: int
    valid: int
    """Items that ended with the right value."""
    wrong: int
    """Items that ended with a value that the answers do not hold."""
    calls_per_item: float


@dataclass(frozen=True)
class Question:
    """One item: what is asked, what is answered first, and what is right."""

    number: int
    schema: str
    first: str | None
    """The malformed answer; None for a good one."""
    finish_reason: str
    right: dict[str, Any] | None
    """The value of the malformed answer; None when it has none that may be accepted."""

    @property
    def good(self) -> dict[str, Any]:
        """What a well-behaved model answers."""
        return self.right or GOOD[self.schema]


def questions(share: float, count: int, seed: int) -> list[Question]:
    """Return items of which a share begins with a malformed answer; 1.0 is the corpus itself."""
    rows, dice, made = corpus(), random.Random(seed), []
    order = rows if share == 1.0 else [dice.choice(rows) if dice.random() < share else None for _ in range(count)]
    for number, row in enumerate(order):
        if row is None:
            made.append(Question(number, dice.choice(list(SCHEMAS)), None, "stop", None))
        else:
            made.append(Question(number, row["schema"], row["text"], row["finish_reason"], row["value"]))
    return made


def answering(asked: list[Question], seed: int) -> Callable[[dict[str, Any]], Fault]:
    """Return what the endpoint says: first the item's own answer, then a good one four times in five."""
    seen: Counter[int] = Counter()

    def fault(body: dict[str, Any]) -> Fault:
        found = re.search(r"\(item (\d+)\)", str(body["messages"]))
        question = asked[int(found[1])]  # type: ignore[index] # every prompt has one
        seen[question.number] += 1
        good = question.first is None or (
            seen[question.number] > 1
            and random.Random(f"{seed} {question.number} {seen[question.number]}").random() < SECOND_GOOD
        )
        return says(json.dumps(question.good)) if good else says(question.first or "", question.finish_reason)

    return fault


def model(url: str) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=url, api_key=SecretStr("x"), max_retries=0, timeout=10)


def reading(url: str, read: Callable[[str, type[BaseModel]], BaseModel]) -> Ask:
    chat = model(url)

    async def ask(prompt: str, schema: type[BaseModel]) -> BaseModel:
        return read(str((await chat.ainvoke(prompt)).content), schema)

    return ask


def structured(url: str) -> Ask:
    chat = model(url)

    async def ask(prompt: str, schema: type[BaseModel]) -> BaseModel:
        found = await chat.with_structured_output(schema).ainvoke(prompt)
        if not isinstance(found, BaseModel):
            raise TypeError("no value")
        return found

    return ask


def surefoot(_url: str) -> Ask:
    async def ask(prompt: str, schema: type[BaseModel]) -> BaseModel:
        return (await Call(step="read", timeout_s=10.0).model(prompt, schema)).value

    return ask


WAYS: dict[str, Callable[[str], Ask]] = {
    "json.loads + pydantic": lambda url: reading(url, lambda text, schema: schema.model_validate_json(text)),
    "json-repair + pydantic": lambda url: reading(
        url, lambda text, schema: schema.model_validate(json_repair.loads(text))
    ),
    "PydanticOutputParser": lambda url: reading(
        url, lambda text, schema: PydanticOutputParser(pydantic_object=schema).parse(text)
    ),
    "with_structured_output": structured,
    "Surefoot": surefoot,
}


async def measure(endpoint: OpenAIEndpoint, name: str, way: str, asked: list[Question], seed: int) -> Row:
    """Ask all questions one way."""
    endpoint.reset()
    endpoint.chaos = answering(asked, seed)
    reset_contacts()
    set_guard(None)
    ask, slots, ends = WAYS[way](endpoint.url), asyncio.Semaphore(8), Counter[str]()

    async def one(question: Question) -> None:
        async with slots:
            for _ in range(TRIES):
                try:
                    value = await ask(f"Read this. (item {question.number})", SCHEMAS[question.schema])
                except Exception:
                    continue
                ends["valid" if value.model_dump() == question.good else "wrong"] += 1
                return

    await asyncio.gather(*(one(question) for question in asked))
    return Row(name, way, len(asked), ends["valid"], ends["wrong"], round(endpoint.calls / len(asked), 3))


async def measure_all(endpoint: OpenAIEndpoint, count: int, seed: int) -> list[Row]:
    mixes = {
        f"{MALFORMED:.0%} malformed": questions(MALFORMED, count, seed),
        "the corpus alone": questions(1.0, 0, seed),
    }
    return [await measure(endpoint, name, way, asked, seed) for name, asked in mixes.items() for way in WAYS]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--items", type=int, default=1000, help="items of the mixed run")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    endpoint = OpenAIEndpoint().start()
    os.environ |= {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "x", "SUREFOOT_MODEL": MODEL}
    os.environ |= {"SUREFOOT_PRICES": json.dumps(PRICES), "SUREFOOT_MAX_COST_USD": "100"}
    try:
        rows = asyncio.run(measure_all(endpoint, asked.items, asked.seed))
    finally:
        endpoint.stop()
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"{'answers':24}{'way':26}{'right':>9}{'wrong':>8}{'calls/item':>12}")
    for row in rows:
        print(f"{row.answers:24}{row.way:26}{row.valid / row.items:>9.1%}{row.wrong:>8}{row.calls_per_item:>12.2f}")


if __name__ == "__main__":
    main()
