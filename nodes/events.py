"""Typed events: what the nodes tell whoever listens. A listener that fails never hurts a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from state import Attempt, Decision, Verdict

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


Event: TypeAlias = AttemptEnded | RetryDecided | GateJudged | ReviewAsked
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
