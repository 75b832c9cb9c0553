"""`surefoot run`: take a file of items through a pipeline."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.screen import console, say
from surefoot.cli.signals import draining

if TYPE_CHECKING:
    from nodes.drift import Alarm, Drift
    from state import RunContext
    from surefoot.drive import Result
    from surefoot.inputs import BadLine, Item
    from surefoot.pipelines import Pipeline
    from surefoot.progress import Board, Tally
    from surefoot.runner import Summary
    from surefoot.store import Store


@dataclass(frozen=True)
class Order:
    """What was typed."""

    pipeline: str
    source: str
    parallel: int | None = None
    out: str | None = None
    limit: int | None = None
    provider: str | None = None
    max_cost: float | None = None
    rerun: bool = False
    namespace: str = ""
    as_json: bool = False
    per_day: int | None = None
    chaos: str | None = None
    patience: float | None = None

    def command(self, max_cost: float | None = None) -> str:
        """Return the command that does the same again, with another cap if one is given."""
        from surefoot.words import shell

        options = {
            "--parallel": self.parallel, "--out": self.out, "--limit": self.limit, "--provider": self.provider,
            "--max-cost": max_cost or self.max_cost, "--namespace": self.namespace or None, "--chaos": self.chaos,
            "--patience": self.patience,
        }  # fmt: skip
        words = [
            word
            for name, value in options.items()
            if value is not None
            for word in (name, f"{value:g}" if isinstance(value, float) else f"{value}")
        ]
        return shell("run", self.pipeline, self.source, *words, *(["--rerun"] if self.rerun else []))


@dataclass
class Report:
    """All that a run has to tell in the end."""

    order: Order
    tally: Tally
    summary: Summary
    items: int
    bad: list[BadLine] = field(default_factory=list)
    out_error: str = ""
    rows: int = 0
    higher_cap: float | None = None
    """A cap in US dollars to go on with, when the cap is what stopped the run."""
    injected: dict[str, int] | None = None
    """Faults of a rehearsal's endpoint by name; None for a run that was none."""
    alarms: list[Alarm] = field(default_factory=list)
    """What has drifted away from what was usual."""


def run(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="Its name, such as support, or package.module:graph.", show_default=False
        ),
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A .jsonl, .json or .csv file, - (stdin), or a folder (resumes).", show_default=False
        ),
    ],
    parallel: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Items under way at once (default: 50).")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="Write a JSON line an item; - is stdout.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N items.")] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="Provider of all tasks: openai or embedded.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(metavar="USD", help="Most to spend (default: 1).")] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="Forget earlier runs of these items.")] = False,
    namespace: Annotated[
        str, typer.Option(metavar="NS", help="Keep these runs apart from others of the same ids.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON summary.")] = False,
    per_day: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Items a day for the cost of a month.", show_default=False)
    ] = None,
    chaos: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Rehearse on a local endpoint that misbehaves.", show_default=False),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="How long an item waits for an endpoint that fails (default: 120).",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Run a pipeline over a file, or go on with it."""
    order = Order(pipeline, source, parallel, out, limit, provider, max_cost, rerun, namespace, as_json, per_day,
                  patience=patience)  # fmt: skip
    if chaos is not None:
        # A rehearsal has threads of its own and begins anew each time.
        named = namespace or f"chaos-{chaos}"
        order = replace(order, chaos=chaos, provider=provider or "openai", namespace=named, rerun=True)
    found, items, bad = _prepare(order)
    for line in bad:
        say(f"{line.place('stdin' if source == '-' else source)}: {line.reason}")
    from surefoot.cli.outcome import finish

    if chaos is None:
        return finish(replace(asyncio.run(_execute(order, found, items)), bad=bad))
    from surefoot.cli.rehearse import rehearsal

    with rehearsal(chaos, found.name) as injected:
        report = asyncio.run(_execute(order, found, items))
    return finish(replace(report, bad=bad, injected=dict(injected)))


def _prepare(order: Order) -> tuple[Pipeline, list[Item], list[BadLine]]:
    """Check what was typed and read the input; raises `UsageError` before anything is begun."""
    from surefoot.errors import UsageError
    from surefoot.inputs import BadLine, read_items
    from surefoot.pipelines import pipeline
    from surefoot.threads import check_namespace

    found = pipeline(order.pipeline)
    if order.out == "-" and order.as_json:
        raise UsageError("--out - and --json both write to stdout: use one of them")
    check_namespace(order.namespace)
    items: list[Item] = []
    bad: list[BadLine] = []
    with _waiting_for(order.source):
        for line in read_items(order.source, found, sys.stdin):
            if isinstance(line, BadLine):
                bad.append(line)
            else:
                items.append(line)
            if order.limit is not None and len(items) >= order.limit:
                break
    return found, items, bad


PIPE_WAIT_S = 2.0
"""Seconds after which a pipe that nothing has come from is pointed out: a run that waits for it looks as if it hung."""


