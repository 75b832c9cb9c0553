"""Labelled data that the embedded models learn from, shipped inside the package."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from state.support import CATEGORIES, URGENCIES


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


def own_tickets(path: str) -> tuple[LabelledTicket, ...]:
    """Read labelled tickets of one's own: JSON Lines with `text`, `category`, `urgency` and perhaps `subject`.

    Raises `ValueError` that names the line, and `OSError`.
    """
    found = []
    for number, line in enumerate(Path(path).read_text("utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ticket = LabelledTicket(row.get("subject") or "", row["text"], row["category"], row["urgency"])
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"line {number}: {type(error).__name__}, text, category and urgency are needed") from None
        if ticket.category not in CATEGORIES or ticket.urgency not in URGENCIES or not isinstance(ticket.text, str):
            raise ValueError(f"line {number}: category is one of {CATEGORIES}, urgency one of {URGENCIES}")
        found.append(ticket)
    return tuple(found)


@lru_cache(maxsize=1)
def short_texts() -> tuple[tuple[str, str], ...]:
    """Return the shipped short texts, each after its category or `unclear`: what confidence is fitted on."""
    lines = resources.files(__name__).joinpath("support_short.txt").read_text("utf-8").splitlines()
    rows = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return tuple((label, text) for label, text in rows)


@lru_cache(maxsize=1)
def support_phrases() -> tuple[LabelledTicket, ...]:
    """Return the shipped labelled phrases: they widen the vocabulary of a model, and nothing is scored on them."""
    lines = resources.files(__name__).joinpath("support_phrases.txt").read_text("utf-8").splitlines()
    rows = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return tuple(LabelledTicket("", text, *label.split("/")) for label, text in rows)
