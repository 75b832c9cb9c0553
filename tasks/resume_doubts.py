"""Why a person should decide about a candidate: the score, the facts, and what of the document was not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from state.resumes import ResumeState
from tasks import resumes as tasks

FACTS: Final = {"technical": "technical skills", "soft": "soft skills", "certifications": "certifications"}
"""What the extractors look for."""
_ANEW: Final = "Answer with its whole text to have it read anew.\n"


def of_score(
    state: ResumeState, verdict: str, failed: Mapping[str, str], limit: Callable[[str], float]
) -> dict[str, str]:
    """Return what speaks against taking the verdict of a score; `failed` are the errors of extractors by name."""
    score, reasons = state.score or 0.0, dict[str, str]()
    by_rules, _ = tasks.rule_score(tasks.score.read(state))
    missing = [name for name in FACTS if not _known(state, name)]
    if verdict == "human_review":
        reasons["borderline"] = f"{score:g} points are between rejection and acceptance"
    if missing:
        reasons["missing"] = "could not be extracted: " + ", ".join(
            f"{n} ({failed.get(n, 'not set up')})" for n in missing
        )
    elif (state.confidence or 0.0) < limit("confidence"):
        reasons["low_confidence"] = f"only {state.confidence or 0.0:.0%} of the facts that decide were found"
    if verdict == "reject" and state.provenance["score"].provider == "embedded":
        reasons["rules_never_reject"] = f"{score:g} points by rules alone: a person confirms a rejection"
    if abs(score - by_rules) > limit("disagreement"):
        reasons["disagreement"] = f"the model gives {score:g} points, the rules {by_rules:g}"
    return reasons


def of_facts(state: ResumeState) -> dict[str, str]:
    """Return what the job asks for and nobody knows: not found is not none, and dates may contradict the text."""
    job, reasons = state.job, dict[str, str]()
    if job is None:
        return reasons
    asked = [(name, what) for name, what in FACTS.items() if _known(state, name)] + [("years", "years of work")]
    unknown = [what for name, what in asked if getattr(state, name) is None and tasks.asks_for(job, name)]
    if unknown and not state.decided("not_found"):
        reasons["not_found"] = f"not found, which does not mean that there are none: {', '.join(unknown)}"
    dated, stated = state.years, state.years_stated
    if dated is None or stated is None or state.decided("years"):
        return reasons
    if (dated < job.min_years) != (stated < job.min_years):
        reasons["years"] = f"its dates tell {dated:g} years of work, its text says {stated:g}"
    return reasons


def of_document(state: ResumeState) -> dict[str, str]:
    """Return what of the document was not read, until a person has decided with it in view."""
    if not state.unread or state.decided("unread"):
        return {}
    return {"unread": f"of the document, {'; '.join(state.unread)}"}


def unread(state: ResumeState) -> dict[str, Any]:
    """Return the update that makes a result degraded by what was not read, once."""
    told = [f"read: {what}" for what in state.unread]
    new = [reason for reason in told if reason not in state.reasons]
    return {"degraded": True, "reasons": new} if new else {}


def question(state: ResumeState) -> str:
    """Write what a person is asked, without who the candidate is."""
    title, score = state.job.title if state.job else "", state.score or 0.0
    document = state.read_as.split("; ") if state.read_as else []
    parts = [f"**Why you are asked**\n{_list(state.escalations.values())}"]
    if state.score is not None or state.resume:
        parts.append(f"**{title}: {score:g} points**\n{_list(state.score_reasons)}")
    if document:
        parts.append(f"**The document**\n{_list(document)}\n{_ANEW if state.unread else ''}")
    unreadable = "Nothing could be read. Answer with the text of the résumé, or reject it."
    return "\n\n".join([*parts, (state.resume or unreadable)[:6_000]])


def _known(state: ResumeState, name: str) -> bool:
    """Tell whether there is a value, or an extractor that found none: a person who sent a text has only cleared it."""
    source = state.provenance.get(name)
    return getattr(state, name) is not None or (source is not None and source.provider not in ("person", "default"))


def _list(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)
