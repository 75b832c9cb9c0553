"""`surefoot threads` and `surefoot resume`."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from surefoot.cli.screen import DONE, FAILED, WAITING, console, say, table, write_json

if TYPE_CHECKING:
    from surefoot.drive import Result
    from surefoot.store import Store
    from surefoot.threads import ThreadRecord

AT_ONCE = 32
"""Threads that are looked into at the same time."""

STATUSES = ("running", "stalled", "waiting", "done", "failed")
STYLES = {"done": "green", "failed": "red", "stalled": "yellow", "waiting": "cyan", "running": ""}


def threads(
    status: Annotated[str | None, typer.Option(metavar="S", help=f"Only these: {', '.join(STATUSES)}.")] = None,
    pipeline: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of one pipeline.")] = None,
    namespace: Annotated[str | None, typer.Option(metavar="NS", help="Only those of one namespace.")] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Most threads to list; 0 lists all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of them as JSON.")] = False,
) -> int:
    """List threads, the last changed first."""
    from surefoot.errors import UsageError
    from surefoot.pipelines import pipeline as find_pipeline
    from surefoot.threads import check_namespace

    if status is not None and status not in STATUSES:
        raise UsageError(f"--status {status}: there is no such status; known: {', '.join(STATUSES)}")
    if pipeline is not None and ":" in pipeline:
        pipeline = find_pipeline(pipeline).name
    if namespace is not None:
        check_namespace(namespace)
    shown, statuses = asyncio.run(_threads(status, pipeline, namespace, 0 if as_json else limit))
    if pipeline is not None and not shown and status is None and namespace is None:
        find_pipeline(pipeline)
    if as_json:
        write_json([record.model_dump(mode="json") for record in shown])
        return DONE
    if not shown:
        say("no threads" if status is None else f"no thread is {status}")
        return DONE
    _print_threads(shown, statuses)
    return DONE


async def _threads(
    status: str | None, pipeline: str | None, namespace: str | None, limit: int
) -> tuple[list[ThreadRecord], Counter[str]]:
    """Return the first threads, all of them with a limit of 0, and how many there are of each status."""
    from surefoot.store import open_store

    shown: list[ThreadRecord] = []
    statuses: Counter[str] = Counter()
    async with open_store() as store:
        async for page in store.pages(status, pipeline, namespace):
            statuses.update(record.status for record in page)
            shown += page[: limit - len(shown)] if limit else page
        return await _with_broken(store, shown), statuses


async def _with_broken(store: Store, records: list[ThreadRecord]) -> list[ThreadRecord]:
    """Return the records with what keeps threads from going on; those that are done are not looked into."""
    from surefoot.broken import find_broken

    slots = asyncio.Semaphore(AT_ONCE)

    async def one(record: ThreadRecord) -> ThreadRecord:
        if record.status in ("done", "running") or (record.unreadable and record.damage != "key"):
            return record
        async with slots:
            _, broken = await find_broken(store, record)
        if broken is None or broken.kind == "graph":
            return record
        return record.model_copy(update={"unreadable": broken.told})

    return list(await asyncio.gather(*map(one, records)))


def _print_threads(shown: list[ThreadRecord], statuses: Counter[str]) -> None:
    from rich.text import Text

    from nodes.clock import now as time_now
    from surefoot.words import count, money, one_line, rough

    screen, now = console(), time_now()
    key, right = {"overflow": "fold", "max_width": 60}, {"justify": "right"}
    made = table(thread=key, status={}, changed=right, cost=right, about={"ratio": 1})
    made.expand = True
    for record in shown:
        status = Text(record.status, style=STYLES.get(record.status, ""))
        age = f"{rough(now - record.updated_at)} ago"
        made.add_row(one_line(record.key), status, age, money(record.cost_microusd), Text(_about(record), style="dim"))
    screen.print(made)
    left = statuses.total() - len(shown)
    told = ", ".join(f"{statuses[name]:,} {name}" for name in STATUSES if statuses[name])
    more = f"; {left:,} more, --limit 0 lists all" if left else ""
    screen.print(f"\n{count(statuses.total(), 'thread')}: {told}{more}", style="dim")


def _about(record: ThreadRecord) -> str:
    from surefoot.words import due, one_line

    if record.unreadable:
        return one_line(record.unreadable)
    if record.status == "waiting":
        what = "; ".join(record.reasons) if record.waits_for == "person" else "its next attempt"
        when = due(record.until)
        return one_line(f"{when}: {what}" if when else what)
    told = record.error or ("degraded" if record.degraded else "")
    return one_line(told)


def resume(
    thread: Annotated[list[str] | None, typer.Argument(metavar="THREAD", help="Ids or keys (support:48291).")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All stalled threads and those whose time has come.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> int:
    """Go on with threads that were cut off."""
    from surefoot.errors import UsageError

    if everything == bool(thread):
        raise UsageError("name the threads to resume, or say --all")
    outcomes = asyncio.run(_resume_all(thread or []))
    if thread is not None and len(thread) == 1 and isinstance(outcomes[0][1], Exception):
        raise outcomes[0][1]
    if as_json:
        write_json([_outcome_json(record, outcome) for record, outcome in outcomes])
    else:
        _print_outcomes(outcomes, everything=everything)
    if any(isinstance(outcome, Exception) for _, outcome in outcomes):
        return _status_of_errors([outcome for _, outcome in outcomes if isinstance(outcome, Exception)])
    statuses = {outcome.status for _, outcome in outcomes if not isinstance(outcome, Exception)}
    return FAILED if statuses & {"failed", "stalled", "running"} else WAITING if "waiting" in statuses else DONE


Outcome: TypeAlias = "tuple[ThreadRecord, Result | Exception]"


async def _resume_all(names: list[str]) -> list[Outcome]:
    """Resume the named threads, or all that can go on; what happens to one does not hurt the others."""
    from checkpointers import SaverError
    from nodes.call import spending_cap
    from nodes.errors import StopRun, SurefootError
    from surefoot.api import resume_in
    from surefoot.foreign import UNREADABLE
    from surefoot.settings import settings
    from surefoot.store import open_store

    slots, halt = asyncio.Semaphore(settings().parallel), asyncio.Event()

    async def one(store: Store, record: ThreadRecord) -> Outcome | None:
        async with slots:
            if halt.is_set():
                return None
            try:
                return record, await resume_in(store, record, patience_s=settings().patience_s)
            except UNREADABLE as error:
                return record, error
            except (SaverError, OSError):
                raise
            except StopRun as error:
                halt.set()
                return record, error
            except SurefootError as error:
                return record, error

    async with open_store() as store:
        records = [await store.find(name) for name in names] if names else await _resumable(store)
        with spending_cap(round(settings().max_cost_usd * 1_000_000)):
            found = await asyncio.gather(*(one(store, record) for record in records))
    return [outcome for outcome in found if outcome is not None]


async def _resumable(store: Store) -> list[ThreadRecord]:
    from nodes.clock import now as time_now

    now = time_now()
    waiting = [r for r in await store.records(status="waiting") if r.waits_for == "time" and (r.until or 0.0) <= now]
    found = [*await store.records(status="stalled"), *waiting]
    # Whoever began another program's thread may be at work on it without a lease.
    return [record for record in found if not record.foreign]


def _status_of_errors(errors: list[Exception]) -> int:
    from surefoot.cli import explain

    return min(explain(error)[1] for error in errors)


def _outcome_json(record: ThreadRecord, outcome: Result | Exception) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"key": record.key, "error": str(outcome)}
    return {"key": record.key, "error": outcome.error, **outcome.row}


def _print_outcomes(outcomes: list[Outcome], *, everything: bool) -> None:
    from rich.text import Text

    from surefoot.words import one_line, shell

    if not outcomes:
        say("nothing to resume" if everything else "nothing was resumed")
        return
    made = table(thread={"overflow": "fold", "max_width": 60}, status={}, about={"ratio": 1, "no_wrap": False})
    for record, outcome in outcomes:
        key = record.key
        if isinstance(outcome, Exception):
            made.add_row(one_line(key), Text("not resumed", style="red"), one_line(outcome))
        else:
            hint = shell("review", key) if outcome.waits_for == "person" else outcome.error
            made.add_row(one_line(key), Text(outcome.status, style=STYLES.get(outcome.status, "")), one_line(hint))
    console().print(made)