@contextmanager
def _waiting_for(source: str) -> Iterator[None]:
    """Say that a pipe is waited for, while it is."""
    if source == "-" or not Path(source).is_fifo():
        yield
        return
    told = threading.Timer(
        PIPE_WAIT_S, say, [f"surefoot: {source} is a pipe: waiting for the program that writes to it"]
    )
    told.daemon = True
    told.start()
    try:
        yield
    finally:
        told.cancel()


async def _execute(order: Order, pipeline: Pipeline, items: list[Item]) -> Report:
    """Run the items with progress, rows and signals around it."""
    from nodes.call import MemoryGuard
    from nodes.errors import BudgetSpent
    from state import RunContext
    from surefoot.progress import Board, Tally
    from surefoot.runner import Runner
    from surefoot.settings import settings
    from surefoot.store import open_store
    from surefoot.words import microusd_of

    # What is not typed is not named: a thread goes on with what it has.
    patience = settings().patience_s if order.patience is None else order.patience
    named = {} if order.provider is None else {"provider": order.provider}
    context = RunContext(patience_s=patience, **named)
    _load(pipeline, context)
    cap = settings().max_cost_usd if order.max_cost is None else order.max_cost
    cap_microusd = microusd_of(cap, "--max-cost")
    tally, stop = Tally(pipeline, per_day=order.per_day), asyncio.Event()
    board = Board(console(stderr=True), tally, len(items))
    # What a rehearsal teaches must not reach the guard of real calls, nor its cost their caps.
    async with open_store(guard=MemoryGuard() if order.chaos else None) as store:
        # A server that cannot be used is one line, not a run of no items.
        await store.ping()
        with closing(_Taker(order, tally, board, stop)) as taker:
            await _tell_estimate(order, pipeline, store, items, context, cap)
            runner = Runner(
                pipeline, store, parallel=order.parallel or settings().parallel, namespace=order.namespace,
                context=context, rerun=order.rerun, max_cost_microusd=cap_microusd,
            )  # fmt: skip
            taker.drift = await store.drift(pipeline.name, order.namespace) if pipeline.watched else None
            with board, draining(stop, board):
                summary = await runner.run(items, on_result=taker.take, stop=stop)
            if taker.drift is not None:
                await store.keep_drift(pipeline.name, order.namespace, taker.drift)
    higher = cap * 2 if isinstance(runner.stop_error, BudgetSpent) else None
    return Report(
        order, tally, summary, len(items), out_error=taker.error, rows=taker.written, higher_cap=higher,
        alarms=taker.alarms,
    )  # fmt: skip


class _Taker:
    """Takes each result as it comes: counts it, writes its row, moves the bar."""

    def __init__(self, order: Order, tally: Tally, board: Board, stop: asyncio.Event) -> None:
        from surefoot.rows import RowFile

        self._rows = RowFile(order.out, source=order.source) if order.out else None
        self._tally, self._board, self._stop = tally, board, stop
        self.error = ""
        """Why rows could not be written."""
        self.drift: Drift | None = None
        self.alarms: list[Alarm] = []

    @property
    def written(self) -> int:
        """Number of rows written."""
        return self._rows.written if self._rows is not None else 0

    def take(self, result: Result) -> None:
        """Take one result; when rows cannot be written the run is stopped, because nobody would see the rest."""
        from surefoot.progress import FINISHED
        from surefoot.rows import RowsLost

        self._tally.add(result)
        if self.drift is not None and result.fresh and result.status == "done":
            self.alarms += self.drift.add(self._tally.pipeline.scores(result.values))
        if self._rows is not None and not self.error and result.status in FINISHED:
            try:
                self._rows.write(result.row)
            except RowsLost as error:
                self.error = str(error)
                self._stop.set()
        self._board.advance()

    def close(self) -> None:
        """Bring the file in order."""
        from surefoot.rows import RowsLost

        try:
            if self._rows is not None:
                self._rows.close()
        except RowsLost as error:
            self.error = self.error or str(error)


def _load(pipeline: Pipeline, context: RunContext) -> None:
    """Load the pipeline; raises `ConfigurationError` for a provider that a task does not have."""
    _ = pipeline.graph
    for name, entry in pipeline.providers(context).items():
        pipeline.tasks[name].provider(entry.partition(":")[0])


async def _tell_estimate(
    order: Order, pipeline: Pipeline, store: Store, items: list[Item], context: RunContext, cap: float
) -> None:
    """Say what the run will probably cost, before it costs anything."""
    from surefoot.threads import thread_id
    from surefoot.words import count, money

    if not pipeline.estimate_microusd(items, context):
        return
    if not order.rerun:
        settled = await store.settled([thread_id(pipeline.name, item.id, order.namespace) for item in items])
        items = [item for item in items if thread_id(pipeline.name, item.id, order.namespace) not in settled]
    estimate = pipeline.estimate_microusd(items, context)
    line = f"estimate: about {money(estimate)} for {count(len(items), 'item')}"
    line += f"; the cap is {money(cap * 1_000_000)} (--max-cost)"
    if estimate > cap * 1_000_000:
        line += ", so the run will stop there; run it again with a higher cap to go on"
    say(line)
