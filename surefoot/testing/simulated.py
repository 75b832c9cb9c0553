"""Answers that are as good as the embedded models: what a rehearsal's endpoint says when it behaves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nodes.call import Call
from surefoot.testing.answers import Responder, instance_of, schema_in

_TICKET: Final = re.compile(r"<ticket>\n(?:Subject: (?P<subject>[^\n]*)\n)?(?P<text>.*?)\n</ticket>", re.DOTALL)
_ARTICLE: Final = re.compile(r"<article>\n[^\n]*\n(?P<text>.*?)\n</article>", re.DOTALL)
_RESUME: Final = re.compile(r"<resume>\n(?P<text>.*?)\n</resume>", re.DOTALL)
_JOB: Final = re.compile(r'<job id="(?P<id>\w+)">(?P<asked>.*?)</job>')
_CANDIDATE: Final = re.compile(r'<candidate id="(?P<id>\d+)" job="(?P<job>\w+)">(?P<facts>.*?)</candidate>')
_TEXT: Final = re.compile(r"<text>\n(?P<text>.*?)\n</text>", re.DOTALL)


def _support(body: dict[str, Any]) -> str:
    from tasks.embedded import support
    from tasks.support import TEAMS

    spoken = _spoken(body)
    found = _TICKET.search(spoken)
    subject, text = (found["subject"] or "", found["text"]) if found else ("", spoken)
    category, _ = support.classify(subject, text)
    urgency, _ = support.urgency(subject, text, category)
    team = "escalations" if urgency == "critical" else TEAMS[category]  # type: ignore[index] # one of the categories
    draft = support.draft(subject, text, category, urgency, team, "")
    schema = schema_in(body)
    if schema is None:
        return draft
    known = {"category": category, "urgency": urgency, "draft": draft}
    answer = instance_of(schema)
    return json.dumps(answer | {name: value for name, value in known.items() if name in answer})


def _pattern(body: dict[str, Any]) -> str:
    from tasks.pattern import Text, summarise_embedded

    found = _TEXT.search(_spoken(body))
    given = Text(text=found["text"] if found else "nothing")
    said = summarise_embedded(given, Call(step="summary")).summary
    return said if schema_in(body) is None else json.dumps({"summary": said})


def _content(body: dict[str, Any]) -> str:
    from tasks.embedded.summary import summarise

    found = _ARTICLE.search(_spoken(body))
    said = summarise(found["text"] if found else "nothing")
    return said if schema_in(body) is None else json.dumps({"summary": said})


def _fraud(body: dict[str, Any]) -> str:
    from tasks.embedded import fraud_models
    from tasks.fraud import Transaction

    lines = (line.partition(": ") for line in _spoken(body).splitlines())
    told = {name: value for name, _, value in lines if name in Transaction.model_fields}
    given = Transaction.model_validate({name: json.loads(_as_json(value)) for name, value in told.items()})
    return json.dumps({"probability": round(fraud_models.predict("logistic", given.model_dump()), 3)})


def _resumes(body: dict[str, Any]) -> str:
    from tasks.embedded import resumes

    spoken = _spoken(body)
    if (found := _RESUME.search(spoken)) is None:
        jobs = {match["id"]: _job(_fields(match["asked"])) for match in _JOB.finditer(spoken)}
        scored = [_scored(match, jobs[match["job"]]) for match in _CANDIDATE.finditer(spoken)]
        return json.dumps({"results": scored})
    if "soft" in str(schema_in(body)):
        return json.dumps({"soft": resumes.soft(found["text"])})
    skills = [{"name": name, "used": used} for name, used in resumes.technical(found["text"]).items()]
    return json.dumps({"technical": skills})


def _scored(candidate: re.Match[str], job: Mapping[str, Any]) -> dict[str, Any]:
    """Score one candidate of a batch by the rules, from what the prompt says."""
    from tasks.embedded import resumes

    told = _fields(candidate["facts"])
    listed, used = (None if told[kind] == "unknown" else _names(told[kind]) for kind in ("listed", "used"))
    skills = None if used is None else dict.fromkeys(used, True) | dict.fromkeys(listed or (), False)
    years = None if told["years"] == "unknown" else float(told["years"])
    soft, certificates = (
        None if told[kind] == "unknown" else _names(told[kind]) for kind in ("soft", "certifications")
    )
    points, reasons = resumes.score(job, skills, soft, certificates, years)
    return {"id": candidate["id"], "score": round(points), "reasons": [reason[:160] for reason in reasons[:3]]}


def _job(asked: Mapping[str, str]) -> dict[str, Any]:
    named = {name: _names(asked[name]) for name in ("required", "desired", "certifications", "soft")}
    return named | {"title": asked["title"], "min_years": float(asked["years"])}


def _fields(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (part.partition(":") for part in text.split(";"))}


def _names(told: str) -> list[str]:
    return [] if told in ("none", "unknown") else told.split(", ")


def _as_json(value: str) -> str:
    """Write a value of Python as JSON."""
    known = {"True": "true", "False": "false"}
    return known.get(value) or (value if value[0].isdigit() else json.dumps(value))


def _spoken(body: dict[str, Any]) -> str:
    return "\n".join(str(message.get("content")) for message in body.get("messages", ()))


RESPONDERS: Final[Mapping[str, Responder]] = {
    "support": _support, "content": _content, "fraud": _fraud, "pattern": _pattern, "resumes": _resumes,
}  # fmt: skip
"""By pipeline."""


def prepare(pipeline: str) -> None:
    """Fit the models behind a pipeline's answers: fitted at the first request they would seem to hang."""
    from tasks.embedded import fraud_models, support_model

    made: dict[str, Any] = {"support": support_model.shipped, "fraud": fraud_models.prepare}
    made.get(pipeline, lambda: None)()
