"""How good the embedded support models are: `python benchmarks/support_accuracy.py [--json]`.

First five-fold stratified cross-validation on the shipped labelled tickets (the shipped phrases are only ever trained
on), then the shipped model on the example tickets, which nothing was trained on. The cues and phrases were written
with tickets of the shipped set in view, so the first set of numbers flatters a little; the second is the one to quote.
Needs no key and no network; takes under two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from state.support import CATEGORIES, URGENCIES  # noqa: E402 - the path comes first
from tasks import data  # noqa: E402
from tasks.data import LabelledTicket  # noqa: E402
from tasks.embedded import support, support_text  # noqa: E402
from tasks.embedded.support_model import SupportModel, shipped, sklearn  # noqa: E402
from tasks.mail import read_mail  # noqa: E402

EXAMPLES = ROOT / "examples" / "tickets.jsonl"
LABELS = ROOT / "benchmarks" / "data" / "tickets_labels.jsonl"
LEVELS = (0.5, 0.6, 0.7, 0.8)
"""Confidences of the coverage table."""


class Prediction(NamedTuple):
    """What was predicted for a ticket, beside the truth."""

    language: str
    category: str
    true_category: str
    confidence: float
    urgency: str
    true_urgency: str

    @property
    def right(self) -> bool:
        """Whether the category is right."""
        return self.category == self.true_category


def predict(model: SupportModel, tickets: Iterable[LabelledTicket]) -> list[Prediction]:
    """Predict as the support tasks do: the urgency sees the predicted category, not the true one."""
    rows = []
    for ticket in tickets:
        mail = read_mail(ticket.subject, ticket.text)
        category, confidence = support.classify(mail.subject, mail.text, model=model)
        level, _ = support.urgency(mail.subject, mail.text, category, model=model)
        language = support_text.language(ticket.subject, ticket.text)
        rows.append(Prediction(language, category, ticket.category, confidence, level, ticket.urgency))
    return rows


def cross_validate(tickets: Sequence[LabelledTicket], folds: int = 5, seed: int = 0) -> list[Prediction]:
    """Predict each ticket with a model that has not seen it."""
    splitter = sklearn("model_selection").StratifiedKFold(folds, shuffle=True, random_state=seed)
    rows: list[Prediction] = []
    for train, test in splitter.split([0] * len(tickets), [t.category for t in tickets]):
        model = SupportModel([tickets[i] for i in train], data.support_phrases())
        rows += predict(model, (tickets[i] for i in test))
    return rows


def held_out() -> list[LabelledTicket]:
    """Return the example tickets that have a label, or none when the files are not there."""
    if not (EXAMPLES.exists() and LABELS.exists()):
        return []
    labels = {row["id"]: row for row in map(json.loads, LABELS.read_text("utf-8").splitlines())}
    rows = map(json.loads, EXAMPLES.read_text("utf-8").splitlines())
    return [
        LabelledTicket(
            row.get("subject") or "", row["text"], labels[row["id"]]["category"], labels[row["id"]]["urgency"]
        )
        for row in rows
        if row["id"] in labels
    ]


def share(hits: Iterable[bool]) -> float:
    """Return the share of hits, 0 for nothing."""
    values = list(hits)
    return round(sum(values) / len(values), 3) if values else 0.0


def calibration_error(rows: Sequence[Prediction], bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal width (Naeini et al., 2015)."""
    groups: dict[int, list[Prediction]] = {}
    for row in rows:
        groups.setdefault(min(bins - 1, int(row.confidence * bins)), []).append(row)
    gaps = (abs(sum(r.confidence - r.right for r in group)) for group in groups.values())
    return round(sum(gaps) / max(1, len(rows)), 3)


def waits(row: Prediction, below: float = support.REVIEW_BELOW) -> bool:
    """Tell whether a person would be asked: unsure of the category, or critical."""
    return row.confidence < below or row.urgency == "critical"


