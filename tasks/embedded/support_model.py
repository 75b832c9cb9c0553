"""The models behind the embedded support tasks: fitted at first use from the shipped data, kept for the process.

Category: logistic regression on word and character n-grams and on cues, with a confidence of its own
(`support_confidence`) that is fitted on out-of-fold scores. Urgency: one
logistic regression a threshold (at least medium, high, critical; Frank and Hall, 2001, "A Simple Approach to Ordinal
Classification") on the same features and the category. scikit-learn has no type stubs, so what comes from it is `Any`
and stays inside this module.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from state.support import CATEGORIES, URGENCIES
from tasks import data
from tasks.data import LabelledTicket
from tasks.embedded import support_text
from tasks.embedded.support_confidence import SHORT_WEIGHT, Confidence, Evidence, features_of
from tasks.embedded.support_features import Reading, read

CATEGORY_C: Final = 1.0
"""Inverse strength of regularisation of the category model; flat between 0.3 and 1 in cross-validation."""

URGENCY_C: Final = 0.7
"""The same for the urgency models."""

WEIGHTS: Final = (0.5, 4.0, 4.0)
"""How much cues, words and character n-grams count: rows of the latter two have length one, cues about five."""

CATEGORY_WEIGHT: Final = 1.0
"""Size of the feature that tells the urgency model the category."""

CRITICAL_FROM: Final = 0.15
"""Probability from which a ticket counts as critical: a missed one costs far more than one that is read in vain.

