"""The Python front door: run one item, answer a review, list what is pending, explain a thread.

Every function has an async twin. Each call opens the store that the settings (or `url`) name and closes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from langgraph.types import Command
from pydantic import ValidationError

from nodes import clock
from nodes.bridge import run_sync
from nodes.call import spending_cap, using_guard
from nodes.errors import InputError, SurefootError
from nodes.task import hash_of
from state import ReviewDecision, ReviewRequest, RunContext, describe
from state.strict import nearest
from surefoot.broken import ThreadUnreadable, broken_by, broken_record, find_broken, prove_key
from surefoot.drive import OnPart, Result, drive, next_start, result_of, updated, waiting
from surefoot.errors import ThreadBusy, UsageError
from surefoot.foreign import UNREADABLE
from surefoot.inputs import BadLine, Item, id_of
from surefoot.pipelines import Pipeline
from surefoot.pipelines import pipeline as find_pipeline
from surefoot.questions import asked_by, asks_for_value, pipeline_of, question_of, urgency
from surefoot.raw import number
from surefoot.runner import Runner
from surefoot.settings import settings
from surefoot.store import Store, open_store
from surefoot.threads import RawThread, ThreadRecord, check_namespace, completed
from surefoot.words import microusd_of, shell

if TYPE_CHECKING:
    from surefoot.story import Story


@dataclass(frozen=True)
class Pending:
    """A review that waits for an answer, or a question in somebody else's form: its text is the description."""

    record: ThreadRecord
    interrupt_id: str
    request: ReviewRequest


class RunFailed(SurefootError):
    """A run did not reach its end; the message says why and the thread can be resumed or run again."""


async def arun(
    pipeline: str,
    input: Mapping[str, Any],
    *,
    id: str | int | None = None,
    namespace: str = "",
    context: RunContext | None = None,
    rerun: bool = False,
    max_cost_usd: float | None = None,
    url: str | None = None,
) -> Result:
    """Run one item and return where it stands: done, waiting for a person, or failed.

    `pipeline` is a name, or `package.module:graph` for a graph of your own that `build_pattern`, `build_handoff` or
    `compile_graph` has made. The same `id` with the same input resumes or returns what is there; without an id the
    input's hash is the id. `max_cost_usd` caps the call (default: the settings'). Raises `UsageError` for an id that
    was run with another input, `InputError` for an unusable input, `ConfigurationError` or `BudgetSpent` when nothing
    can succeed.
    """
    found, item = item_of(pipeline, input, id, namespace)
    return await run_item(
        found, item, namespace=namespace, context=context, rerun=rerun, max_cost_usd=max_cost_usd, url=url
    )


def item_of(pipeline: str, input: Mapping[str, Any], id: str | int | None, namespace: str) -> tuple[Pipeline, Item]:
    """Check an input and return it with its pipeline; raises `InputError` or `UsageError`."""
    found = find_pipeline(pipeline)
    check_namespace(namespace)
    if not isinstance(input, Mapping):
        raise InputError(f"{pipeline}: the input must be an object of fields, got {type(input).__name__}")
    try:
        checked = found.input.model_validate(dict(input))
    except ValidationError as error:
        raise InputError(f"{pipeline}: {describe(error)}") from None
    for name in found.required:
        if getattr(checked, name, None) is None:
            there = ", ".join(map(str, input)) or "none"
            near = nearest(name, [str(one) for one in input])
            raise InputError(f'{pipeline}: field "{name}" is missing{near}; there are: {there}')
    values = checked.model_dump(mode="json", exclude_unset=True)
    item_id = hash_of(values) if id is None else id_of(id)
    if isinstance(item_id, BadLine):
        raise InputError(f"{pipeline}: {item_id.reason}")
    return found, Item(item_id, values)


