"""Driving one thread: start it or go on with it, watch its stream, and say where it stands when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StreamMode

from checkpointers import LeaseLost
from nodes import clock
from nodes.retry import WAIT_KIND
from state import RunContext
from surefoot.bill import Effort
from surefoot.broken import KEYS_NEEDED, ThreadUnreadable, broken_record, broken_state
from surefoot.errors import Refused, UsageError, taken_over
from surefoot.pipelines import Pipeline
from surefoot.raw import number, strings, text
from surefoot.threads import CONTEXT, RawThread, ThreadRecord, context_text, told_interrupt

if TYPE_CHECKING:
    from surefoot.inputs import Item
    from surefoot.store import Store


OnPart: TypeAlias = Callable[[Any], None]
"""Takes what nodes write to the stream while they run, such as pieces of an answer."""


@dataclass(frozen=True)
class Result:
    """Where a thread stands after it ran."""

    id: str
    thread_id: str
    key: str
    pipeline: str
    status: Literal["done", "waiting", "failed", "stalled", "running"]
    row: dict[str, Any]
    """What `--out` holds: id, thread_id, status, degraded, reasons, cost_microusd and the pipeline's own fields."""
    error: str = ""
    line: int = 0
    fresh: bool = True
    """False when nothing had to be run."""
    values: dict[str, Any] = field(default_factory=dict)
    """All fields of the state, as JSON-able data."""
    waits_for: Literal["", "person", "time"] = ""
    until: float | None = None
    """When the wait ends or the answer is due, in seconds since the epoch."""


class Drained(Exception):
    """The run was asked to stop; the thread stands at a checkpoint and can go on."""


def refuse_another(record: ThreadRecord, pipeline: Pipeline, item: Item) -> None:
    """Raise `Refused` when an item's id was run before with something else, or nobody here can tell with what."""
    if record.damage == "key":
        raise Refused(f"id {item.id!r} was run before, and {record.unreadable}: {KEYS_NEEDED}")
    if broken := broken_record(record):
        raise Refused(f"id {item.id!r} was run before, and {broken}; or use --namespace to keep both")
    if not record.input_hash:
        raise Refused(
            f"id {item.id!r} was run before, with what is not known any more: use --rerun to replace that run, or "
            "--namespace to keep both"
        )
    if record.spec != pipeline.spec:
        raise Refused(
            f"id {item.id!r} was run before with {record.spec or record.pipeline}, another pipeline of this name: "
            "use --rerun to replace that run, or --namespace to keep both"
        )
    if record.input_hash != item.content_hash:
        raise Refused(
            f"id {item.id!r} was run before with another content: use --rerun to replace that run, or --namespace "
            "to keep both"
        )


def config_of(pipeline: Pipeline, record: ThreadRecord, context: RunContext) -> RunnableConfig:
    """Return the configuration of a thread's run.

    The metadata reaches traces and checkpoints, so it holds ids, names and numbers only.
    """
    told = context_text(context)
    return {
        "configurable": {"thread_id": record.thread_id},
        "metadata": {"surefoot_key": record.key} | ({CONTEXT: told} if told else {}),
        "run_name": pipeline.name,
    }


async def drive(
    pipeline: Pipeline,
    store: Store,
    record: ThreadRecord,
    start: Any,
    context: RunContext,
    draining: Callable[[], bool] = lambda: False,
    on_part: OnPart | None = None,
) -> RawThread:
    """Run a thread until it ends or waits, and return its raw state.

    What the tasks load is loaded before. `start` is the input, None to go on, or a `Command`. Durability is `sync`:
    each superstep is in Redis before the next begins. Raises what the graph raises, `Drained` between two supersteps
    once `draining()` is true, and `ThreadBusy` when the lease was lost.
    """
    await pipeline.make_ready(context)
    store.allow(pipeline)
    graph = pipeline.graph.copy(update={"checkpointer": store.saver})
    values: dict[str, Any] = {}
    interrupts: list[dict[str, Any]] = []
    modes: list[StreamMode] = ["updates", "values"]
    if on_part is not None:
        modes.append("custom")
    config = config_of(pipeline, record, context)
    stream = graph.astream(start, config, context=context, durability="sync", stream_mode=modes)
    try:
        async for mode, chunk in stream:
            if mode == "values":
                values = dict(chunk)
            elif mode == "custom":
                if on_part is not None:
                    on_part(chunk)
            elif "__interrupt__" in chunk:
                interrupts += map(told_interrupt, chunk["__interrupt__"])
            if record.thread_id in store.leases.lost:
                raise taken_over(record.key)
            if mode == "values" and draining():
                raise Drained
    except LeaseLost as error:
        raise taken_over(record.key) from error
    finally:
        await stream.aclose()  # type: ignore[attr-defined] # LangGraph returns an async generator
    values.pop("__interrupt__", None)
    return RawThread(values=values, interrupts=interrupts, checkpoints=1)


