"""Typed events: what the nodes tell whoever listens. A listener that fails never hurts a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from state import Attempt, Decision, Outcome, Verdict

_log = logging.getLogger("surefoot.events")


@dataclass(frozen=True)
class AttemptEnded:
    """One attempt of a step ended, well or not."""

    thread: str
    attempt: Attempt


@dataclass(frozen=True)
class RetryDecided:
    """The retry node chose what follows a failure."""

    thread: str
    step: str
    decision: Decision


@dataclass(frozen=True)
class GateJudged:
    """A gate checked an output."""

    thread: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class ReviewAsked:
    """A person is asked; the thread waits."""

    thread: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ReviewDecided:
    """A person has decided, or the default action where nobody could be asked."""

    thread: str
    decision: str
    """Type of the decision: accept, edit, response or reject."""
    reasons: tuple[str, ...]


RefusalCause: TypeAlias = Literal[
    "halted",
    "runaway",
    "retries_spent",
    "hedges_spent",
    "breaker_open",
    "throttled",
    "throttled_locally",
    "over_budget",
    "unavailable",
]
"""Why a guard refused a request."""


class Placed(Protocol):
    """What tells the place of a request."""

    @property
    def endpoint(self) -> str: ...  # noqa: D102 - host and port
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def step(self) -> str: ...  # noqa: D102
    @property
    def thread(self) -> str: ...  # noqa: D102


def place_of(request: Placed) -> tuple[str, str, str, str]:
    """Return what every event about a request begins with."""
    return request.endpoint, request.model, request.step, request.thread


@dataclass(frozen=True)
class CallEvent:
    """Something about one request."""

    endpoint: str
    """Host and port."""
    model: str
    step: str
    thread: str


@dataclass(frozen=True)
class CallAdmitted(CallEvent):
    """A request may be sent."""

    reserved_microusd: int
    timeout_ms: int
    waited_ms: int
    probe: bool = False
    """Whether it finds out if an endpoint works again."""


@dataclass(frozen=True)
class CallRefused(CallEvent):
    """A request may not be sent."""

    cause: RefusalCause


@dataclass(frozen=True)
class CallReplayed(CallEvent):
    """The answer to a call was known, so nothing was sent."""


@dataclass(frozen=True)
class CallSettled(CallEvent):
    """A request has ended."""

    outcome: Outcome | Literal["cancelled"]
    cost_microusd: int
    latency_ms: int


@dataclass(frozen=True)
class CallHedged(CallEvent):
    """A second request is sent, because the first has taken longer than 95 % of its kind."""


@dataclass(frozen=True)
class BreakerChanged(CallEvent):
    """A circuit breaker opened, sends a probe, or closed; without a model, that of all models of the endpoint."""

    before: Literal["closed", "open", "half_open"]
    after: Literal["closed", "open", "half_open"]
    why: str


@dataclass(frozen=True)
class RetryBudgetChanged(CallEvent):
    """The retry budget of an endpoint became empty, or has a retry again."""

    empty: bool


@dataclass(frozen=True)
class LimitChanged(CallEvent):
    """The concurrency limit of an endpoint adapted."""

    before: int
    after: int


@dataclass(frozen=True)
class PreparingBegan:
    """Something that is loaded once in a process is being loaded, such as models that are fitted."""

    what: str


@dataclass(frozen=True)
class PreparingEnded:
    """It is loaded, or could not be."""

    what: str
    latency_ms: int
    error: str = ""


Event: TypeAlias = (
    AttemptEnded | RetryDecided | GateJudged | ReviewAsked | ReviewDecided | PreparingBegan | PreparingEnded | CallEvent
)
Listener: TypeAlias = Callable[[Event], None]

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call a listener for every event of this process while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def emit(event: Event) -> None:
    """Tell all listeners; what they raise is logged by type and dropped."""
    for listener in tuple(_listeners):
        try:
            listener(event)
        except Exception as error:
            _log.warning("a listener failed on %s: %s", type(event).__name__, type(error).__name__)
