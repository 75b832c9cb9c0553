"""Asking a person. A review node only interrupts: no model is called here, so running it again costs nothing.

The thread waits in the saver for as long as it takes. An answer that does not fit is not lost in an error: the same
question is asked again and says what was wrong with the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.graph import StateGraph
from langgraph.types import Overwrite, interrupt
from pydantic import BaseModel, ValidationError

from nodes import bridge, clock, events
from nodes.context import run_context
from nodes.edits import changed_args, unix_newlines
from nodes.errors import InputError, NeedsCheckpointer
from nodes.step import Route, route_function
from nodes.task import Task, stale_fields
from state import DecisionRecord, Provenance, ReviewDecision, ReviewRequest, RunState, describe
from state.forms import answer_form
from state.review import ActionRequest, flat_answer

S = TypeVar("S", bound=RunState)


def add_review(
    builder: StateGraph[Any, Any, Any, Any],
    *,
    ask: Callable[[S], ReviewRequest],
    answer: Callable[[S, ReviewDecision], Mapping[str, Any]],
    tasks: Mapping[str, Task[Any, Any]],
    then: Route,
    name: str = "human_review",
) -> None:
    """Add a node that asks a person.

    `ask` builds the question; its `action_request.args` are the fields that may be edited. `answer` turns a response
    into fields of the state and may add to what an edit sets. Fields derived from edited ones, by the inputs and
    outputs of `tasks`, are reset and computed again.
    """
    choose, targets = route_function(then)
    schema = builder.state_schema
    if not issubclass(schema, RunState):
        raise TypeError(f"add_review needs a state that extends RunState, which {schema.__name__} does not")

    def review(state: S, config: RunnableConfig) -> dict[str, Any]:
        request = ask(state)
        thread = bridge.thread_of(config)
        decision = _default_without_saver(request, config) or ask_until_valid(request, schema, thread)
        events.emit(events.ReviewDecided(thread, decision.type, tuple(request.reasons)))
        extra = dict(answer(state, decision))
        return _decided(state, request, decision, decision.edits | extra, tasks)

    builder.add_node(name, review)
    builder.add_conditional_edges(name, choose, list(targets))


def validate_answer(request: ReviewRequest, schema: type[BaseModel] | None, raw: Any) -> ReviewDecision:
    """Check an answer against its question; raises `InputError` that says what does not fit.

    Call it before an answer is submitted, so that a wrong one never reaches the thread. The decision holds the fields
    that the answer changes, in the types of the state (without a schema: of the proposal); an edit that changes nothing
    is an accept.
    """
    try:
        decision = ReviewDecision.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"the answer does not fit: {describe(error)}") from None
    if "type" not in decision.model_fields_set:
        raise InputError('the answer does not say what it is: send {"type": "accept"}, or edit, response, reject')
    if decision.type == "response" and isinstance(raw, list) and not request.config.allow_respond:
        # Agent Inbox offers a text where the question allows to reject.
        decision = ReviewDecision(type="reject", comment=str(decision.args), by=decision.by)
    decision = _as_it_differs(request, schema, decision, raw)
    allowed = {
        "accept": request.config.allow_accept,
        "edit": request.config.allow_edit,
        "response": request.config.allow_respond,
        "reject": request.config.allow_ignore,
    }
    if not allowed[decision.type]:
        possible = ", ".join(name for name, ok in allowed.items() if ok)
        raise InputError(f"this review cannot be answered with {decision.type!r}; possible: {possible}")
    return decision


def _as_it_differs(
    request: ReviewRequest, schema: type[BaseModel] | None, decision: ReviewDecision, raw: Any
) -> ReviewDecision:
    """Return a decision with what it changes alone: clients send the whole proposal back."""
    if decision.type == "response":
        return decision.model_copy(update={"args": unix_newlines(str(decision.args))})
    if not isinstance(decision.args, dict):
        return decision
    named, asked = _action_of(raw), request.action_request.action
    if named and named != asked and asked != ActionRequest().action:
        raise InputError(f"the answer is about the action {named[:60]!r}, this review is about {asked!r}")
    if decision.type == "edit" and not decision.args and request.action_request.args:
        raise InputError('an edit needs args: an object of fields, such as {"category": "billing"}')
    changed = changed_args(request, schema, decision.args)
    if decision.type == "edit" and changed:
        return decision.model_copy(update={"args": changed})
    if decision.type == "edit" and not request.config.allow_accept:
        raise InputError(
            "the edit changes nothing, and the proposal cannot be taken as it is: change one of "
            f"{', '.join(request.action_request.args) or 'no field'}, or answer in another way"
        )
    if changed:
        raise InputError(f"the answer is {decision.type!r} but changes {', '.join(changed)}: send it as an edit")
    kind = "accept" if decision.type == "edit" else decision.type
    return decision.model_copy(update={"type": kind, "args": None})


def _action_of(raw: Any) -> str:
    """Return the action that a client's answer names, empty for none."""
    flat = raw.model_dump() if isinstance(raw, ReviewDecision) else flat_answer(raw)
    return str(flat.get("action") or "") if isinstance(flat, dict) else ""


