"""Policies: how often, how long, how dear, and what then.

A policy speaks of `retries`, the extra attempts after the first. Every field but `backoff`, which is a function anyway,
takes a value or a callable of the state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from state import RunState

T = TypeVar("T")
Value: TypeAlias = T | Callable[[Any], T]
"""A value, or a callable that derives it from the state."""

Backoff: TypeAlias = Callable[[int, float], float]
"""Seconds to wait before retry `k` (1 for the first), given a random number in [0, 1)."""

OnExhausted = Literal["escalate", "give_up"]


def fixed(seconds: float) -> Backoff:
    """Wait the same time before every retry."""
    if seconds < 0:
        raise ValueError("fixed: seconds must not be negative")
    return lambda _k, _jitter: seconds


def exponential(base: float = 1.0, factor: float = 2.0, cap: float = 30.0) -> Backoff:
    """Wait a random time up to `base * factor**(k-1)` seconds, at most `cap`.

    This is "full jitter": spreading retries over the whole interval keeps clients that failed together from coming
    back together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    if base < 0 or factor < 1 or cap < 0:
        raise ValueError("exponential: base and cap must not be negative, factor must be at least 1")
    # The exponent is bounded because float overflow raises, long after the cap has decided.
    return lambda k, jitter: jitter * min(cap, base * factor ** min(k - 1, 60))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a step deals with failure; raises `ValueError` naming the field whose value makes no sense."""

    retries: Value[int] = 2
    """Attempts after the first, for each entry of the ladder."""
    backoff: Backoff = dataclasses.field(default_factory=exponential)
    """Wait before each retry; `fixed(5)`, `exponential(...)` or a function of the retry's number and a random number.
    A Retry-After that is longer wins."""
    timeout: Value[float] = 30.0
    """Seconds for one attempt."""
    max_cost: Value[float | None] = None
    """Cap in US dollars over all attempts of the step; None leaves the caps of run and command."""
    fallback: Value[tuple[str, ...]] = ()
    """Providers to try, in order, once the first is exhausted: `"embedded"`, `"openai:gpt-4.1"`."""
    on_exhausted: Value[OnExhausted] = "escalate"
    """At the end of the ladder: ask a person, or give up the step, record why and go on without it."""
    max_wait: Value[float] = 900.0
    """Longest wait in seconds that is worth it; an endpoint that asks for more counts as exhausted."""

    patience: Value[float | None] = None
    """Seconds that an item waits for an endpoint that is down, limits its rate or fails, beyond the retries; None takes
    the run's (`RunContext.patience_s`), 0 does not wait. Wrong answers are bounded by `retries` alone."""

    hedge: Value[bool] = False
    """Send a second request when the first is slower than 95 % of its kind; for cheap calls that change nothing."""

    def __post_init__(self) -> None:
        if not callable(self.backoff):
            raise ValueError(  # noqa: TRY004 - one type for every field that makes no sense
                f"policy: backoff must be a function such as fixed(5), got {self.backoff!r}"
            )
        for name in _RULES:
            given = getattr(self, name)
            if not callable(given):
                _check(name, given)

    def resolve(self, state: RunState) -> ResolvedPolicy:
        """Call the callables; raises `ValueError` naming the field whose value makes no sense."""
        values: dict[str, Any] = {}
        for name in _RULES:
            given = getattr(self, name)
            values[name] = _check(name, given(state)) if callable(given) else given
        dollars = values.pop("max_cost")
        return ResolvedPolicy(
            backoff=self.backoff,
            max_cost_microusd=None if dollars is None else round(dollars * 1_000_000),
            **values | {"fallback": tuple(values["fallback"])},
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedPolicy:
    """A policy whose callables have been called."""

    retries: int
    backoff: Backoff
    timeout: float
    max_cost_microusd: int | None
    fallback: tuple[str, ...]
    on_exhausted: OnExhausted
    max_wait: float
    patience: float | None = None
    hedge: bool = False


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "retries": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0, "0 or more"),
    "timeout": (lambda v: _number(v) and v > 0, "a number of seconds above 0"),
    "max_cost": (lambda v: v is None or (_number(v) and v >= 0), "None or US dollars, not negative"),
    "fallback": (
        lambda v: isinstance(v, (tuple, list)) and all(isinstance(entry, str) for entry in v),
        'a tuple of providers such as ("embedded",)',
    ),
    "on_exhausted": (lambda v: v in ("escalate", "give_up"), "'escalate' or 'give_up'"),
    "max_wait": (lambda v: _number(v) and v >= 0, "a number of seconds, not negative"),
    "patience": (lambda v: v is None or (_number(v) and v >= 0), "None or a number of seconds, not negative"),
    "hedge": (lambda v: isinstance(v, bool), "True or False"),
}


def _check(name: str, value: Any) -> Any:
    fits, wanted = _RULES[name]
    if not fits(value):
        raise ValueError(f"policy: {name} must be {wanted}, got {value!r}")
    return value
