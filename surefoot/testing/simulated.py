"""Answers that are as good as the embedded models: what a rehearsal's endpoint says when it behaves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from surefoot.testing.answers import Responder, instance_of, schema_in

_TICKET: Final = re.compile(r"<ticket>\n(?:Subject: (?P<subject>[^\n]*)\n)?(?P<text>.*?)\n</ticket>", re.DOTALL)


def _support(body: dict[str, Any]) -> str:
    from tasks.embedded import support
    from tasks.support import TEAMS

    spoken = "\n".join(str(message.get("content")) for message in body.get("messages", ()))
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


RESPONDERS: Final[Mapping[str, Responder]] = {"support": _support}
"""By pipeline."""
