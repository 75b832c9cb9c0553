"""The events of a story, told from the records that a thread holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, Field

from surefoot.raw import number, plain, records, strings, text
from surefoot.readable import brief
from surefoot.words import clock, count, due, duration, label, money, one_line

if TYPE_CHECKING:
    from surefoot.threads import RawThread, ThreadRecord


REFUSALS: Final = ("breaker_open", "over_budget", "retry_budget_spent", "throttled_locally")
"""Outcomes of attempts whose request was never sent, because the guard refused it."""


_COUNTED: Final = {
    "repaired": ("answer", "repaired"),
    "reasked": ("answer", "asked for again"),
    "replayed": ("answer", "known from before a crash"),
    "hedged": ("second request", "sent because the first was slow"),
}
"""What is counted in an attempt, and how it is told."""


class Event(BaseModel):
    """One thing that happened."""

    at: float | None = None
    """Seconds since the epoch."""
    kind: Literal["start", "attempt", "decision", "gate", "review", "error", "end"]
    step: str = ""
    title: str
    details: list[str] = Field(default_factory=list)
    good: bool | None = None
    """Whether it went well; None for what is neither."""
    data: dict[str, Any] = Field(default_factory=dict)
    """The record behind the event, as it is stored."""


def events_of(record: ThreadRecord, raw: RawThread, values: Mapping[str, Any]) -> list[Event]:
    """Return everything that happened to a thread, in time order."""
    attempts = sorted(records(values, "attempts"), key=lambda attempt: number(attempt.get("started_at")))
    told = [
        *_attempts(attempts, values),
        *_decisions(values),
        *_gates(values),
        *_reviews(values),
        *_questions(raw),
        *_ends(record, raw),
    ]
    return sorted(told, key=lambda event: event.at if event.at is not None else float("inf"))


def who(source: Mapping[str, Any]) -> str:
    """Name the provider and the model of an attempt or of a provenance."""
    provider, model = text(source.get("provider")) or text(source.get("entry")), text(source.get("model"))
    return " ".join(part for part in (provider, model) if part) or "an unknown provider"


def _attempts(attempts: list[dict[str, Any]], values: Mapping[str, Any]) -> list[Event]:
    """Tell each attempt, and what the retry node made of a failed one where no record of it was kept."""
    events = []
    recorded = {(*_turn(made), number(made.get("attempt"))) for made in records(values, "retry_decisions")}
    for position, attempt in enumerate(attempts):
        events.append(_attempt(attempt))
        if text(attempt.get("outcome")) in ("", "ok") or (*_turn(attempt), number(attempt.get("n"), 1)) in recorded:
            continue
        later = next((a for a in attempts[position + 1 :] if _turn(a) == _turn(attempt)), None)
        decided = _decision(attempt, later, values)
        if decided is not None:
            events.append(decided)
    return events


def _turn(attempt: Mapping[str, Any]) -> tuple[str, str, float]:
    return text(attempt.get("step")), text(attempt.get("member")), number(attempt.get("visit"))


def _attempt(attempt: dict[str, Any]) -> Event:
    outcome = text(attempt.get("outcome")) or "ok"
    step = text(attempt.get("step")) or "?"
    visit, member = int(number(attempt.get("visit"))), text(attempt.get("member"))
    refused = outcome in REFUSALS and not number(attempt.get("calls"))
    ended = f"not sent, {label(outcome)}" if refused else label(outcome)
    title = f"attempt {int(number(attempt.get('n'), 1))} with {who(attempt)}: {ended}"
    title = f"version {visit + 1}, {title}" if visit else title
    facts = [duration(number(attempt.get("latency_ms")) / 1000)]
    if limit := number(attempt.get("timeout_ms")):
        facts[0] += f" of {duration(limit / 1000)} allowed"
    if (queued := number(attempt.get("queued_ms"))) >= 100:
        facts.append(f"queued {duration(queued / 1000)}")
    if number(attempt.get("tokens_in")) or number(attempt.get("tokens_out")):
        facts.append(f"{number(attempt.get('tokens_in')):.0f} tokens in, {number(attempt.get('tokens_out')):.0f} out")
    if number(attempt.get("calls")):
        facts.append(money(number(attempt.get("cost_microusd"))))
    for name, said in _COUNTED.items():
        times = int(number(attempt.get(name)))
        facts += [f"{count(times, said[0])} {said[1]}"] if times else []
    if (waited := number(attempt.get("wait_ms"))) >= 100:
        facts.append(f"waited {duration(waited / 1000)} before")
    error, told = text(attempt.get("error")), ", ".join(facts)
    return Event(
        at=number(attempt.get("started_at")) or None,
        kind="attempt",
        step=member or step,
        title=title if error else f"{title}, {told}",
        details=[error, told] if error else [],
        good=outcome == "ok",
        data=plain(attempt),
    )


def _decisions(values: Mapping[str, Any]) -> list[Event]:
    """Tell each decision of the retry node from its record: its cause, what was before it and what came after."""
    failures = values.get("failures")
    events = []
    for made in records(values, "retry_decisions"):
        step, at, until = text(made.get("step")), number(made.get("at")), number(made.get("until"))
        action, before, after = (text(made.get(name)) for name in ("action", "before", "after"))
        pending = failures.get(step) if isinstance(failures, Mapping) else None
        waits = isinstance(pending, Mapping) and number(pending.get("visit")) == number(made.get("visit"))
        if action == "again":
            when = f"at {clock(until)} ({due(until)})" if waits and due(until).startswith("in ") else ""
            title = f"tries again with {after} {when}" if when else f"tries again after {duration(until - at)}"
        else:
            title = {
                "fallback": f"falls back from {before or 'the first choice'} to {after}",
                "escalate": "asks a person",
                "give_up": "gives up this step and goes on without it",
            }.get(action, "has decided")
        cause = f"because {step or 'the step'}, attempt {int(number(made.get('attempt')))}"
        cause += f" with {before}" if before else ""
        details = [f"{cause}, ended with {label(text(made.get('outcome')) or 'a failure')}"]
        if (asked := number(made.get("retry_after"))) > 0:
            refused = text(made.get("outcome")) == "breaker_open"
            said = "the breaker stays open for" if refused else "the endpoint asked to wait"
            details.append(f"{said} {duration(asked)}")
        if action != "again" and (reason := text(made.get("reason"))):
            details.append(reason)
        if action in ("escalate", "give_up") and after:
            details.append(f"goes to {after}")
        events.append(Event(at=at or None, kind="decision", step="retry", title=title, details=details,
                            data=plain(made)))  # fmt: skip
    return events


def _decision(attempt: dict[str, Any], later: dict[str, Any] | None, values: Mapping[str, Any]) -> Event | None:
    """Say what the retry node decided about a failed attempt of a thread that keeps no records of decisions.

    What it decided earlier is told by the attempt that followed; what it decided last stands in `failures` while it
    is pending, in `escalations` and `review` when a person was asked, and in `reasons` when it gave up.
    """
    step = text(attempt.get("step"))
    at = number(attempt.get("started_at")) + number(attempt.get("latency_ms")) / 1000 or None
    failures = values.get("failures")
    pending = failures.get(step) if isinstance(failures, Mapping) else None
    if later is not None:
        wait = duration(number(later.get("wait_ms")) / 1000)
        same = text(later.get("entry")) == text(attempt.get("entry"))
        told = f"tries again after {wait}" if same else f"falls back to {who(later)}"
    elif isinstance(pending, Mapping) and number(pending.get("visit")) == number(attempt.get("visit")):
        told = _pending(pending)
    else:
        asked = [values.get("escalations"), *(review.get("reasons") for review in records(values, "review"))]
        if any(isinstance(reasons, Mapping) and step in reasons for reasons in asked):
            told = "asks a person"
        elif any(reason.startswith((f"{step} failed", f"{step}:")) for reason in strings(values.get("reasons"))):
            told = "gives up this step and goes on without it"
        else:
            return None
    return Event(at=at, kind="decision", step="retry", title=told)


def _pending(failure: Mapping[str, Any]) -> str:
    decision = failure.get("decision")
    if not isinstance(decision, Mapping):
        return "has not decided yet"
    provider, at = text(decision.get("provider")), number(decision.get("at"))
    told = f"falls back to {provider}" if decision.get("action") == "fallback" else f"tries again with {provider}"
    return told + (f" at {clock(at)} ({due(at)})" if due(at).startswith("in ") else "")


def _gates(values: Mapping[str, Any]) -> list[Event]:
    """Tell each judgement of a gate: its checks on one version of an output."""
    groups: dict[tuple[str, float, float], list[dict[str, Any]]] = {}
    for verdict in records(values, "verdicts"):
        key = text(verdict.get("gate")), number(verdict.get("visit")), number(verdict.get("attempt"))
        groups.setdefault(key, []).append(verdict)
    versions = Counter((gate, visit) for gate, visit, _ in groups)
    events = []
    for (gate, visit, attempt), verdicts in groups.items():
        failed = [verdict for verdict in verdicts if verdict.get("passed") is not True]
        names = ", ".join(text(verdict.get("check")) for verdict in verdicts)
        # A fallback makes another version in the same visit.
        version = f"version {int(visit) + 1}" + (f" of attempt {int(attempt)}" if versions[gate, visit] > 1 else "")
        title = f"{version} passes: {names}" if not failed else f"{version} is refused"
        if failed and all(verdict.get("action") == "record" for verdict in failed):
            title = f"{version} passes with a remark"
        details = [
            f"{text(v.get('check'))}: {text(v.get('detail'))} (asks to {label(text(v.get('action')))})" for v in failed
        ]
        moments = [number(verdict.get("at")) for verdict in verdicts]
        events.append(
            Event(at=max(moments) or None, kind="gate", step=gate or "gate", title=title, details=details,
                  good=not failed, data={"verdicts": plain(verdicts)})
        )  # fmt: skip
    return events


def _reviews(values: Mapping[str, Any]) -> list[Event]:
    """Tell what people decided, and what was computed again because of it."""
    events = []
    for record in records(values, "review"):
        decision = record.get("decision")
        decision = decision if isinstance(decision, Mapping) else {}
        by, args = text(decision.get("by")) or "person", decision.get("args")
        name = {"person": "a person", "default": "nobody in time: the default"}.get(by, by)
        kind = text(decision.get("type"))
        verb = {"accept": "accepts", "edit": "edits", "response": "answers", "reject": "rejects"}.get(kind, "decides")
        if isinstance(args, Mapping):
            before = record.get("before")
            before = before if isinstance(before, Mapping) else {}
            verb += " " + ", ".join(
                f"{one_line(field)} = {brief(value, 60)}"
                + (f" (was {brief(before[field], 60)})" if before.get(field) is not None else "")
                for field, value in args.items()
            )
        elif args:
            verb += f": {one_line(args, 200)}"
        details = [f"was asked because {why}" for why in _whys(record.get("reasons"))]
        if comment := text(decision.get("comment")):
            details.append(f"comment: {comment}")
        if stale := strings(record.get("stale")):
            details.append(f"computed again: {', '.join(map(one_line, stale))}")
        moment = number(record.get("decided_at")) or None
        events.append(Event(at=moment, kind="review", step="review", title=f"{name} {verb}", details=details,
                            data=plain(record)))  # fmt: skip
    return events


def _questions(raw: RawThread) -> list[Event]:
    """Tell the questions that are open."""
    events = []
    for item in records({"all": raw.interrupts}, "all"):
        value = item.get("value")
        if not isinstance(value, Mapping) or "action_request" not in value:
            continue
        details = _whys(value.get("reasons"))
        tier, until = text(value.get("tier")), number(value.get("due_at"))
        title = f"a person is asked ({tier or 'routine'}" + (f", due {clock(until, date=True)})" if until else ")")
        events.append(Event(at=number(value.get("asked_at")) or None, kind="review", step="review", title=title,
                            details=details))  # fmt: skip
    return events


def _ends(record: ThreadRecord, raw: RawThread) -> list[Event]:
    events = [Event(kind="error", title=one_line(error), good=False) for error in strings(raw.errors)]
    if record.status in ("done", "failed"):
        values = raw.values if isinstance(raw.values, Mapping) else {}
        outcome = text(values.get("outcome")) or record.error or "ended without an outcome"
        events.append(Event(at=record.updated_at or None, kind="end", step=record.status, title=one_line(outcome),
                            good=record.status == "done"))  # fmt: skip
    return events


def _whys(reasons: Any) -> list[str]:
    return [one_line(why) for why in reasons.values()] if isinstance(reasons, Mapping) else []