def result_of(pipeline: Pipeline, record: ThreadRecord, raw: RawThread, *, line: int = 0, fresh: bool = True) -> Result:
    """Say where a thread stands that ran without an exception, or that had finished before."""
    waits_for, until = waiting(raw)
    outcome = raw.values.get("outcome")
    status: Literal["done", "waiting", "failed", "stalled"]
    error = ""
    if waits_for:
        status = "waiting"
    elif outcome is None:
        status, error = ("stalled", "") if raw.next else ("failed", "the graph ended without an outcome")
    else:
        status = "failed" if str(outcome).startswith("failed") else "done"
    return make_result(pipeline, record, raw.values, status, error=error, line=line, fresh=fresh,
                       waits_for=waits_for, until=until)  # fmt: skip


def make_result(
    pipeline: Pipeline,
    record: ThreadRecord,
    values: Mapping[str, Any],
    status: Literal["done", "waiting", "failed", "stalled", "running"],
    **more: Any,
) -> Result:
    """Build a result and its row."""
    row = {
        "id": record.item_id,
        "thread_id": record.thread_id,
        "status": status,
        "degraded": bool(values.get("degraded", False)),
        "reasons": list(values.get("reasons") or []),
        "cost_microusd": cost_of(values),
        **pipeline.row(values),
    }
    return Result(
        id=record.item_id,
        thread_id=record.thread_id,
        key=record.key,
        pipeline=pipeline.name,
        status=status,
        row=row,
        values=dict(values),
        **more,
    )


def cost_of(values: Mapping[str, Any]) -> int:
    """Return the micro-dollars that a thread has spent, from raw values."""
    spend = values.get("spend")
    parts = spend.values() if isinstance(spend, Mapping) else []
    return sum(int(part.get("cost_microusd", 0)) for part in parts if isinstance(part, Mapping))


def waiting(raw: RawThread) -> tuple[Literal["", "person", "time"], float | None]:
    """Tell what a thread waits for: nothing, a person (and when the answer is due), or a time."""
    for item in raw.interrupts:
        value = item["value"] if isinstance(item["value"], Mapping) else {}
        if value.get("kind") == WAIT_KIND:
            until, since = number(value.get("until")), number(value.get("since"))
            return "time", min(until, clock.now() + clock.left(until, since))
        # A question in a form of its own may hold anything under our names.
        return "person", number(value.get("due_at")) or None
    return "", None


def updated(record: ThreadRecord, result: Result, raw: RawThread | None = None) -> ThreadRecord:
    """Return the record after a result."""
    request = raw.interrupts[0]["value"] if raw is not None and raw.interrupts else {}
    asked = request if result.waits_for == "person" and isinstance(request, Mapping) else {}
    reasons = asked.get("reasons")
    return record.model_copy(
        update={
            "status": result.status,
            "updated_at": clock.now(),
            "cost_microusd": result.row["cost_microusd"],
            "busy_s": Effort.of(result.key, result.values).seconds,
            "degraded": result.row["degraded"],
            "error": result.error,
            "waits_for": result.waits_for,
            "until": result.until,
            "tier": text(asked.get("tier")),
            "reasons": strings(list(reasons.values())) if isinstance(reasons, Mapping) else [],
            "default_action": text(asked.get("default_action")),
        }
    )


async def next_start(pipeline: Pipeline, store: Store, record: ThreadRecord, given: Any) -> tuple[Any, RawThread]:
    """Return what to invoke a thread with: its input when nothing was stored yet, None to go on.

    Raises `UsageError` when the thread was begun with another version of the graph, and `ThreadUnreadable` for a
    field that holds what it would not take and for a node that is gone: that would end the run as if it had succeeded.
    """
    raw = await store.channels(record.thread_id)
    if not raw.exists:
        return given, raw
    if raw.graph_version and raw.graph_version != pipeline.version:
        raise UsageError(
            f"thread {record.key} was begun with version {raw.graph_version} of {pipeline.name}, this is version "
            f"{pipeline.version}: finish it with that version, or run the item again with --rerun"
        )
    if (broken := broken_state(record, raw)) and broken.kind in ("field", "node"):
        raise ThreadUnreadable(record, broken)
    wait = next((i for i in raw.interrupts if waiting(RawThread(interrupts=[i]))[0] == "time"), None)
    return (Command(resume={wait["id"]: True}) if wait else None), raw


async def sleep_until(when: float, draining: asyncio.Event) -> bool:
    """Sleep until a time (seconds since the epoch); False when draining began first."""
    try:
        await asyncio.wait_for(draining.wait(), max(0.0, when - clock.now()))
    except TimeoutError:
        return True
    return False
