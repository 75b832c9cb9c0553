"""What a run shows while it runs, and what it counts."""

from __future__ import annotations

import time
import types
import typing
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from nodes.events import AttemptEnded, Event, PreparingBegan, PreparingEnded, listening
from surefoot.bill import Bill
from surefoot.words import duration, money

if TYPE_CHECKING:
    from pydantic import BaseModel

    from surefoot.drive import Result
    from surefoot.pipelines import Pipeline

PLAIN_EVERY_S = 15.0
"""Seconds between two lines of progress where there is no terminal to draw on."""


UNREACHED = "cannot reach "
"""What the error of an attempt begins with that got no connection; the endpoint follows."""

FINISHED = ("done", "waiting", "failed")
"""Statuses of items that were taken as far as they go now; only these have rows."""


def choices(schema: type[BaseModel], name: str) -> list[str]:
    """Return the values that a field can have, in their order; empty when it is no enumeration."""
    info = schema.model_fields.get(name)
    return [] if info is None else _literals(info.annotation)


def _literals(annotation: Any) -> list[str]:
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if origin in (typing.Union, types.UnionType):
        found = [_literals(part) for part in typing.get_args(annotation) if part is not type(None)]
        return found[0] if len(found) == 1 else []
    return []


@dataclass
class Tally:
    """Counts over the results of a run."""

    pipeline: Pipeline
    statuses: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    why: Counter[str] = field(default_factory=Counter)
    """How often each first reason for a degraded result was given, without its last error."""
    reused: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[float, str]] = field(default_factory=list)
    """Due times and keys of the threads that wait for a person."""
    failed: list[str] = field(default_factory=list)
    values: dict[str, Counter[str | None]] = field(default_factory=dict)
    """How often each value of an enumerable field came out."""
    pairs: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    """The first two enumerable fields together."""
    per_day: int | None = None
    """Items a day for the projection of the cost; None takes the pipeline's own figure."""
    missed: set[str] = field(default_factory=set)
    """Endpoints that an attempt of this run could not reach."""
    reached: bool = False
    """Whether any request of this run was answered, well or not."""
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many attempts failed, by the provider and how they ended."""

    def __post_init__(self) -> None:
        found = {name: choices(self.pipeline.state, name) for name in self.pipeline.row_fields}
        self.choices = {name: values for name, values in found.items() if values}
        self.values = {name: Counter() for name in self.choices}
        self.bill = Bill(self.per_day or self.pipeline.per_day)

    @property
    def total(self) -> int:
        """Number of items that were taken as far as they go now."""
        return sum(self.statuses[name] for name in FINISHED)

    @property
    def waiting(self) -> list[str]:
        """Keys of the threads that wait for a person, the first due first."""
        return [key for _, key in sorted(self.asked)]

    def add(self, result: Result) -> None:
        """Count one result."""
        self.statuses[result.status] += 1
        self.degraded += bool(result.row.get("degraded"))
        if result.row.get("degraded") and (reasons := result.row.get("reasons")):
            self.why[str(reasons[0]).partition("; ")[0]] += 1
        self.reused += not result.fresh
        if result.status == "waiting" and result.waits_for == "person":
            self.asked.append((result.until or float("inf"), result.key))
        if result.status == "failed":
            self.failed.append(result.key)
        if result.error and result.status != "stalled":
            self.errors[result.error] += 1
        if result.status not in FINISHED:
            return
        self.bill.add(result.key, result.values)
        row = {name: self._value(result.row, name) for name in self.values}
        for name, value in row.items():
            self.values[name][value] += 1
        if len(row) >= 2:
            first, second, *_ = row.values()
            self.pairs[first, second] += 1

    def hear(self, event: AttemptEnded) -> None:
        """Note whether an attempt reached an endpoint; those that sent nothing tell nothing."""
        attempt = event.attempt
        if attempt.outcome != "ok":
            self.failures[attempt.provider or "unknown", attempt.outcome] += 1
        if not attempt.calls:
            return
        if attempt.error.startswith(UNREACHED) and not attempt.tokens_in:
            self.missed.add(attempt.error.removeprefix(UNREACHED))
        else:
            self.reached = True

    def _value(self, row: Mapping[str, Any], name: str) -> str | None:
        value = row.get(name)
        return value if value in self.choices[name] else None


class Board:
    """Draws the progress of a run on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, tally: Tally, total: int) -> None:
        self._console, self._tally, self._total = console, tally, total
        self._cost = 0
        self._retries = 0
        self._began = self._told = time.monotonic()
        self._stack = ExitStack()
        self._progress: Progress | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        self._stack.enter_context(listening(self._listen))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            bar = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=24), _Counts(self), console=self._console,
                transient=True, refresh_per_second=8,
            )  # fmt: skip
            self._progress = self._stack.enter_context(bar)
            self._task = bar.add_task(self._tally.pipeline.name, total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar and give the terminal back."""
        self._stack.close()
        self._progress = None

    def advance(self) -> None:
        """Show one more result."""
        if self._progress is not None:
            self._progress.advance(self._task)
        elif time.monotonic() - self._told >= PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._console.print(f"{self._tally.pipeline.name}: {self.counts()}", soft_wrap=True, markup=False)

    def _prepare(self, what: str) -> None:
        """Say that something is loaded first: the bar stands still meanwhile."""
        line = f"preparing {what}: no time limit runs meanwhile ..."
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)
        self._describe(f"preparing {what}")

    def _describe(self, text: str) -> None:
        if self._progress is not None and not self._stopping:
            self._progress.update(self._task, description=text)

    def stopping(self, line: str) -> None:
        """Say that the run is being stopped."""
        self._stopping = True
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)
        if self._progress is not None:
            self._progress.update(self._task, description="stopping")

    def counts(self) -> str:
        """Return the counts so far in one line."""
        statuses = self._tally.statuses
        parts = [f"{self._tally.total} of {self._total}"]
        parts += [f"{statuses[name]} {name}" for name in ("waiting", "failed") if statuses[name]]
        if self._retries:
            parts.append(f"{self._retries} failed attempts" if self._retries > 1 else "1 failed attempt")
        return ", ".join([*parts, money(self._cost), duration(time.monotonic() - self._began)])

    def _listen(self, event: Event) -> None:
        if isinstance(event, PreparingBegan):
            self._prepare(event.what)
        elif isinstance(event, PreparingEnded):
            self._describe(self._tally.pipeline.name)
        elif isinstance(event, AttemptEnded):
            self._cost += event.attempt.cost_microusd
            self._retries += event.attempt.outcome != "ok"
            self._tally.hear(event)


class _Counts(ProgressColumn):
    """The counts beside the bar; drawn anew at each refresh, because cost moves between results."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def render(self, task: Task) -> Text:  # noqa: ARG002 - the name is rich's
        """Return the counts as text."""
        return Text(self._board.counts(), style="dim", no_wrap=True, overflow="ellipsis")
