"""The story of a thread: what was tried, what was decided, by whom, and what comes next.

It is told from raw channel values, so that it can be told of threads that are broken, half-finished or written by
another version: a field that is missing or of a wrong type leaves a gap, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from surefoot.bill import Effort, Usual
from surefoot.raw import number, plain, records, strings, text
from surefoot.story_events import Event, events_of, who
from surefoot.words import about, clock, count, due, one_line, shell

if TYPE_CHECKING:
    from surefoot.broken import Broken
    from surefoot.threads import RawThread, ThreadRecord


class Source(BaseModel):
    """Where the value of a field came from."""

    field: str
    value: Any = None
    origin: str


class Story(BaseModel):
    """A thread's story in time order, ready to be printed or sent as JSON."""

    key: str
    thread_id: str
    pipeline: str
    status: str
    headline: str
    about: str
    """One line of the item itself."""
    outcome: str
    degraded: bool
    reasons: list[str]
    attempts: int
    failed_attempts: int
    retries: int
    """Attempts after the first of their step and turn."""
    cost_microusd: int
    retry_microusd: int
    """What the retries cost."""
    outlier: str
    """Why this run stands out among the latest of its pipeline; empty when it does not."""
    started_at: float | None
    seconds: float
    route: list[str]
    """The steps in the order in which they were entered."""
    events: list[Event]
    fields: list[Source]
    problems: list[str]
    """What could not be read."""
    broken: str
    """What keeps the thread from being read or from going on, in which field; empty for nothing."""
    next: str
    """What happens next."""
    command: str
    """What to type for it; empty when there is nothing to do."""

    def __str__(self) -> str:
        from surefoot.story_text import render

        return "\n".join(line for _, line in render(self, width=100))


def tell(
    record: ThreadRecord, raw: RawThread, others: Sequence[ThreadRecord] = (), broken: Broken | None = None
) -> Story:
    """Tell the story of a thread from its record and its raw state; never raises, whatever the state holds.

    `others` are threads of the same pipeline that it is compared with; `broken` is what keeps it from going on.
    """
    values = raw.values if isinstance(raw.values, Mapping) else {}
    events = events_of(record, raw, values)
    attempts = [event for event in events if event.kind == "attempt"]
    started = number(values.get("started_at")) or record.created_at or None
    upcoming, command = _next(record, raw, values) if broken is None else (broken.advice, broken.command)
    spend = values.get("spend")
    parts = spend.values() if isinstance(spend, Mapping) else []
    spent = sum(int(number(part.get("cost_microusd"))) for part in parts if isinstance(part, Mapping))
    effort = Effort.of(record.key, values)
    cost = spent or record.cost_microusd
    usual = Usual.of([other.cost_microusd for other in others], [other.busy_s for other in others])
    return Story(
        key=record.key,
        thread_id=record.thread_id,
        pipeline=record.pipeline,
        status=record.status,
        headline=_headline(record) if broken is None else f"is broken: {one_line(broken.told)}",
        about=about(values, 160),
        outcome=text(values.get("outcome")),
        degraded=values.get("degraded") is True or record.degraded,
        reasons=[one_line(reason) for reason in strings(values.get("reasons"))],
        attempts=len(attempts),
        failed_attempts=sum(not attempt.good for attempt in attempts),
        retries=effort.retries,
        cost_microusd=cost,
        retry_microusd=effort.retry_microusd,
        outlier=usual.why_outlier(cost, effort.seconds) if usual is not None else "",
        started_at=started,
        seconds=max(0.0, record.updated_at - started) if started else 0.0,
        route=_route(events),
        events=events,
        fields=_sources(values),
        problems=_problems(raw, values),
        broken="" if broken is None else one_line(broken.told),
        next=upcoming,
        command=command,
    )


def _headline(record: ThreadRecord) -> str:
    if record.status == "waiting" and record.waits_for == "person":
        why = "; ".join(map(one_line, record.reasons))
        late = ", overdue" if due(record.until).startswith("overdue") else ""
        return f"waits for a person{late}" + (f": {why}" if why else "")
    if record.status == "waiting":
        return "waits for its next attempt"
    told = {"running": "is running", "stalled": "has stalled", "done": "is done", "failed": "has failed"}
    return told.get(record.status, record.status) + (f": {one_line(record.error)}" if record.error else "")


def _route(events: list[Event]) -> list[str]:
    steps: list[str] = []
    for event in events:
        if event.kind in ("attempt", "gate", "review") and event.step and steps[-1:] != [event.step]:
            steps.append(event.step)
    return steps


def origins(values: Mapping[str, Any]) -> dict[str, str]:
    """Say of each field that was produced who produced it."""
    return {source.field: source.origin for source in _sources(values)}


def _sources(values: Mapping[str, Any]) -> list[Source]:
    """Say of each field that was produced who produced it."""
    provenance = values.get("provenance")
    sources = []
    for field, source in provenance.items() if isinstance(provenance, Mapping) else []:
        if isinstance(source, Mapping):
            sources.append(Source(field=one_line(field), value=plain(values.get(field)), origin=_origin(source)))
    return sources


def _origin(source: Mapping[str, Any]) -> str:
    provider = text(source.get("provider"))
    if provider in ("person", "default", "rule"):
        return {"person": "a person", "default": "the default, nobody answered", "rule": "a rule"}[provider]
    which = f"{text(source.get('step'))}, attempt {int(number(source.get('attempt'), 1))}"
    if visit := int(number(source.get("visit"))):
        which += f" of version {visit + 1}"
    return f"{who(source)} ({which})"


def _problems(raw: RawThread, values: Mapping[str, Any]) -> list[str]:
    """Name what the state should hold and does not, or holds in a form that cannot be read."""
    problems = [] if isinstance(raw.values, Mapping) else ["the state is no set of fields"]
    forms = {"attempts": list, "verdicts": list, "review": list, "reasons": list, "retry_decisions": list,
             "failures": Mapping, "spend": Mapping, "provenance": Mapping, "escalations": Mapping,
             "degraded": bool}  # fmt: skip
    for field, form in forms.items():
        if field in values and not isinstance(values[field], form):
            problems.append(f"field {field!r} is of a wrong type ({type(values[field]).__name__})")
    for field in ("attempts", "verdicts", "review", "retry_decisions"):
        value = values.get(field)
        lost = len(value) - len(records(values, field)) if isinstance(value, list) else 0
        if lost:
            problems.append(f"field {field!r}: {count(lost, 'entry', 'entries')} cannot be read")
    return problems


def _next(record: ThreadRecord, raw: RawThread, values: Mapping[str, Any]) -> tuple[str, str]:
    """Say what happens next and what to type for it."""
    key, at = record.key, record.until
    stands = ", ".join(map(one_line, raw.next)) if raw.next else ""
    if record.status == "waiting" and record.waits_for == "person":
        when = f", {due(at)} ({clock(at, date=True)})" if at is not None else ""
        return f"waits for a person{when}", shell("review", key)
    if record.status == "waiting":
        when = f" until {clock(at, date=True)} ({due(at)})" if at is not None else ""
        return f"waits{when}, then goes on with {stands or 'its next step'}", shell("resume", key)
    if record.status == "running":
        return "a process is working on it right now", shell("explain", key)
    if not raw.exists:
        return "nothing is stored of it yet: run its input again", ""
    if record.status == "stalled":
        return f"its process is gone or was stopped; it stands before {stands or 'its next step'}", shell("resume", key)
    if record.status == "failed" and (raw.next or not text(values.get("outcome"))):
        return "did not reach its end; resume it once the cause is gone", shell("resume", key)
    return "it is finished, nothing is left to do", ""
