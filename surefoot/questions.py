"""The questions of a thread: reviews of ours, and what a graph of somebody else asks in a form of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langgraph.types import Command

from nodes.retry import WAIT_KIND
from nodes.review import validate_answer
from state import ReviewRequest
from state.review import ActionRequest, ReviewConfig
from surefoot.answers import Form, encoded, request_of, value_of
from surefoot.broken import Broken, find_broken
from surefoot.errors import UsageError
from surefoot.pipelines import Pipeline, pipeline
from surefoot.threads import RawThread, ThreadRecord

if TYPE_CHECKING:
    from surefoot.store import Store

_TEXT_ONLY = ReviewConfig(allow_accept=False, allow_edit=False, allow_ignore=False)


@dataclass(frozen=True)
class Asked:
    """One pending question."""

    id: str
    request: ReviewRequest
    form: Form = "review"
    """Who reads the answer; `value` for `interrupt(anything)`: it takes any JSON."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the value, where the graph's `interrupt(..., response_schema=...)` named one."""

    def resume_value(self, answer: Any, state: type[Any]) -> Any:
        """Return what the thread is resumed with; raises `InputError` for an answer that does not fit."""
        if not self.id:
            raise UsageError(f"{self.request.description.strip('()')}, so it takes no answer")
        if self.form == "value":
            return value_of(answer, self.schema)
        if self.form == "review":
            given = answer.resume if isinstance(answer, Command) else answer
            return validate_answer(self.request, state, _in_words(given)).model_dump(mode="json")
        return encoded(self.form, self.request, _in_words(answer))


def _in_words(answer: Any) -> Any:
    """Return the answer that a word such as `accept` stands for."""
    return {"type": answer} if isinstance(answer, str) else answer


def urgency(request: ReviewRequest) -> tuple[bool, float]:
    """Return what questions are sorted by: urgent ones first, then by due time."""
    return request.tier != "urgent", request.due_at or float("inf")


async def asked_by(store: Store, record: ThreadRecord) -> tuple[list[Asked], RawThread]:
    """Return the questions of a waiting thread and what is stored of it.

    One that cannot be read, or whose thread cannot go on, says why and takes no answer.
    """
    raw, broken = await find_broken(store, record)
    if broken is None or broken.kind in ("graph", "version"):
        # The first is told where it is answered, the second may be answered by the other version.
        return questions_in(raw), raw
    return [Asked("", _unreadable(f"{broken.told}; {broken.advice}", broken, record))], raw


def questions_in(raw: RawThread) -> list[Asked]:
    """Return the questions that wait for a person, whoever asked them."""
    return [
        _asked(str(item["id"]), item["value"], item.get("response_schema"))
        for item in raw.interrupts
        if not (isinstance(item["value"], Mapping) and item["value"].get("kind") == WAIT_KIND)
    ]


def _asked(interrupt_id: str, value: Any, schema: Any) -> Asked:
    try:
        if found := request_of(value):
            return Asked(interrupt_id, found[1], found[0])
    except (ValueError, TypeError, LookupError, AttributeError):
        if isinstance(value, Mapping) and "default_action" in value:
            # It was a review of ours: what a value would mean to it is not known.
            return Asked("", _unreadable("this question cannot be read"))
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    action = ActionRequest(action="answer")
    asked = ReviewRequest(action_request=action, config=_TEXT_ONLY, description=text, reasons={"asked": text[:200]})
    return Asked(interrupt_id, asked, "value", schema if isinstance(schema, Mapping) else None)


def _unreadable(description: str, broken: Broken | None = None, record: ThreadRecord | None = None) -> ReviewRequest:
    nothing = ReviewConfig(allow_accept=False, allow_edit=False, allow_respond=False, allow_ignore=False)
    told = f"({description}{f': {broken.command}' if broken and broken.command else ''})"
    request = ReviewRequest(description=told, config=nothing, reasons={"unreadable": told.strip("()")})
    if record is None:
        return request
    tier = "urgent" if record.tier == "urgent" else "routine"
    return request.model_copy(update={"tier": tier, "due_at": record.until})


def question_of(record: ThreadRecord, raw: RawThread, interrupt_id: str | None = None) -> Asked:
    """Return the pending question of a thread, by id where there are several; raises `UsageError` for none."""
    questions = {asked.id: asked for asked in questions_in(raw)}
    if not questions:
        raise UsageError(
            f"thread {record.key} waits for no person (it is {record.status}); `surefoot inbox` lists those"
        )
    if interrupt_id is None and len(questions) > 1:
        raise UsageError(f"thread {record.key} asks several questions, name one with --id: {', '.join(questions)}")
    chosen = interrupt_id or next(iter(questions))
    if chosen not in questions:
        raise UsageError(f"thread {record.key} asks no question {chosen!r}; pending: {', '.join(questions)}")
    return questions[chosen]


def asks_for_value(raw: RawThread, interrupt_id: str | None = None) -> bool:
    """Tell whether a thread asks for a value, of which None may be one."""
    return any(asked.form == "value" and interrupt_id in (None, asked.id) for asked in questions_in(raw))


def pipeline_of(record: ThreadRecord) -> Pipeline:
    """Return the pipeline of a thread; raises `UsageError` that says how a thread of an unknown graph goes on."""
    try:
        return pipeline(record.pipeline, record.spec)
    except UsageError as error:
        if record.spec:
            raise
        raise UsageError(f"{elsewhere(record)} ({error})") from None


def answerable(record: ThreadRecord) -> bool:
    """Tell whether the thread's graph is known here, without importing it."""
    try:
        return bool(record.spec or pipeline(record.pipeline))
    except UsageError:
        return False


def elsewhere(record: ThreadRecord) -> str:
    """Say how a thread of a graph that is not known here is answered."""
    named = f"graph {record.pipeline!r}" if record.pipeline else "a graph without a name"
    return (
        f"thread {record.key} is of {named}, which is not known here: answer it where it was begun, with "
        "graph.invoke(Command(resume={ID: ANSWER}), config), or in Studio"
    )
