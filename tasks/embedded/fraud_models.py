"""Seven models that judge a transaction, each in its own way; fitted at first use, from generated data, in seconds.

Each is fitted on one part of the data and calibrated on another (Platt, 1999: a logistic curve over its scores), so
that its probability means the same as that of the others. scikit-learn has no type stubs, so what comes from it is
`Any` and stays inside this module.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from tasks.embedded.fraud_data import CHANNELS, MERCHANTS, transactions
from tasks.embedded.support_model import sklearn

TRAINING: Final = (9_000, 20260101)
"""Rows and seed of the data that the models are fitted on."""
CALIBRATION: Final = (5_000, 20260102)
"""Rows and seed of the data that their probabilities, weights and threshold come from."""

NUMBERS: Final = (
    "log_amount", "log_ratio", "log_distance", "log_age", "last_hour", "last_day", "failed_day", "night", "foreign",
    "new_device", "new_payee", "high_on_new_device", "high_to_new_payee", "high_on_young_account", "small_in_a_burst",
    "busy_and_high", "high_at_night",
)  # fmt: skip
FEATURES: Final = (*NUMBERS, *(f"channel={name}" for name in CHANNELS), *(f"merchant={name}" for name in MERCHANTS))

Row = Mapping[str, Any]


def features(row: Row) -> list[float]:
    """Return a transaction as numbers, in the order of `FEATURES`."""
    ratio = math.log(row["amount"] / row["usual_amount"])
    high, young = max(0.0, ratio), 1 / (1 + row["account_days"] / 100)
    numbers = [
        math.log(row["amount"]),
        ratio,
        math.log1p(row["distance_km"]),
        math.log1p(row["account_days"]),
        math.log1p(row["last_hour"]),
        math.log1p(row["last_day"]),
        math.log1p(row["failed_day"]),
        float(row["hour"] <= 5),
        float(row["foreign"]),
        float(row["new_device"]),
        float(row["new_payee"]),
        high * row["new_device"],
        high * row["new_payee"],
        high * young,
        math.log1p(row["last_hour"]) * (row["amount"] < 15),
        high * math.log1p(row["last_day"]),
        high * (row["hour"] <= 5),
    ]
    channels = [float(row["channel"] == name) for name in CHANNELS]
    return [*numbers, *channels, *(float(row["merchant"] == name) for name in MERCHANTS)]


@dataclass
class Model:
    """One fitted model with its calibration."""

    estimator: Any
    raw: Callable[[Any, Any], Any]
    """Takes the estimator and a matrix, and returns a score for each row: higher is more suspicious."""
    slope: float = 1.0
    shift: float = 0.0

    def probabilities(self, matrix: Any) -> Any:
        """Return the probability of fraud for each row."""
        return 1 / (1 + np.exp(-(self.slope * self.raw(self.estimator, matrix) + self.shift)))

    def calibrate(self, matrix: Any, labels: Any) -> None:
        """Fit the curve that turns scores into probabilities."""
        curve = sklearn("linear_model").LogisticRegression(C=1e6)
        curve.fit(self.raw(self.estimator, matrix).reshape(-1, 1), labels)
        self.slope, self.shift = float(curve.coef_[0, 0]), float(curve.intercept_[0])


def _logit(estimator: Any, matrix: Any) -> Any:
    p = np.clip(estimator.predict_proba(matrix)[:, 1], 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def _anomaly(estimator: Any, matrix: Any) -> Any:
    honest, thieves = estimator
    return (thieves.score_samples(matrix) - honest.score_samples(matrix)) * 10


class _TwoForests:
    """How odd a transaction would be for honest people, against how odd for thieves."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def fit(self, rows: Any, labels: Any) -> tuple[Any, Any]:
        """Return a forest of the honest rows and one of the others."""
        return self._make().fit(rows[labels == 0]), self._make().fit(rows[labels == 1])