async def run_item(
    found: Pipeline,
    item: Item,
    *,
    namespace: str = "",
    context: RunContext | None = None,
    rerun: bool = False,
    max_cost_usd: float | None = None,
    url: str | None = None,
    on_part: OnPart | None = None,
) -> Result:
    """Run a checked item; see `arun`."""
    cap = settings().max_cost_usd if max_cost_usd is None else max_cost_usd
    results: list[Result] = []
    async with open_store(url) as store:
        runner = Runner(
            found, store, parallel=1, namespace=namespace, context=context, rerun=rerun,
            max_cost_microusd=microusd_of(cap, "max_cost_usd"), on_part=on_part,
        )  # fmt: skip
        summary = await runner.run([item], on_result=results.append)
    if summary.refused:
        raise UsageError(summary.refused[0].reason)
    if summary.stopped:
        raise runner.stop_error or RunFailed(summary.stopped)
    return results[0]


NOTHING: Final[Any] = object()
"""Stands for no answer, since None may be one."""


async def aresume(
    thread: str, answer: Any = NOTHING, *, interrupt_id: str | None = None, url: str | None = None
) -> Result:
    """Go on with a thread: answer its review, or resume it where it was cut off.

    `thread` is a UUID or a readable key (`support:48291`). A review of ours is answered with a `ReviewDecision`, a dict
    of its form, what a client sends, or one of the strings `accept` and `reject`. A question of the graph's own,
    `interrupt(...)`, takes any JSON: False, None, a list; `Command(resume=X)` is X whatever it says. The answer is
    validated before it is submitted: an `InputError` leaves the thread as it was. The settings' cost cap holds for the
    call. Raises `UsageError` for an unknown thread, for an answer to a thread that does not wait for one, and for a
    finished thread; `ThreadBusy` while another process works on it.
    """
    async with open_store(url) as store:
        record = await store.find(thread)
        return await resume_in(store, record, answer, interrupt_id=interrupt_id)


async def resume_in(
    store: Store,
    record: ThreadRecord,
    answer: Any = NOTHING,
    *,
    interrupt_id: str | None = None,
    patience_s: float | None = None,
) -> Result:
    """Resume a thread of an open store, with the patience of who resumes it; see `aresume`."""
    if broken := broken_record(record):
        raise ThreadUnreadable(record, broken)
    pipeline = pipeline_of(record)
    async with store.leases.renewing():
        if not await store.acquire(record.thread_id):
            who = await store.leases.holder(record.thread_id)
            raise ThreadBusy(f"{who} is working on thread {record.key}; try again when it is done")
        try:
            try:
                start, raw = await next_start(pipeline, store, record, None)
            except UNREADABLE as error:
                await prove_key(store, error)
                raise ThreadUnreadable(record, broken_by(record, error)) from error
            # Whoever ran it last may have been given another one than the record tells.
            context = completed(raw.context, record.context).model_copy(update={"patience_s": patience_s})
            record = record.model_copy(update={"context": context})
            if answer is NOTHING or (answer is None and not asks_for_value(raw, interrupt_id)):
                answer = overdue_default(raw)
            if answer is not NOTHING:
                asked = question_of(record, raw, interrupt_id)
                start = Command(resume={asked.id: asked.resume_value(answer, pipeline.state)})
            elif not raw.exists:
                raise UsageError(f"thread {record.key} holds no checkpoint yet: run its input again")
            elif not raw.next:
                raise UsageError(f"thread {record.key} is finished; to run the item again use --rerun")
            elif waiting(raw)[0] == "person":
                raise UsageError(
                    f"thread {record.key} waits for a person: answer it with `{shell('review', record.key)}`"
                )
            with using_guard(store.guard), spending_cap(settings().max_cost_microusd):
                return await _go_on(pipeline, store, record, start)
        finally:
            await store.release(record.thread_id)


