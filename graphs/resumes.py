"""The résumé pipeline: read a document, remove the person, extract facts side by side, score them in batches.

from graphs.resumes import graph
result = graph.invoke({"path": "cv.pdf", "job": {"title": "Backend engineer", "required": ["Python", "SQL"]}})
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
    compile_graph,
    exponential,
    missing_members,
)
from nodes.context import run_context
from nodes.errors import InputError
from state import ReviewDecision, ReviewRequest, RunContext
from state.resumes import ResumeInput, ResumeState
from state.review import ActionRequest, ReviewConfig
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


FACTS: Final = {"technical": "technical skills", "soft": "soft skills", "certifications": "certifications"}
"""What the extractors look for."""


def assess(state: ResumeState) -> dict[str, Any]:
    """Recommend by the score, and collect the reasons for which a person decides instead."""
    score, reasons = state.score or 0.0, dict[str, str]()
    verdict = "auto_accept" if score >= limit("auto_accept") else "human_review"
    if score < limit("human_review"):
        verdict = "reject"
    by_rules, _ = tasks.rule_score(tasks.score.read(state))
    failed = missing_members(state, "extract")
    missing = [name for name in FACTS if getattr(state, name) is None and not looked_for(state, name)]
    if verdict == "human_review":
        reasons["borderline"] = f"{score:g} points are between rejection and acceptance"
    if missing:
        reasons["missing"] = "could not be extracted: " + ", ".join(
            f"{n} ({failed.get(n, 'not set up')})" for n in missing
        )
    elif (state.confidence or 0.0) < limit("confidence"):
        reasons["low_confidence"] = f"only {state.confidence or 0.0:.0%} of the facts that decide were found"
    reasons |= open_facts(state, missing)
    if verdict == "reject" and state.provenance["score"].provider == "embedded":
        reasons["rules_never_reject"] = f"{score:g} points by rules alone: a person confirms a rejection"
    if abs(score - by_rules) > limit("disagreement"):
        reasons["disagreement"] = f"the model gives {score:g} points, the rules {by_rules:g}"
    if state.unread and not state.decided("unread"):
        reasons["unread"] = f"of the document, {'; '.join(state.unread)}"
    return {"recommendation": "human_review" if reasons else verdict, "escalations": reasons} | degradation(state)


def looked_for(state: ResumeState, name: str) -> bool:
    """Tell whether an extractor has answered for a field: without a value, it found nothing."""
    source = state.provenance.get(name)
    return source is not None and source.provider not in ("person", "default")


def open_facts(state: ResumeState, missing: Sequence[str]) -> dict[str, str]:
    """Return what the job asks for and nobody knows: not found is not none, and dates may contradict the text."""
    job, reasons = state.job, dict[str, str]()
    if job is None:
        return reasons
    asked = [(name, what) for name, what in FACTS.items() if name not in missing] + [("years", "years of work")]
    unknown = [what for name, what in asked if getattr(state, name) is None and tasks.asks_for(job, name)]
    if unknown and not state.decided("not_found"):
        reasons["not_found"] = f"not found, which does not mean that there are none: {', '.join(unknown)}"
    dated, stated = state.years, state.years_stated
    if dated is None or stated is None or state.decided("years"):
        return reasons
    if (dated < job.min_years) != (stated < job.min_years):
        reasons["years"] = f"its dates tell {dated:g} years of work, its text says {stated:g}"
    return reasons


def degradation(state: ResumeState) -> dict[str, Any]:
    """Return the update that says what of the document was not read, once."""
    told = [f"read: {what}" for what in state.unread]
    new = [reason for reason in told if reason not in state.reasons]
    return {"degraded": True, "reasons": new} if new else {}


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


ANEW: Final = "Answer with its whole text to have it read anew.\n"


def ask(state: ResumeState) -> ReviewRequest:
    """Put the facts and the reasons before a person, without who the candidate is."""
    why = "\n".join(f"- {reason}" for reason in state.escalations.values())
    told = "\n".join(f"- {reason}" for reason in state.score_reasons)
    facts = state.model_dump(mode="json", include={"technical", "soft", "certifications", "years"})
    job = state.job.title if state.job else ""
    unread = "".join(f"- {what}\n" for what in [*state.unread, *filter(None, [state.read_as])])
    return ReviewRequest(
        action_request=ActionRequest(action="invite_candidate", args=facts if state.resume else {}),
        config=ReviewConfig(
            allow_accept=bool(state.resume),
            allow_edit=bool(state.resume),
            allow_respond=not state.resume or bool(state.unread),
        ),
        description=f"**Why you are asked**\n{why}\n\n**{job}: {state.score or 0:g} points**\n{told}\n\n"
        + (f"**The document**\n{unread}{ANEW if state.unread else ''}\n" if unread else "")
        + (state.resume or "Nothing could be read. Answer with the text of the résumé, or reject it.")[:6_000],
        reasons=state.escalations,
        asked_at=time.time(),
        due_at=time.time() + REVIEW_WITHIN_S,
        default_action="wait",
    )


def answer(_state: ResumeState, decision: ReviewDecision) -> dict[str, Any]:
    """Take a response as the text of a résumé that was not read, or not all of it; what was found before is dropped."""
    if decision.type != "response":
        return {}
    return {"text": str(decision.args), **dict.fromkeys(("resume", "score", "years", "years_stated", *FACTS))}


def finish(state: ResumeState) -> dict[str, Any]:
    """Write the outcome; a candidate whom nobody decided about is neither accepted nor rejected."""
    if state.decisions and state.decisions[-1].decision.by == "default":
        return {"outcome": "undecided"} | degradation(state)
    decided = {"accept": "accepted", "reject": "rejected"}.get(state.last_decision or "")
    outcome = decided or {"auto_accept": "accepted", "reject": "rejected"}[state.recommendation or ""]
    return {"outcome": outcome} | degradation(state)


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
