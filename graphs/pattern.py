"""The general pattern: validate, tasks side by side, aggregate, quality gate, retry with fallback, a person at the end.

`build_pattern` makes such a graph of plain functions; what they need is read from their parameters (`nodes.registry`).
`graph` is one of them: a brief of any text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, ValidationError

from nodes import (
    Check,
    CheckedGraph,
    Member,
    Work,
    add_gate,
    add_group,
    add_retry,
    add_review,
    add_step,
    begin_turn,
    clock,
    compile_graph,
    levels,
    schemas_of,
    work,
)
from nodes.checks import length
from nodes.errors import InputError
from state import ReviewRequest, RunContext, describe
from state.pattern import Document
from state.review import ActionRequest, ReviewConfig
from tasks import pattern as tasks

VERSION: Final = "1"


def build_pattern(
    name: str,
    *,
    input: type[BaseModel],
    works: Sequence[Work | Callable[..., Any]],
    aggregate: Work | Callable[..., Any],
    checks: Sequence[Check] = (),
    validate: Callable[[Any], str | None] | None = None,
    review: bool = False,
    version: str = VERSION,
) -> CheckedGraph:
    """Return the compiled graph of a pattern; attach a saver with `graph.copy(update={"checkpointer": saver})`.

    `input` is a model of what goes in, `validate` may say what is wrong with it. `works` are functions, or `work(...)`
    with a policy; each writes the field of its name. `aggregate` joins what they gave, under its own name, and `checks`
    judge that. With `review` a person is asked when something is missing in the end; else the result is degraded.
    Raises `ValueError` for unknown names, cycles, and names that are taken.
    """
    parts = [one if isinstance(one, Work) else work(one) for one in works]
    last = aggregate if isinstance(aggregate, Work) else work(aggregate, retries=0)
    waves = levels([*parts, last], input.model_fields)
    if last not in waves[-1] or len(waves[-1]) > 1:
        raise ValueError(f"{last.name!r} joins the others, so nothing can need it")
    schema, given = schemas_of(name, input, [*parts, last])
    builder = StateGraph(schema, context_schema=RunContext, input_schema=given)
    tasks = {one.name: one.task for one in (*parts, last)}
    groups = ["works" if len(waves) == 2 else f"works_{number}" for number in range(1, len(waves))]
    end = "human_review" if review else "finish"

    def check(state: Any) -> dict[str, Any]:
        there = {field: getattr(state, field) for field in input.model_fields if getattr(state, field) is not None}
        try:
            wrong = validate(input.model_validate(there)) if validate else input.model_validate(there) and None
        except ValidationError as error:
            raise InputError(f"input: {describe(error)}") from None
        if wrong:
            raise InputError(f"input: {wrong}")
        return begin_turn(state, tasks)

    def joinable(state: Any) -> str:
        return last.name if all(getattr(state, need) is not None for need in last.needs) else end

    def judged(state: Any) -> str:
        return end if state.escalations else "finish"

    def finish(state: Any) -> dict[str, Any]:
        missing = [one.name for one in (*parts, last) if getattr(state, one.name) is None]
        update: dict[str, Any] = {"outcome": "incomplete" if last.name in missing else "done"}
        if last.name in missing and not state.reasons:
            update |= {"degraded": True, "reasons": [f"{last.name} is missing: {', '.join(missing)}"]}
        return update

    builder.add_node("validate", check)
    builder.add_node("finish", finish)
    for number, (group, wave) in enumerate(zip(groups, waves, strict=False), 1):
        members = [Member(task=one.task, policy=one.policy) for one in wave]
        after: Any = groups[number] if number < len(groups) else (joinable, [last.name, end])
        add_group(builder, group, members, then=after, only_missing=True)
    done: Any = (judged, [end, "finish"])
    step = add_step(builder, last.task, last.policy, then="gate" if checks else done, on_give_up=end)
    if checks:
        fields = [*input.model_fields, *(one.name for one in parts)]
        add_gate(
            builder, step, field=last.name, checks=checks, then=done,
            source=lambda state: "\n".join(str(getattr(state, field) or "") for field in fields),
        )  # fmt: skip
    add_retry(builder, [step], escalate_to="human_review" if review else None)
    if review:
        add_review(
            builder, ask=_ask([*parts, last]), answer=lambda _state, _decision: {}, tasks=tasks,
            then=(lambda state: _forward(state, last, groups[0]), [groups[0], "finish"]),
        )  # fmt: skip
    builder.add_edge(START, "validate")
    builder.add_edge("validate", groups[0])
    builder.add_edge("finish", END)
    return compile_graph(builder, name=name, version=version)


def _ask(works: Sequence[Work]) -> Callable[[Any], ReviewRequest]:
    def ask(state: Any) -> ReviewRequest:
        dumped: Mapping[str, Any] = state.model_dump(mode="json", include={one.name for one in works})
        return ReviewRequest(
            action_request=ActionRequest(action="complete", args=dict(dumped)),
            config=ReviewConfig(allow_respond=False, allow_accept=True),
            description="\n".join(f"- {reason}" for reason in (*state.escalations.values(), *state.reasons)),
            reasons=state.escalations or {"incomplete": "; ".join(state.reasons) or "the result is missing"},
            asked_at=clock.now(),
            default_action="wait" if dumped[works[-1].name] is None else "accept",
        )

    return ask


def _forward(state: Any, last: Work, first: str) -> str:
    """Return where a run goes on after a person: to what an edit made stale, or to the end."""
    return first if state.last_decision == "edit" and getattr(state, last.name) is None else "finish"


PARTS: Final = [
    work(tasks.keywords, on_exhausted="give_up"),
    work(tasks.figures, on_exhausted="give_up"),
    work(tasks.summary, retries=2, timeout=30, max_cost=0.02, fallback=("embedded",)),
]
graph: Final = build_pattern(
    "pattern", input=Document, works=PARTS, aggregate=tasks.brief,
    checks=[Check(name="length", run=length(min_words=1, max_words=400))], review=True,
)  # fmt: skip
builder: Final = graph.builder
