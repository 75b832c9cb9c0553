"""The models behind the embedded support tasks: fitted at first use from the shipped data, kept for the process.

Category: logistic regression on word and character n-grams and on cues, its confidence corrected by one temperature
(Guo et al., 2017, "On Calibration of Modern Neural Networks") that is fitted on out-of-fold scores. Urgency: one
logistic regression a threshold (at least medium, high, critical; Frank and Hall, 2001, "A Simple Approach to Ordinal
Classification") on the same features and the category. scikit-learn has no type stubs, so what comes from it is `Any`
and stays inside this module.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from state.support import CATEGORIES, URGENCIES
from tasks import data
from tasks.data import LabelledTicket
from tasks.embedded import support_text
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
"""Folds of the out-of-fold scores that the temperature is fitted on."""

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


class SupportModel:
    """Category and urgency of support tickets, learned from labelled ones."""

    def __init__(self, tickets: Sequence[LabelledTicket], phrases: Sequence[LabelledTicket] = ()) -> None:
        everything = [*tickets, *phrases]
        readings = [read(t.subject, t.text) for t in everything]
        self._vectorizer = Vectorizer()
        with _one_thread():
            matrix = self._vectorizer.fit(readings)
            self._fit_category(matrix, [CATEGORIES.index(t.category) for t in everything], len(tickets))
            self._fit_urgency(matrix, everything)

    def _fit_category(self, matrix: Any, labels: list[int], scored: int) -> None:
        """Fit the category model, and its temperature on the first `scored` rows."""
        import numpy as np

        y = np.asarray(labels)
        self._category = _logistic(CATEGORY_C).fit(matrix, y)
        splits = sklearn("model_selection").StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        scores, truth = [], []
        extra = np.arange(scored, len(y))
        for train, test in splits.split(np.zeros(scored), y[:scored]):
            rows = np.concatenate([train, extra])
            scores.append(_logistic(CATEGORY_C).fit(matrix[rows], y[rows]).decision_function(matrix[test]))
            truth.append(y[test])
        self.temperature = _temperature(np.concatenate(scores), np.concatenate(truth))

    def _fit_urgency(self, matrix: Any, tickets: Sequence[LabelledTicket]) -> None:
        import numpy as np

        y = np.asarray([URGENCIES.index(t.urgency) for t in tickets])
        with_category = _with_category(matrix, [t.category for t in tickets])
        self._urgency = [_logistic(URGENCY_C).fit(with_category, y >= level) for level in range(1, len(URGENCIES))]

    def category(self, subject: str, text: str) -> tuple[str, float]:
        """Return the most probable category and its calibrated probability."""
        reading = read(subject, text)
        scores = self._category.decision_function(self._vectorizer.transform([reading]))[0]
        probabilities = _softmax(scores[None, :] / self.temperature)[0]
        best = int(probabilities.argmax())
        return CATEGORIES[best], float(probabilities[best]) * self._familiarity(reading)

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


def _softmax(scores: Any) -> Any:
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _temperature(scores: Any, truth: Any) -> float:
    """Return the divisor of the scores under which the true categories are most likely."""
    import numpy as np

    def loss(t: float) -> float:
        return float(-np.log(_softmax(scores / t)[np.arange(len(truth)), truth] + 1e-12).mean())

    return min((float(t) for t in np.geomspace(0.3, 3.0, 60)), key=loss)


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
