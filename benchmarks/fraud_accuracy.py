"""How good the seven fraud models and their vote are: `python benchmarks/fraud_accuracy.py`.

On generated transactions that no model was fitted on, and on a month in which habits have drifted. For each model, a
plain vote of four of seven and the weighted vote: AUC, F1, precision, recall and calibration; then what it costs when
any three models are down, and what happens when any four are. `--example` writes `examples/transactions.csv` anew.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the path comes first
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from sklearn.metrics import (  # noqa: E402
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from nodes.tally import tally, weight_of  # noqa: E402
from tasks.embedded import fraud_models  # noqa: E402
from tasks.embedded.fraud_data import transactions  # noqa: E402
from tasks.fraud import RULES, WEIGHTS  # noqa: E402

THRESHOLD = (30_000, 779)
"""Rows and seed of the data that the threshold is chosen on."""
HELD_OUT = (40_000, 777, 0.0)
DRIFTED = (20_000, 778, 1.0)
EXAMPLE = (5_000, 20261123)
NAMES = fraud_models.NAMES


def pooled(found: dict[str, Any], names: tuple[str, ...]) -> Any:
    return sum(WEIGHTS[n] * found[n] for n in names) / sum(WEIGHTS[n] for n in names)


def best_threshold(p: Any, labels: Any) -> float:
    candidates = np.quantile(p, np.linspace(0.8, 0.999, 300))
    return float(max(candidates, key=lambda at: f1_score(labels, p >= at)))


def steady_threshold(models: Any) -> float:
    """Return the threshold whose F1 is the best in the worst case of three models that are down."""
    rows, labels = fraud_models.matrix_of(*THRESHOLD)
    found = {name: models[name].probabilities(rows) for name in NAMES}
    sets = [NAMES, *(tuple(n for n in NAMES if n not in gone) for gone in itertools.combinations(NAMES, 3))]
    scores = [pooled(found, names) for names in sets]
    candidates = [round(0.2 + 0.01 * step, 2) for step in range(50)]
    return max(candidates, key=lambda at: min(f1_score(labels, score >= at) for score in scores))


def calibration_error(p: Any, labels: Any, bins: int = 10) -> float:
    """Expected calibration error: mean distance between what is said and what comes true, over bins of the score."""
    at = np.minimum((p * bins).astype(int), bins - 1)
    parts = [
        (abs(p[at == b].mean() - labels[at == b].mean()), (at == b).mean()) for b in range(bins) if (at == b).any()
    ]
    return float(sum(error * share for error, share in parts))


def figures(p: Any, labels: Any, threshold: float) -> dict[str, float]:
    said = p >= threshold
    return {
        "auc": roc_auc_score(labels, p), "f1": f1_score(labels, said), "precision": precision_score(labels, said),
        "recall": recall_score(labels, said), "ece": calibration_error(p, labels), "brier": brier_score_loss(labels, p),
    }  # fmt: skip


def measure() -> dict[str, Any]:
    models = fraud_models.ready()
    report: dict[str, Any] = {"weights": {}, "sets": {}}
    held = fraud_models.matrix_of(*fraud_models.CALIBRATION)
    known = {name: models[name].probabilities(held[0]) for name in NAMES}
    at = {name: best_threshold(known[name], held[1]) for name in NAMES}
    cases = 2 * int(held[1].sum())
    report["weights"] = {
        n: round(weight_of(balanced_accuracy_score(held[1], known[n] >= at[n]), cases), 2) for n in NAMES
    }  # fmt: skip
    report["threshold"] = steady_threshold(models)
    for title, (count, seed, drift) in (("held out", HELD_OUT), ("drifted month", DRIFTED)):
        rows, labels = fraud_models.matrix_of(count, seed, drift)
        found = {name: models[name].probabilities(rows) for name in NAMES}
        told = {name: figures(found[name], labels, at[name]) for name in NAMES}
        votes = sum((found[name] >= at[name]).astype(float) for name in NAMES) / len(NAMES)
        told["4 of 7"] = figures(votes, labels, 4 / 7 - 1e-9)
        told["weighted vote"] = figures(pooled(found, NAMES), labels, RULES.threshold)
        report["sets"][title] = {"figures": told, **losses(found, labels), **decided(found, labels)}
    return report


def losses(found: dict[str, Any], labels: Any) -> dict[str, Any]:
    """Points of F1 that are lost when any three models are down, and the share that goes to people with any four."""
    whole = f1_score(labels, pooled(found, NAMES) >= RULES.threshold)
    lost = {}
    for gone in itertools.combinations(NAMES, 3):
        left = tuple(name for name in NAMES if name not in gone)
        lost[", ".join(gone)] = 100 * (whole - f1_score(labels, pooled(found, left) >= RULES.threshold))
    worst = max(lost, key=lambda gone: lost[gone])
    asked = []
    for gone in itertools.combinations(NAMES, 4):
        left = {name: float(found[name][0]) for name in NAMES if name not in gone}
        asked.append(tally(left, WEIGHTS, RULES).verdict == "unsure")
    mean = float(np.mean(list(lost.values())))
    return {
        "three_down_worst": {worst: round(lost[worst], 2)}, "three_down_mean": round(mean, 2),
        "four_down_to_people": sum(asked) / len(asked),
    }  # fmt: skip


def decided(found: dict[str, Any], labels: Any) -> dict[str, float]:
    """Share that the vote leaves to people, and how good it is on the rest."""
    score = pooled(found, NAMES)
    close = np.abs(score - RULES.threshold) < RULES.thin
    sure = ~close
    return {
        "to_people": float(close.mean()),
        "f1_of_decided": float(f1_score(labels[sure], score[sure] >= RULES.threshold)),
        "fraud_passed_as_clean": float(((score < RULES.threshold) & sure & (labels == 1)).sum() / labels.sum()),
    }


def write_example() -> None:
    rows, labels = transactions(*EXAMPLE)
    with (ROOT / "examples" / "transactions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"id": f"X-{number:05d}", **row} for number, row in enumerate(rows, 1))
    told = {f"X-{number:05d}": label for number, label in enumerate(labels, 1) if label}
    (ROOT / "benchmarks" / "data" / "transactions_fraud.json").write_text(json.dumps(sorted(told)) + "\n")


def main() -> None:
    if "--example" in sys.argv:
        write_example()
    report = measure()
    console = Console(width=110)
    for title, found in report["sets"].items():
        table = Table(title=title, title_justify="left")
        for column in ("", "AUC", "F1", "precision", "recall", "calibration error", "Brier"):
            table.add_column(column, justify="left" if not column else "right")
        for name, told in found["figures"].items():
            table.add_row(name, *(f"{value:.3f}" for value in told.values()))
        console.print(table)
        console.print({key: value for key, value in found.items() if key != "figures"})
    console.print({"weights": report["weights"], "threshold": report["threshold"]})
    (ROOT / "benchmarks" / "results" / "fraud_accuracy.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