async def _go_on(pipeline: Any, store: Store, record: ThreadRecord, start: Any) -> Result:
    """Drive a resumed thread through waits until it ends or asks a person."""
    await store.save(record.model_copy(update={"status": "running", "updated_at": clock.now(), "error": ""}))
    try:
        raw = await drive(pipeline, store, record, start, record.context)
        result = result_of(pipeline, record, raw)
        while result.waits_for == "time" and result.until is not None:
            await asyncio.sleep(max(0.0, result.until - clock.now()))
            start, _ = await next_start(pipeline, store, record, None)
            raw = await drive(pipeline, store, record, start, record.context)
            result = result_of(pipeline, record, raw)
    except ThreadBusy:
        raise
    except BaseException as error:
        told = str(error) if isinstance(error, SurefootError) else type(error).__name__
        stopped = {"status": "stalled", "error": told, "updated_at": clock.now()}
        await store.save(record.model_copy(update=stopped))
        raise
    await store.save(updated(record, result, raw))
    return result


def overdue_default(raw: RawThread) -> Any:
    """Return the default action of a question whose due time has passed, `NOTHING` if it has none."""
    for item in raw.interrupts:
        value = item["value"] if isinstance(item["value"], Mapping) else {}
        overdue = (number(value.get("due_at")) or float("inf")) < clock.now()
        if overdue and value.get("default_action") in ("accept", "reject"):
            return ReviewDecision(type=value["default_action"], by="default", comment="nobody answered in time")
    return NOTHING


async def apending(thread: str | None = None, *, url: str | None = None) -> list[Pending]:
    """Return all reviews that wait for an answer, or those of one thread: urgent ones first, then by due time.

    Raises `UsageError` for an unknown thread.
    """
    async with open_store(url) as store:
        records = [await store.find(thread)] if thread else await store.records(status="waiting")
        found: list[Pending] = []
        for record in records:
            if record.status == "waiting" and record.waits_for == "person":
                asked, _ = await asked_by(store, record)
                found += [Pending(record, one.id, one.request) for one in asked]
    return sorted(found, key=lambda pending: urgency(pending.request))


async def aexplain(thread: str, *, url: str | None = None) -> Story:
    """Tell a thread's story: every attempt, wait, verdict, decision and cost. Works on broken threads too."""
    from surefoot.story import tell

    async with open_store(url) as store:
        record = await store.find(thread)
        raw, broken = await find_broken(store, record)
        return tell(record, raw, await store.latest(record.pipeline), broken)


class RunOptions(TypedDict, total=False):
    """Options of `run`, `arun`, `stream` and `astream`."""

    id: str | int | None
    """Names the item; without it, the hash of the input does."""
    namespace: str
    """Keeps runs apart from others of the same ids."""
    context: RunContext | None
    """Providers, thresholds and caps of the run."""
    rerun: bool
    """Forget an earlier run of the item."""
    max_cost_usd: float | None
    """Cap of the call in US dollars; the settings' by default."""
    url: str | None
    """Where the state is kept; `SUREFOOT_REDIS_URL` by default."""


class ResumeOptions(TypedDict, total=False):
    """Options of `resume` and `aresume`."""

    interrupt_id: str | None
    """Which question is answered, where a thread asks several."""
    url: str | None
    """Where the state is kept; `SUREFOOT_REDIS_URL` by default."""


def run(pipeline: str, input: Mapping[str, Any], **options: Unpack[RunOptions]) -> Result:
    """Run one item; see `arun`."""
    return run_sync(arun(pipeline, input, **options))


def resume(thread: str, answer: Any = NOTHING, **options: Unpack[ResumeOptions]) -> Result:
    """Go on with a thread; see `aresume`."""
    return run_sync(aresume(thread, answer, **options))


def pending(thread: str | None = None, *, url: str | None = None) -> list[Pending]:
    """Return all reviews that wait for an answer, or those of one thread; see `apending`."""
    return run_sync(apending(thread, url=url))


def explain(thread: str, *, url: str | None = None) -> Story:
    """Tell a thread's story; see `aexplain`."""
    return run_sync(aexplain(thread, url=url))