def ask_until_valid(request: ReviewRequest, schema: type[BaseModel], thread: str) -> ReviewDecision:
    """Interrupt until an answer fits. Earlier answers are replayed by LangGraph in order, so the loop is stable."""
    while True:
        try:
            raw = interrupt(request.payload(), response_schema=answer_form(request, schema))
        except GraphInterrupt:
            events.emit(events.ReviewAsked(thread, tuple(request.reasons)))
            raise
        try:
            return validate_answer(request, schema, raw)
        except InputError as error:
            text = f"**The last answer was not usable: {error}**\n\n{request.description}"
            request = request.model_copy(update={"description": text})


def _default_without_saver(request: ReviewRequest, config: RunnableConfig) -> ReviewDecision | None:
    """Without a saver nobody can be waited for: take the default action, or fail where there is none."""
    if bridge.has_saver(config):
        return None
    kind = "reject" if request.default_action == "reject" else "accept"
    possible = request.config.allow_ignore if kind == "reject" else request.config.allow_accept
    if run_context().without_saver == "fail" or not possible:
        raise NeedsCheckpointer(
            f"a person must decide ({'; '.join(request.reasons.values())}), but the graph runs without a checkpointer: "
            "compile it with one, or run it with surefoot.run"
        )
    return ReviewDecision(type=kind, by="default", comment="nobody was asked, for want of a checkpointer")


def _decided(
    state: RunState,
    request: ReviewRequest,
    decision: ReviewDecision,
    fields: dict[str, Any],
    tasks: Mapping[str, Task[Any, Any]],
) -> dict[str, Any]:
    """Return the update of a decision: the fields, their provenance, and what they made stale."""
    now = clock.now()
    changed = {field for field, value in decision.edits.items() if value != getattr(state, field)}
    stale = stale_fields(changed, tasks) - set(fields)
    # A step that a person was asked about begins anew, with all its retries.
    redo = {name for name, task in tasks.items() if stale & set(task.outputs) or name in state.escalations}
    source = Provenance(step="human_review", provider="default" if decision.by == "default" else "person")
    schema = type(state).model_fields
    update: dict[str, Any] = {
        **{field: Overwrite(schema[field].get_default(call_default_factory=True)) for field in stale},
        **fields,
        "provenance": {**dict.fromkeys(stale), **dict.fromkeys(fields, source)},
        "visits": {name: state.visits.get(name, 0) + 1 for name in redo},
        "escalations": dict.fromkeys(state.escalations),
        "review": [
            DecisionRecord(
                id=f"{now:.6f}",
                decision=decision,
                reasons=request.reasons,
                before={field: _brief(getattr(state, field)) for field in decision.edits},
                stale=sorted(stale),
                decided_at=now,
            )
        ],
    }
    if decision.by == "default":
        update |= {"degraded": True, "reasons": [f"{decision.comment}: {'; '.join(request.reasons.values())}"]}
    return update


def _brief(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
