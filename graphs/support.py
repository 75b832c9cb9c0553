"""The support pipeline: classify a ticket, judge its urgency, route it, draft a first response, ask people when unsure.

from graphs.support import graph
result = graph.invoke({"text": "I was charged twice for March."})
"""

from __future__ import annotations

from typing import Any, Final

from langgraph.graph import END, START, StateGraph

from nodes import Check, Policy, add_gate, add_retry, add_review, add_step, begin_turn, clock, compile_graph, fixed
from nodes.checks import boilerplate, invented, length, personal_data, repetition, unfinished
from nodes.context import run_context
from nodes.errors import InputError
from state import ReviewDecision, ReviewRequest, RunContext, SupportInput, SupportState
from state.review import ActionRequest, ReviewConfig
from tasks import support as tasks
from tasks.embedded.support import REVIEW_BELOW
from tasks.mail.fields import mail_shown, mail_source, with_mail

VERSION: Final = "1"

CATEGORY_CONFIDENCE: Final = REVIEW_BELOW
"""Below this probability a person checks the category; change it with `RunContext.thresholds`."""

REVIEW_WITHIN_S: Final = {"urgent": 3600.0, "routine": 24 * 3600.0}
"""Seconds within which a person should have answered, by tier."""


def validate(state: SupportState) -> dict[str, Any]:
    """Refuse a run without a ticket, on which LangGraph would go on with defaults, and find what is new in it."""
    if state.text is None:
        raise InputError('field "text" is missing: pass {"text": "what the customer wrote"}')
    return with_mail(begin_turn(state, tasks.TASKS), state.subject, state.text)


def assess(state: SupportState) -> dict[str, Any]:
    """Collect the reasons for which a person must look at this ticket."""
    needed = run_context().thresholds.get("category_confidence", CATEGORY_CONFIDENCE)
    reasons = {}
    by_person = {field for field, source in state.provenance.items() if source.provider == "person"}
    if state.urgency == "critical" and "urgency" not in by_person:
        reasons["critical"] = "the ticket is critical"
    if (state.confidence or 0.0) < needed and "category" not in by_person:
        reasons["low_confidence"] = f"the category is unsure ({state.confidence or 0.0:.2f} < {needed:.2f})"
    return {"escalations": {key: why for key, why in reasons.items() if not state.decided(key)}}


def finish(state: SupportState) -> dict[str, Any]:
    """Write the outcome; a ticket that nobody could route goes to the first line of support."""
    last = state.last_decision
    update: dict[str, Any] = {"outcome": {"reject": "rejected", "response": "answered"}.get(last or "", "routed")}
    if state.team is None and last != "reject":
        update |= {"team": "support_tier_1", "degraded": True, "reasons": ["no routing: sent to support_tier_1"]}
    return update


def forward(state: SupportState) -> str:
    """Return the first node whose output is missing: where a ticket goes on after routing or a decision."""
    if state.escalations:
        return "human_review"
    if state.last_decision in ("reject", "response"):
        return "finish"
    for node, value in (("classify", state.category), ("urgency", state.urgency), ("route", state.team)):
        if value is None:
            return node
    if state.team == "escalations" or state.draft is not None:
        return "finish"
    return "draft"


def ask(state: SupportState) -> ReviewRequest:
    """Put the ticket and the reasons before a person."""
    tier = "urgent" if state.urgency == "critical" else "routine"
    now = clock.now()
    proposal = {"category": state.category, "urgency": state.urgency, "team": state.team, "draft": state.draft}
    why = "\n".join(f"- {reason}" for reason in state.escalations.values())
    return ReviewRequest(
        action_request=ActionRequest(action="triage", args=proposal),
        config=ReviewConfig(allow_accept=None not in (state.category, state.urgency)),
        description=f"**Why you are asked**\n{why}\n\n{mail_shown(state.subject, state.text or '', tasks.shorten)}",
        reasons=state.escalations,
        tier=tier,
        asked_at=now,
        due_at=now + REVIEW_WITHIN_S[tier],
        # A critical ticket is never waved through; an unsure category is better routed late than not at all.
        default_action="wait" if tier == "urgent" or None in (state.category, state.urgency) else "accept",
    )


def answer(_state: SupportState, decision: ReviewDecision) -> dict[str, Any]:
    """Turn a decision into fields: a response is the answer to the customer, an edited category is certain."""
    if decision.type == "response":
        return {"draft": str(decision.args)}
    if "category" in decision.edits:
        return {"confidence": 1.0, "confidence_source": "person"}
    return {}


def draft_source(state: SupportState) -> str:
    """Return all that a draft may draw on."""
    return "\n".join(
        [mail_source(state.subject, state.text or ""), state.customer, (state.team or "").replace("_", " ")]
    )


DRAFT_CHECKS: Final = [
    Check(name="length", run=length(min_words=8, max_words=220)),
    Check(name="repetition", run=repetition()),
    Check(name="invented", run=invented()),
    Check(name="personal_data", run=personal_data()),
    Check(name="boilerplate", run=boilerplate()),
    Check(name="unfinished", run=unfinished()),
]

POLICIES: Final = {
    "classify": Policy(retries=3, timeout=30, fallback=("embedded",)),
    "urgency": Policy(retries=2, timeout=30, fallback=("embedded",)),
    "route": Policy(retries=0),
    "draft": Policy(retries=2, backoff=fixed(5), timeout=30, max_cost=0.05, on_exhausted="give_up"),
}

builder: Final = StateGraph(SupportState, context_schema=RunContext, input_schema=SupportInput)
builder.add_node("validate", validate)
builder.add_node("assess", assess)
builder.add_node("finish", finish)

classify = add_step(builder, tasks.classify, POLICIES["classify"], then="urgency")
urgency = add_step(builder, tasks.urgency, POLICIES["urgency"], then="route")
route = add_step(builder, tasks.route, POLICIES["route"], then="assess")
draft = add_step(builder, tasks.draft, POLICIES["draft"], then="gate", on_give_up="finish")
add_gate(builder, draft, field="draft", source=draft_source, checks=DRAFT_CHECKS, then="finish")
add_retry(builder, [classify, urgency, route, draft], escalate_to="human_review")
add_review(
    builder,
    ask=ask,
    answer=answer,
    tasks=tasks.TASKS,
    then=(forward, ["classify", "urgency", "route", "draft", "finish"]),
)
builder.add_edge(START, "validate")
builder.add_edge("validate", "classify")
builder.add_conditional_edges("assess", forward, ["human_review", "draft", "finish"])
builder.add_edge("finish", END)

graph: Final = compile_graph(builder, name="support", version=VERSION)
