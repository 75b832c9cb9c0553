"""The content pipeline: summarise an article, and let no summary pass that is not one.

from graphs.content import graph
result = graph.invoke({"text": "..."})
"""

from __future__ import annotations

from typing import Any, Final

from langgraph.graph import END, START, StateGraph

from nodes import Check, Policy, add_gate, add_retry, add_review, add_step, begin_turn, clock, compile_graph
from nodes.checks import (
    boilerplate,
    copied,
    figures,
    gibberish,
    invented,
    length,
    names,
    on_topic,
    repetition,
    same_language,
    shorter,
    unfinished,
)
from nodes.errors import InputError
from state import ReviewDecision, ReviewRequest, RunContext
from state.content import ArticleInput, ContentState
from state.review import ActionRequest, ReviewConfig
from tasks import content as tasks
from tasks.html_text import text_of

VERSION: Final = "1"

REVIEW_WITHIN_S: Final = 24 * 3600.0
"""Seconds within which a person should have written the summary that no model could."""

CHECKS: Final = [
    Check(name="length", run=length(min_words=5, max_words=150)),
    Check(name="shorter", run=shorter(0.5)),
    Check(name="gibberish", run=gibberish()),
    Check(name="repetition", run=repetition()),
    Check(name="language", run=same_language()),
    Check(name="boilerplate", run=boilerplate()),
    Check(name="unfinished", run=unfinished()),
    Check(name="invented", run=invented()),
    Check(name="figures", run=figures()),
    Check(name="names", run=names()),
    Check(name="copied", run=copied()),
    Check(name="on_topic", run=on_topic()),
]


def validate(state: ContentState) -> dict[str, Any]:
    """Refuse a run without an article."""
    if state.text is None or not text_of(state.text).strip():
        raise InputError('field "text" is missing or blank: pass {"text": "the article"}')
    return begin_turn(state, tasks.TASKS)


def ask(state: ContentState) -> ReviewRequest:
    """Ask a person for a summary; there is none that could be accepted."""
    why = "\n".join(f"- {reason}" for reason in state.escalations.values())
    refused = "\n".join(f"- {verdict.check}: {verdict.detail}" for verdict in state.verdicts if not verdict.passed)
    return ReviewRequest(
        action_request=ActionRequest(action="summarise", args={"summary": state.summary}),
        config=ReviewConfig(allow_accept=False),
        description=f"**Why you are asked**\n{why}\n{refused}\n\n**{state.title or 'Article'}**\n\n"
        f"{tasks.shortened(text_of(state.text or ''), 6_000)}",
        reasons=state.escalations,
        asked_at=clock.now(),
        due_at=clock.now() + REVIEW_WITHIN_S,
        default_action="reject",
    )


def answer(_state: ContentState, decision: ReviewDecision) -> dict[str, Any]:
    """Take a response as the summary."""
    return {"summary": str(decision.args)} if decision.type == "response" else {}


def finish(state: ContentState) -> dict[str, Any]:
    """Write the outcome; an article without a summary is never published as if it had one."""
    return {"outcome": "summarised" if state.summary else "unpublished"}


builder: Final = StateGraph(ContentState, context_schema=RunContext, input_schema=ArticleInput)
builder.add_node("validate", validate)
builder.add_node("finish", finish)
summarise = add_step(
    builder,
    tasks.summarise,
    Policy(retries=2, timeout=40, max_cost=0.05, fallback=("embedded",)),
    then="gate",
    on_give_up="finish",
)
add_gate(
    builder, summarise, field="summary", source=lambda state: f"{state.title}\n{text_of(state.text or '')}",
    checks=CHECKS, then="finish",
)  # fmt: skip
add_retry(builder, [summarise], escalate_to="human_review")
add_review(builder, ask=ask, answer=answer, tasks=tasks.TASKS, then="finish")
builder.add_edge(START, "validate")
builder.add_edge("validate", "summarise")
builder.add_edge("finish", END)

graph: Final = compile_graph(builder, name="content", version=VERSION)
