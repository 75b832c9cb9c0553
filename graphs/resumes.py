"""The résumé pipeline: read a document, remove the person, extract facts side by side, score them in batches.

from graphs.resumes import graph
result = graph.invoke({"path": "cv.pdf", "job": {"title": "Backend engineer", "required": ["Python", "SQL"]}})
"""

from __future__ import annotations

from typing import Any, Final

from langgraph.graph import END, START, StateGraph

from nodes import (
    Member,
    Policy,
    add_group,
    add_retry,
    add_review,
    add_step,
    begin_turn,
    clock,
    compile_graph,
    exponential,
    missing_members,
)
from nodes.context import run_context
from nodes.errors import InputError
from state import ReviewDecision, ReviewRequest, RunContext
from state.resumes import ResumeInput, ResumeState
from state.review import ActionRequest, ReviewConfig
from tasks import resume_doubts as doubts
from tasks import resumes as tasks

VERSION: Final = "1"

THRESHOLDS: Final = {"auto_accept": 85.0, "human_review": 60.0, "disagreement": 30.0, "confidence": 0.75}
"""Points from which a candidate is accepted, or seen by a person; points that a model may differ from the rules; least
share of the facts. `RunContext.thresholds` may name others."""
REVIEW_WITHIN_S: Final = 3 * 24 * 3600.0
"""Seconds within which a person should have decided about a candidate."""
EXTRACTOR: Final = Policy(
    retries=2, backoff=exponential(1, 2, 20), timeout=40, max_cost=0.02, fallback=("embedded",), on_exhausted="give_up"
)


def validate(state: ResumeState) -> dict[str, Any]:
    """Refuse a run without a job or without anything to read."""
    if state.job is None:
        raise InputError('field "job" is missing: pass {"job": {"title": "...", "required": ["..."]}}')
    if state.path is None and state.text is None:
        raise InputError('fields "path" and "text" are missing: pass the path of a document, or its text')
    return begin_turn(state, tasks.TASKS) | {"recommendation": None}


def limit(name: str) -> float:
    """Return a threshold of this run."""
    return run_context().thresholds.get(name, THRESHOLDS[name])


def assess(state: ResumeState) -> dict[str, Any]:
    """Recommend by the score, and collect the reasons for which a person decides instead."""
    score = state.score or 0.0
    verdict = "auto_accept" if score >= limit("auto_accept") else "human_review"
    if score < limit("human_review"):
        verdict = "reject"
    failed = missing_members(state, "extract")
    reasons = doubts.of_score(state, verdict, failed, limit) | doubts.of_facts(state) | doubts.of_document(state)
    return {"recommendation": "human_review" if reasons else verdict, "escalations": reasons} | doubts.unread(state)


def forward(state: ResumeState) -> str:
    """Return where a candidate goes on after the assessment or a decision."""
    if state.escalations:
        return "human_review"
    if state.last_decision in ("accept", "reject"):
        return "finish"
    if state.resume is None:
        return "read"
    if state.score is None:
        return "score"
    return "finish" if state.recommendation in ("auto_accept", "reject") else "assess"


def ask(state: ResumeState) -> ReviewRequest:
    """Put the facts and the reasons before a person, without who the candidate is."""
    facts = state.model_dump(mode="json", include={"technical", "soft", "certifications", "years"})
    return ReviewRequest(
        action_request=ActionRequest(action="invite_candidate", args=facts if state.resume else {}),
        config=ReviewConfig(
            allow_accept=bool(state.resume),
            allow_edit=bool(state.resume),
            allow_respond=not state.resume or bool(state.unread),
        ),
        description=doubts.question(state),
        reasons=state.escalations,
        asked_at=clock.now(),
        due_at=clock.now() + REVIEW_WITHIN_S,
        default_action="wait",
    )


def answer(_state: ResumeState, decision: ReviewDecision) -> dict[str, Any]:
    """Take a response as the text of a résumé that was not read, or not all of it; what was found before is dropped."""
    if decision.type != "response":
        return {}
    return {"text": str(decision.args), **dict.fromkeys(("resume", "score", "years", "years_stated", *doubts.FACTS))}


def finish(state: ResumeState) -> dict[str, Any]:
    """Write the outcome; a candidate whom nobody decided about is neither accepted nor rejected."""
    if state.decisions and state.decisions[-1].decision.by == "default":
        return {"outcome": "undecided"} | doubts.unread(state)
    decided = {"accept": "accepted", "reject": "rejected"}.get(state.last_decision or "")
    outcome = decided or {"auto_accept": "accepted", "reject": "rejected"}[state.recommendation or ""]
    return {"outcome": outcome} | doubts.unread(state)


builder: Final = StateGraph(ResumeState, context_schema=RunContext, input_schema=ResumeInput)
builder.add_node("validate", validate)
builder.add_node("assess", assess)
builder.add_node("finish", finish)
read = add_step(builder, tasks.read, Policy(retries=1, timeout=30), then="extract")
add_group(
    builder, "extract",
    [Member(task=task, policy=EXTRACTOR) for task in (tasks.technical, tasks.soft, tasks.certifications)],
    then="score", deadline=180,
)  # fmt: skip
score = add_step(
    builder, tasks.score, Policy(retries=2, timeout=60, max_cost=0.02, fallback=("embedded",)), then="assess"
)
add_retry(builder, [read, score], escalate_to="human_review")
add_review(builder, ask=ask, answer=answer, tasks=tasks.TASKS, then=(forward, ["read", "score", "assess", "finish"]))
builder.add_edge(START, "validate")
builder.add_edge("validate", "read")
builder.add_conditional_edges("assess", forward, ["human_review", "finish"])
builder.add_edge("finish", END)

graph: Final = compile_graph(builder, name="resumes", version=VERSION)