def _recipes() -> dict[str, tuple[Any, Callable[[Any, Any], Any]]]:
    """Return the models that are not fitted yet, each with the function that scores rows."""
    ensemble, pipeline, scale = sklearn("ensemble"), sklearn("pipeline"), sklearn("preprocessing")

    def scaled(estimator: Any) -> Any:
        return pipeline.make_pipeline(scale.StandardScaler(), estimator)

    alone = {"random_state": 1, "n_jobs": 1}
    naive = sklearn("naive_bayes").GaussianNB(var_smoothing=1e-2)
    logistic = sklearn("linear_model").LogisticRegression(C=0.02, max_iter=500)
    crossed = pipeline.make_pipeline(
        scale.StandardScaler(), scale.PolynomialFeatures(2, interaction_only=True, include_bias=False), logistic
    )
    return {
        "logistic": (crossed, _logit),
        "forest": (
            ensemble.RandomForestClassifier(n_estimators=120, min_samples_leaf=3, **alone),
            _logit,
        ),
        "boosting": (ensemble.HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, random_state=1), _logit),
        "isolation": (
            _TwoForests(lambda: scaled(ensemble.IsolationForest(n_estimators=100, **alone))),
            _anomaly,
        ),
        "bayes": (
            # Naive Bayes takes its features for independent; turned and stretched they are at least uncorrelated.
            scaled(pipeline.make_pipeline(sklearn("decomposition").PCA(16, whiten=True, random_state=1), naive)),
            _logit,
        ),
        "neighbours": (
            scaled(sklearn("neighbors").KNeighborsClassifier(n_neighbors=25, weights="distance", n_jobs=1)),
            _logit,
        ),
        "perceptron": (
            scaled(sklearn("neural_network").MLPClassifier((24,), alpha=0.05, max_iter=60, random_state=1)),
            _logit,
        ),
    }


NAMES: Final = ("logistic", "forest", "boosting", "isolation", "bayes", "neighbours", "perceptron")

_lock = threading.Lock()
_fitted: dict[str, Model] = {}


def ready() -> Mapping[str, Model]:
    """Return the fitted models; the first call fits them, which takes a few seconds."""
    with _lock:
        if not _fitted:
            _fitted.update(_fit())
        return _fitted


def prepare() -> None:
    """Fit all that a run needs, the model behind the evidence too: it must not be fitted while votes are under way."""
    ready()
    _plain()


def _fit() -> dict[str, Model]:
    import warnings

    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    rows, labels = matrix_of(*TRAINING)
    held_rows, held_labels = matrix_of(*CALIBRATION)
    # Several threads on so little data wait for each other more than they work.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {}
        for name, (estimator, raw) in _recipes().items():
            model = Model(estimator.fit(rows, labels), raw)
            model.calibrate(held_rows, held_labels)
            made[name] = model
    return made


def matrix_of(count: int, seed: int, drift: float = 0.0) -> tuple[Any, Any]:
    """Return generated transactions as a matrix, and their labels."""
    rows, labels = transactions(count, seed, drift=drift)
    return np.array([features(row) for row in rows]), np.array(labels)


def predict(name: str, row: Row) -> float:
    """Return the probability of fraud that one model gives one transaction."""
    model, matrix = ready()[name], np.array([features(row)])
    with _thread_pools().limit(limits=1):
        return float(model.probabilities(matrix)[0])


@cache
def _thread_pools() -> Any:
    """Return the thread pools of the loaded libraries; looking for them costs as much as a prediction."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def evidence(row: Row, most: int = 3) -> list[str]:
    """Say what speaks most for and against fraud: how far each feature lies from what is usual, and which way.

    From a plain logistic regression on single features, whose sum can be taken apart.
    """
    weights, means = _plain()
    parts = [(weight * (value - mean), name) for weight, value, mean, name in zip(
        weights, features(row), means, FEATURES, strict=True
    )]  # fmt: skip
    parts.sort()
    told = [f"for fraud: {name}" for part, name in reversed(parts[-most:]) if part > 0]
    return told + [f"against: {name}" for part, name in parts[:most] if part < 0]


_plain_lock = threading.Lock()
_plain_parts: list[Sequence[float]] = []


def _plain() -> tuple[Sequence[float], Sequence[float]]:
    with _plain_lock:
        if not _plain_parts:
            rows, labels = matrix_of(*CALIBRATION)
            spread = rows.std(axis=0) + 1e-9
            fitted = sklearn("linear_model").LogisticRegression(C=0.5, max_iter=500).fit(rows / spread, labels)
            _plain_parts.extend([fitted.coef_[0] / spread, rows.mean(axis=0)])
        return _plain_parts[0], _plain_parts[1]
