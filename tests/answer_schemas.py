"""Schemas of the corpus of malformed answers, for its tests and its benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CORPUS = Path(__file__).parent / "data" / "malformed_answers.jsonl"


class Ticket(BaseModel):
    category: Literal["bug", "feature_request", "billing", "general"]
    urgency: Literal["low", "medium", "high", "critical"]


class Draft(BaseModel):
    draft: str


class Score(BaseModel):
    model_config = ConfigDict(strict=True)

    id: int
    score: float = Field(ge=0, le=100)
    skills: list[str]
    hired: bool


class Noted(BaseModel):
    id: int
    note: str | None


class Line(BaseModel):
    item: str
    amount: float


class Invoice(BaseModel):
    number: str
    currency: str
    lines: list[Line]
    total: float


SCHEMAS: dict[str, type[BaseModel]] = {
    "ticket": Ticket,
    "draft": Draft,
    "score": Score,
    "score2": Noted,
    "invoice": Invoice,
}


def corpus() -> list[dict[str, Any]]:
    """Return the answers: id, kind, schema, text, finish_reason, and the one right value or None for `refuse it`."""
    return [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
