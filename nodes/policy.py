"""Policies: how often, how long, how dear, and what then.

A policy speaks of `retries`, the extra attempts after the first. Every field takes a value or a callable of the state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
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
    """How a step deals with failure."""

    retries: Value[int] = 2
    """Attempts after the first, for each entry of the ladder."""
    backoff: Backoff = dataclasses.field(default_factory=exponential)
    """Wait before each retry; `fixed(5)` or `exponential(...)`. A Retry-After that is longer wins."""
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

    def resolve(self, state: RunState) -> ResolvedPolicy:
        """Call the callables; raises `ValueError` naming the field whose value makes no sense."""

        def value(name: str) -> Any:
            given = getattr(self, name)
            return given(state) if callable(given) else given

        resolved = ResolvedPolicy(
            retries=value("retries"),
            backoff=self.backoff,
            timeout=value("timeout"),
            max_cost_microusd=_microusd(value("max_cost")),
            fallback=tuple(value("fallback")),
            on_exhausted=value("on_exhausted"),
            max_wait=value("max_wait"),
        )
        resolved.validate()
        return resolved


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

    def validate(self) -> None:
        """Raise `ValueError` for values that make no sense."""
        if not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"policy: retries must be 0 or more, got {self.retries!r}")
        if not (self.timeout > 0 and math.isfinite(self.timeout)):
            raise ValueError(f"policy: timeout must be a number of seconds above 0, got {self.timeout!r}")
        if self.on_exhausted not in ("escalate", "give_up"):
            raise ValueError(f"policy: on_exhausted must be 'escalate' or 'give_up', got {self.on_exhausted!r}")


def _microusd(dollars: float | None) -> int | None:
    if dollars is None:
        return None
    if dollars < 0:
        raise ValueError(f"policy: max_cost must not be negative, got {dollars!r}")
    return round(dollars * 1_000_000)