In cross-validation it finds 87 % of the critical tickets, and 61 % of those it flags are critical; 0.10 would find
about 90 % at 51 %, 0.22 about 82 % at 74 %.
"""

KNOWN_SHARE: Final = 0.4
"""Share of known words below which confidence shrinks in proportion: another language, or noise."""

FOLDS: Final = 3
"""Folds of the out-of-fold scores that the confidence is fitted on."""

PHRASE_WEIGHT: Final = 0.7
"""How much a phrase counts for the confidence beside a ticket."""

TOKEN: Final = r"<\w+>|[^\W\d_]+|\?"  # noqa: S105 - a pattern


def sklearn(name: str) -> Any:
    """Import a module of scikit-learn, or say how to get it."""
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError as error:
        from nodes.errors import ConfigurationError  # imports langgraph, which the models do without

        raise ConfigurationError(
            "the embedded provider needs scikit-learn: pip install 'surefoot[embedded]'"
        ) from error


class Vectorizer:
    """Turns readings into one sparse matrix of cues, words and character n-grams."""

    def __init__(self) -> None:
        text = sklearn("feature_extraction.text")
        self._cues = sklearn("feature_extraction").DictVectorizer()
        self._words = text.TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=TOKEN)
        self._chars = text.TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), min_df=2, sublinear_tf=True, max_features=30_000
        )

    def fit(self, readings: Sequence[Reading]) -> Any:
        """Learn the vocabulary of these readings and return their matrix."""
        return self._stack(readings, "fit_transform")

    def transform(self, readings: Sequence[Reading]) -> Any:
        """Return the matrix of these readings in the learned vocabulary."""
        return self._stack(readings, "transform")

    def lexical(self, matrix: Any) -> Any:
        """Return a matrix with its columns of cues empty: what is left is words and character n-grams."""
        import numpy as np
        from scipy import sparse

        kept = np.arange(matrix.shape[1]) >= len(self._cues.vocabulary_)
        return (matrix @ sparse.diags(kept.astype(float))).tocsr()

    def known_share(self, reading: Reading) -> float:
        """Return the share of the words of a reading that the training data holds."""
        words = [w for w in support_text.tokens(reading.words) if w.isalpha()]
        vocabulary = self._words.vocabulary_
        return sum(word in vocabulary for word in words) / max(1, len(words))

    def _stack(self, readings: Sequence[Reading], method: str) -> Any:
        from scipy import sparse  # slow to import

        texts = [reading.words for reading in readings]
        parts = zip(
            WEIGHTS,
            (self._cues, self._words, self._chars),
            ([reading.cues for reading in readings], texts, texts),
            strict=True,
        )
        return sparse.hstack([getattr(part, method)(rows) * weight for weight, part, rows in parts]).tocsr()


class _Seen(NamedTuple):
    """What the category model makes of some texts."""

    best: Any
    """Index of the category with the highest score, by text."""
    features: Any
    """What its confidence is made from, one row a text."""


class SupportModel:
    """Category and urgency of support tickets, learned from labelled ones."""

    def __init__(self, tickets: Sequence[LabelledTicket], phrases: Sequence[LabelledTicket] = ()) -> None:
        everything = [*tickets, *phrases]
        readings = [read(t.subject, t.text) for t in everything]
        self._vectorizer = Vectorizer()
        with _one_thread():
            matrix = self._vectorizer.fit(readings)
            self._fit_category(matrix, [CATEGORIES.index(t.category) for t in everything])
            self._fit_confidence(matrix, readings, len(tickets))
            self._fit_urgency(matrix, everything)

    def _fit_category(self, matrix: Any, labels: list[int]) -> None:
        import numpy as np

        self._labels = np.asarray(labels)
        self._category = _logistic(CATEGORY_C).fit(matrix, self._labels)
        self._known = self._vectorizer.lexical(matrix)
        """The labelled texts by their words; multiplied with a text it gives how alike they are."""
        self._columns = self._known.T.tocsr()

    def _fit_confidence(self, matrix: Any, readings: Sequence[Reading], tickets: int) -> None:
        """Fit how probable it is that a category is right: on rows as a model sees them that was fitted without."""
        import numpy as np

        y = self._labels
        splits = sklearn("model_selection").StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        rows, right, weights = [], [], []
        for train, test in splits.split(np.zeros(len(y)), y):
            scores = _logistic(CATEGORY_C).fit(matrix[train], y[train]).decision_function(matrix[test])
            alike = matrix[test] @ self._known[train].T
            alike = alike.tocsr()
            seen = [readings[row] for row in test]
            known = [self._vectorizer.known_share(reading) for reading in seen]
            rows.append(features_of(Evidence(scores, alike, seen, known), y[train]))
            right.append(scores.argmax(axis=1) == y[test])
            weights.append(np.where(test < tickets, 1.0, PHRASE_WEIGHT))
        short = data.short_texts()
        told = self._features([read("", text) for _, text in short])
        truth = np.array([CATEGORIES.index(label) if label in CATEGORIES else -1 for label, _ in short])
        rows.append(told.features)
        right.append(told.best == truth)
        weights.append(np.full(len(short), SHORT_WEIGHT))
        self._confidence = Confidence(np.vstack(rows), np.concatenate(right), np.concatenate(weights))

    def _features(self, readings: Sequence[Reading]) -> _Seen:
        """Return the best categories of texts, and what their confidence is made from."""
        matrix = self._vectorizer.transform(readings)
        scores = self._category.decision_function(matrix)
        alike = (matrix @ self._columns).tocsr()
        known = [self._vectorizer.known_share(reading) for reading in readings]
        return _Seen(scores.argmax(axis=1), features_of(Evidence(scores, alike, readings, known), self._labels))

    def _fit_urgency(self, matrix: Any, tickets: Sequence[LabelledTicket]) -> None:
        import numpy as np

        y = np.asarray([URGENCIES.index(t.urgency) for t in tickets])
        with_category = _with_category(matrix, [t.category for t in tickets])
        self._urgency = [_logistic(URGENCY_C).fit(with_category, y >= level) for level in range(1, len(URGENCIES))]

    def category(self, subject: str, text: str) -> tuple[str, float]:
        """Return the most probable category and its calibrated probability."""
        reading = read(subject, text)
        seen = self._features([reading])
        return CATEGORIES[int(seen.best[0])], float(self._confidence.of(seen.features)[0]) * self._familiarity(reading)

    def _familiarity(self, reading: Reading) -> float:
        """Return 1 for text in words that the model knows, less for other languages and noise."""
        return min(1.0, self._vectorizer.known_share(reading) / KNOWN_SHARE)

    def urgency(self, subject: str, text: str, category: str) -> list[float]:
        """Return the probability of each level, from low to critical."""
        reading = read(support_text.without_steering(subject), support_text.without_steering(text))
        row = _with_category(self._vectorizer.transform([reading]), [category])
        above = [1.0, *(float(m.predict_proba(row)[0, 1]) for m in self._urgency), 0.0]
        falling = [min(above[: level + 1]) for level in range(len(above))]
        return [falling[level] - falling[level + 1] for level in range(len(URGENCIES))]


def _one_thread() -> AbstractContextManager[Any]:
    """Keep the linear algebra on one thread: on these small matrices several threads take ten times the CPU."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def _logistic(c: float) -> Any:
    return sklearn("linear_model").LogisticRegression(C=c, max_iter=300, tol=1e-3, random_state=0)


def _with_category(matrix: Any, categories: Sequence[str]) -> Any:
    """Append one column a category."""
    from scipy import sparse

    columns = [[CATEGORY_WEIGHT * (name == category) for name in CATEGORIES] for category in categories]
    return sparse.hstack([matrix, sparse.csr_matrix(columns)]).tocsr()


_lock = threading.Lock()
_held: dict[str, SupportModel] = {}


def _labelled() -> Sequence[LabelledTicket]:
    """Return the shipped tickets, and those of the settings; raises `ConfigurationError` for a file of no use."""
    from nodes.call import call_settings  # imports langgraph, which the models do without
    from nodes.errors import ConfigurationError

    path = call_settings().support_tickets
    try:
        return [*data.support_tickets(), *(data.own_tickets(path) if path else ())]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"SUREFOOT_SUPPORT_TICKETS, {path}: {error}") from None


def shipped(load: Callable[[], Sequence[LabelledTicket]] = _labelled) -> SupportModel:
    """Return the model of the shipped data, and of one's own if there is any; the first caller fits it, others wait."""
    if "support" not in _held:
        with _lock:
            if "support" not in _held:
                _held["support"] = SupportModel(load(), data.support_phrases())
    return _held["support"]