def measure(rows: Sequence[Prediction]) -> dict[str, Any]:
    """Return every number of the report."""
    ranks = [(URGENCIES.index(r.urgency), URGENCIES.index(r.true_urgency)) for r in rows]
    passing = [r for r in rows if not waits(r)]
    return {
        "tickets": len(rows),
        "category": share(r.right for r in rows),
        "urgency_exact": share(a == b for a, b in ranks),
        "urgency_within_one": share(abs(a - b) <= 1 for a, b in ranks),
        "critical_recall": share(r.urgency == "critical" for r in rows if r.true_urgency == "critical"),
        "critical_precision": share(r.true_urgency == "critical" for r in rows if r.urgency == "critical"),
        "critical_share": share(r.urgency == "critical" for r in rows),
        "calibration_error": calibration_error(rows),
        "coverage": {f"{level:g}": _covered(rows, level) for level in LEVELS},
        "review_below": support.REVIEW_BELOW,
        "would_wait": share(waits(r) for r in rows),
        "category_of_passing": share(r.right for r in passing),
        "urgency_of_passing": share(r.urgency == r.true_urgency for r in passing),
    }


def _covered(rows: Sequence[Prediction], level: float) -> dict[str, float]:
    sure = [r for r in rows if r.confidence >= level]
    return {"coverage": share(r.confidence >= level for r in rows), "accuracy": share(r.right for r in sure)}


def by(rows: Sequence[Prediction], key: Callable[[Prediction], str]) -> dict[str, dict[str, float]]:
    """Return count and accuracies for each group of predictions."""
    return {
        name: {
            "tickets": count,
            "category": share(r.right for r in rows if key(r) == name),
            "urgency_exact": share(r.urgency == r.true_urgency for r in rows if key(r) == name),
        }
        for name, count in sorted(Counter(map(key, rows)).items())
    }


def report(title: str, rows: Sequence[Prediction]) -> dict[str, Any]:
    """Return the numbers of one set of tickets, whole and by group."""
    return {
        "title": title,
        **measure(rows),
        "by_language": by(rows, lambda r: r.language),
        "by_category": by(rows, lambda r: r.true_category),
        "by_urgency": by(rows, lambda r: r.true_urgency),
    }


def show(numbers: dict[str, Any]) -> None:
    """Print one report for people."""
    print(f"\n{numbers['title']}: {numbers['tickets']} tickets")
    for name, value in numbers.items():
        if isinstance(value, float):
            print(f"  {name:<22}{value:.3f}")
    for level, row in numbers["coverage"].items():
        print(f"  confidence >= {level}: covers {row['coverage']:.1%} at {row['accuracy']:.1%}")
    for group in ("by_language", "by_category", "by_urgency"):
        for name, row in numbers[group].items():
            print(
                f"  {name:<16}n={row['tickets']:<5} category {row['category']:.3f}  urgency {row['urgency_exact']:.3f}"
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    tickets = data.support_tickets()
    assert {t.category for t in tickets} <= set(CATEGORIES)
    reports = {"cross_validated": report("Five-fold cross-validation", cross_validate(tickets))}
    sklearn("linear_model")
    started = time.process_time()
    model = shipped()
    fit_s = time.process_time() - started
    examples = held_out()
    if examples:
        started = time.process_time()
        reports["held_out"] = report("Example tickets, never trained on", predict(model, examples))
        per_ticket = (time.process_time() - started) / len(examples)
        reports["speed"] = {"fit_s": round(fit_s, 2), "predict_ms": round(per_ticket * 1000, 1)}
    if arguments.json:
        print(json.dumps(reports, indent=2))
        return
    for name, numbers in reports.items():
        if name == "speed":
            print(
                f"\nCPU time: fit {numbers['fit_s']} s, category and urgency of one ticket {numbers['predict_ms']} ms"
            )
        else:
            show(numbers)


if __name__ == "__main__":
    main()
