"""Support tickets without a model endpoint: category, urgency and a first response."""

from __future__ import annotations

from typing import Final

from state.support import CATEGORIES, URGENCIES
from tasks.embedded import support_model, support_text
from tasks.embedded.support_draft import draft
from tasks.embedded.support_model import SupportModel

__all__ = ["REVIEW_BELOW", "classify", "draft", "urgency"]

REVIEW_BELOW: Final = 0.8
"""Category confidence below which a person should look.

With it 28 % of the 240 example tickets wait for a person (unsure of the category, or critical), and of those that pass
93 % have the right category (`benchmarks/support_accuracy.py`; 42 % and 94 % in cross-validation on the shipped
tickets, which are harder).
"""

_FLOOR: Final = URGENCIES.index("high")


def classify(subject: str, text: str, *, model: SupportModel | None = None) -> tuple[str, float]:
    """Return the category of a ticket and the calibrated probability that it is right.

    Text that says nothing (blank, emoji alone, an alphabet that the model never saw) is `general` with confidence 0,
    so that a person looks.
    """
    if not support_text.readable(subject, text):
        return "general", 0.0
    return (model or support_model.shipped()).category(subject, text)


def urgency(subject: str, text: str, category: str, *, model: SupportModel | None = None) -> tuple[str, float]:
    """Return the urgency of a ticket and the model's probability of it; billing is never below high.

    Raises `ValueError` for a category that does not exist.
    """
    if category not in CATEGORIES:
        raise ValueError(f"unknown category {category[:40]!r}")
    floor = _FLOOR if category == "billing" else 0
    if not support_text.readable(subject, text):
        # Words that cannot be read may still matter: only what holds no letters at all is known to be harmless.
        level = 1 if any(c.isalpha() for c in support_text.cut(text) + subject) else 0
        return URGENCIES[max(floor, level)], 0.0
    return decide((model or support_model.shipped()).urgency(subject, text, category), category)


def decide(probabilities: list[float], category: str) -> tuple[str, float]:
    """Choose a level: critical early, because missing one is the worst mistake; otherwise the most probable one."""
    critical = len(URGENCIES) - 1
    if probabilities[critical] >= support_model.CRITICAL_FROM:
        return URGENCIES[critical], probabilities[critical]
    level = max(range(critical), key=lambda i: probabilities[i])
    if category == "billing" and level < _FLOOR:
        return URGENCIES[_FLOOR], sum(probabilities[: _FLOOR + 1])
    return URGENCIES[level], probabilities[level]
