"""Events as log lines: readable on a terminal, JSON everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from nodes import events
from nodes.events import Event
from surefoot.telemetry.fields import facts_of, name_of
from surefoot.telemetry.queue import Subscriber

Level = Literal["debug", "info", "warning"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning")

_LEVEL_OF: Final[Mapping[type, Callable[[Any], Level]]] = {
    events.AttemptEnded: lambda event: "info" if event.attempt.outcome == "ok" else "warning",
    events.GateJudged: lambda event: "info" if all(v.passed for v in event.verdicts) else "warning",
    events.CallAdmitted: lambda _event: "debug",
    events.CallReplayed: lambda _event: "debug",
    events.CallSettled: lambda event: "debug" if event.outcome == "ok" else "info",
    events.CallRefused: lambda _event: "warning",
    events.BreakerChanged: lambda _event: "warning",
    events.PreparingEnded: lambda event: "warning" if event.error else "info",
    events.RetryBudgetChanged: lambda event: "warning" if event.empty else "info",
}
"""Levels that differ from `info`."""


def level_of(event: Event) -> Level:
    """Return the level at which an event is logged."""
    chosen = _LEVEL_OF.get(type(event))
    return chosen(event) if chosen is not None else "info"


def log_to(stream: TextIO | None = None, *, level: Level = "info", form: str = "auto") -> Subscriber:
    """Return a subscriber that logs events with structlog.

    `form` is `console`, `json` or `auto` (console on a terminal). structlog's own configuration is left alone, so the
    application may use it as it likes. Raises `ImportError` without the extra `telemetry`.
    """
    import structlog

    out = stream or sys.stderr
    readable = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), sort_keys=False)
        if readable
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(out), processors=[renderer], wrapper_class=structlog.BoundLogger
    )
    lowest = LEVELS.index(level)

    def write(event: Event, at: float) -> None:
        chosen = level_of(event)
        if LEVELS.index(chosen) < lowest:
            return
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        facts = {name: value for name, value in facts_of(event).items() if name not in ("level", "timestamp", "event")}
        getattr(logger, chosen)(name_of(event), timestamp=moment, level=chosen, **facts)

    return write
