"""Transactions made up from a few habits of honest people and a few of thieves, with fixed seeds.

No real data: what the models learn from it shows that the pipeline works, not how much fraud there is anywhere.
Patterns overlap on purpose, some honest people behave oddly, and some labels are wrong.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

MERCHANTS: Final = (
    "groceries", "electronics", "travel", "gaming", "fuel", "fashion", "crypto", "services", "person",
)  # fmt: skip
CHANNELS: Final = ("card_present", "online", "transfer", "atm")
FRAUD_SHARE: Final = 0.04
"""Share of fraud; higher than in life (about one in a thousand), so that a few thousand rows hold enough of it."""
WRONG_LABELS: Final = 0.004
"""Share of labels that are wrong: disputes that were none, and fraud that nobody noticed."""

Row = dict[str, Any]


def transactions(count: int, seed: int, *, drift: float = 0.0) -> tuple[list[Row], list[int]]:
    """Return transactions and their labels (1 for fraud).

    `drift` (0 to 1) moves the habits of both: more online, higher amounts, thieves that are slower and less greedy.
    """
    dice = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        fraud = dice.random() < FRAUD_SHARE
        row = _honest(dice, drift)
        if fraud:
            _spoil(row, dice, drift)
        wrong = dice.random() < WRONG_LABELS
        rows.append(row)
        labels.append(int(fraud) ^ int(wrong))
    return rows, labels


def _honest(dice: np.random.Generator, drift: float) -> Row:
    usual = float(np.exp(dice.normal(3.6 + 0.2 * drift, 0.6)))
    online = dice.random() < 0.4 + 0.2 * drift
    channel = "online" if online else str(dice.choice(["card_present", "card_present", "transfer", "atm"]))
    travelling = dice.random() < 0.06
    last_day = int(dice.poisson(2.2))
    return {
        "amount": round(max(0.5, usual * float(np.exp(dice.normal(0, 0.75)))), 2),
        "usual_amount": round(usual, 2),
        "channel": channel,
        "merchant": "person" if channel == "transfer" and dice.random() < 0.7 else str(dice.choice(MERCHANTS[:8])),
        "hour": int(np.clip(dice.normal(15, 4.5), 0, 23)),
        "distance_km": round(float(dice.exponential(900 if travelling else 9)), 1),
        "foreign": bool(travelling or dice.random() < (0.12 if online else 0.01)),
        "new_device": bool(dice.random() < (0.07 if online else 0.01)),
        "new_payee": bool(dice.random() < 0.25),
        "account_days": round(float(dice.gamma(2.0, 500)), 0),
        "last_hour": int(min(last_day, dice.poisson(0.25))),
        "last_day": last_day,
        "failed_day": int(dice.poisson(0.06)),
    }


def _spoil(row: Row, dice: np.random.Generator, drift: float) -> None:
    """Turn an honest transaction into one of a thief's."""
    kind = dice.choice(["testing", "takeover", "bust_out", "mule", "friendly"], p=[0.28, 0.32, 0.16, 0.16, 0.08])
    greed = float(np.exp(dice.normal(1.5 - 0.4 * drift, 0.5)))
    if kind == "testing":
        row |= {
            "amount": round(float(dice.uniform(0.5, 5 + 5 * drift)), 2), "channel": "online",
            "last_hour": int(3 + dice.poisson(5 - 2 * drift)), "failed_day": int(dice.poisson(3.5 - 1.5 * drift)),
            "new_payee": True, "merchant": str(dice.choice(["gaming", "services", "crypto"])),
        }  # fmt: skip
        row["last_day"] = row["last_hour"] + int(dice.poisson(3))
    elif kind == "takeover":
        row |= {
            "amount": round(row["usual_amount"] * greed, 2), "channel": "online", "new_device": dice.random() < 0.85,
            "new_payee": dice.random() < 0.9, "foreign": dice.random() < 0.55,
            "hour": int(dice.choice([0, 1, 2, 3, 4, 5, 13, 20])),
            "merchant": str(dice.choice(["electronics", "crypto", "fashion", "travel"])),
            "failed_day": int(dice.poisson(0.9)), "distance_km": round(float(dice.exponential(1500)), 1),
        }  # fmt: skip
    elif kind == "bust_out":
        row |= {
            "amount": round(row["usual_amount"] * greed * 1.3, 2), "account_days": round(float(dice.gamma(2, 45)), 0),
            "last_day": int(6 + dice.poisson(5)), "last_hour": int(dice.poisson(2.2)),
            "merchant": str(dice.choice(["electronics", "travel", "crypto"])), "failed_day": int(dice.poisson(0.6)),
        }  # fmt: skip
    elif kind == "mule":
        row |= {
            "amount": round(row["usual_amount"] * greed * 1.6, 2), "channel": "transfer", "merchant": "person",
            "new_payee": True, "account_days": round(float(dice.gamma(2, 60)), 0),
            "last_day": int(3 + dice.poisson(3)), "foreign": dice.random() < 0.35,
        }  # fmt: skip
    # "friendly": an honest transaction that is disputed later; nobody can see it.
