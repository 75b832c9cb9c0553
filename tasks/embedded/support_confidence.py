"""How probable it is that a category is right: fitted on what was right and wrong in texts that the model had not seen.

Scores alone say too much of short texts: "two of everything before monday" has only words that the model knows, none of
them about anything that support does, and some category always wins. So the probability is a logistic regression
(Platt, 1999, "Probabilistic Outputs for Support Vector Machines") on the scores and on what there is to go by: cues of
a subject, known words, and whether similar tickets have the same category. It learns from the shipped tickets and
phrases, each scored by a model that has not seen it, and from short texts that say enough or nothing
(`support_short.txt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tasks.embedded import support_text
from tasks.embedded.support_features import Reading

SHORT_WEIGHT: Final = 2.0
"""How much a short text counts beside a ticket: there are few of them, and they are the hard ones."""

NEIGHBOURS: Final = 8
"""Most similar tickets that are asked for their category."""

SHORT: Final = 6.0
"""Words after which a text is no longer short: what follows from shortness falls by a factor of e."""

SUBJECTS: Final = frozenset(
    [
        "money",
        "price",
        "plan",
        "seats",
        "card",
        "tax",
        "charge_act",
        "crash",
        "broken",
        "error",
        "slow",
        "unable",
        "wish",
        "manual_pain",
        "admin",
        "legal",
        "contact",
        "thanks",
        "outage",
        "dataloss",
        "leak",
        "lockout",
        "cosmetic",
        "repro",
    ]
)
"""Cues of something that support deals with; the others are about tone, time and form."""


class Evidence(NamedTuple):
    """What a confidence is made from."""

    scores: Any
    """Scores of the categories, one row a text."""
    alike: Any
    """Similarity to each labelled text (sparse), one row a text."""
    readings: Sequence[Reading]
    known: Sequence[float]
    """Share of known words, by text."""


class Confidence:
    """The probability that the category with the highest score is right."""

    def __init__(self, features: Any, right: Any, weights: Any) -> None:
        """Fit on rows of `features_of`, whether the category was right in each, and how much each counts."""
        from tasks.embedded.support_model import sklearn

        self._mean, self._spread = features.mean(axis=0), features.std(axis=0) + 1e-9
        model = sklearn("linear_model").LogisticRegression(C=1.0, max_iter=300, random_state=0)
        model.fit(self._scaled(features), right, sample_weight=weights)
        self._weights, self._shift = model.coef_[0], float(model.intercept_[0])

    def _scaled(self, features: Any) -> Any:
        return (features - self._mean) / self._spread

    def of(self, features: Any) -> Any:
        """Return the probability for each row."""
        import numpy as np

        return 1 / (1 + np.exp(-(self._scaled(features) @ self._weights + self._shift)))


def features_of(evidence: Evidence, categories: Any) -> Any:
    """Return one row a text; `categories` are those of the labelled texts that `evidence.alike` has columns for."""
    import numpy as np

    best = evidence.scores.argmax(axis=1)
    margin = _log_odds(evidence.scores)
    nothing = np.array([float(not subjects_of(reading)) for reading in evidence.readings])
    words = np.array([_count(reading) for reading in evidence.readings])
    agree = np.array([_agreement(evidence.alike[row], categories, best[row]) for row in range(len(best))])
    known = np.asarray(evidence.known)
    return np.column_stack([margin, nothing, margin * nothing, np.exp(-words / SHORT) * nothing, known, agree])


def subjects_of(reading: Reading) -> set[str]:
    """Return the cues of a text that name something support deals with."""
    return {cue for cue in reading.cues if cue in SUBJECTS}


def _count(reading: Reading) -> int:
    return sum(word.isalpha() for word in support_text.tokens(reading.words))


def _log_odds(scores: Any) -> Any:
    """Return the log-odds of the highest score under the softmax."""
    import numpy as np

    highest = scores.max(axis=1)
    shifted = np.exp(scores - highest[:, None])
    return -np.log(np.maximum(shifted.sum(axis=1) - 1.0, 1e-9))


def _agreement(alike: Any, categories: Any, best: int) -> float:
    """Return the share of the most similar texts that have a category, each by how similar it is."""
    import numpy as np

    row = alike.toarray()[0]
    nearest = np.argsort(-row, kind="stable")[:NEIGHBOURS]
    whole = row[nearest].sum()
    return float(row[nearest][categories[nearest] == best].sum() / whole) if whole > 0 else 0.0
