"""Labelled data that the embedded models learn from, shipped inside the package."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import NamedTuple


class LabelledTicket(NamedTuple):
    """A support ticket and what people say about it."""

    subject: str
    text: str
    category: str
    urgency: str


@lru_cache(maxsize=1)
def support_tickets() -> tuple[LabelledTicket, ...]:
    """Return all shipped labelled tickets (`support_tickets_*.jsonl`), in the order of file names and lines."""
    files = [f for f in resources.files(__name__).iterdir() if f.name.startswith("support_tickets_")]
    return tuple(
        LabelledTicket(row.get("subject") or "", row["text"], row["category"], row["urgency"])
        for file in sorted(files, key=lambda f: f.name)
        if file.name.endswith(".jsonl")
        for row in map(json.loads, filter(str.strip, file.read_text("utf-8").split("\n")))
    )


@lru_cache(maxsize=1)
def support_phrases() -> tuple[LabelledTicket, ...]:
    """Return the shipped labelled phrases: they widen the vocabulary of a model, and nothing is scored on them."""
    lines = resources.files(__name__).joinpath("support_phrases.txt").read_text("utf-8").splitlines()
    rows = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return tuple(LabelledTicket("", text, *label.split("/")) for label, text in rows)
