"""Features of a support ticket: cues, style and the words themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from tasks.embedded import support_cues, support_text

_CODE: Final = re.compile(
    r"```|^\s*at \w|\{\"|[\w/]{1,80}\.(?:py|js|java|rb|go|ts)\b|</?\w+>|\w+\(\)|=>|::|\b\w+_\w+\b", re.MULTILINE
)
_NEAR: Final = 3
"""Tokens before a cue in which a negation turns it round."""


class Reading(NamedTuple):
    """What a ticket looks like to the models."""

    words: str
    """Folded, masked text, subject first."""
    cues: dict[str, float]
    """Named features, each about 0 to 2."""


def read(subject: str, text: str) -> Reading:
    """Read a ticket once for all models."""
    subject = support_text.cut(subject)[: support_text.SUBJECT_CHARS]
    text = support_text.cut(text)
    head = support_text.mask(support_text.fold(subject))
    body = support_text.mask(support_text.fold(text))
    cues = dict(_style(subject, text))
    cues[f"lang:{support_text.language(subject, text)}"] = 1.0
    _lexical(cues, support_text.tokens(head) if head else [], support_text.tokens(body))
    return Reading(f"{head} . {body}" if head else body, cues)


def _lexical(cues: dict[str, float], head: list[str], body: list[str]) -> None:
    concepts = support_cues.lexicon().concepts
    negation = concepts.index("negation")
    found = support_cues.places(body)
    negated = set(found[negation])
    opening = body.index("^", 1) if "^" in body[1:] else len(body)
    for name, spots in zip(concepts, found, strict=True):
        if not spots:
            continue
        cues[name] = 1.0
        cues[f"{name}:n"] = math.log1p(len(spots)) / 1.1
        if spots[0] < max(opening, 6):
            cues[f"{name}:open"] = 1.0
        if any(at - step in negated for at in spots for step in range(1, _NEAR + 1)):
            cues[f"{name}:not"] = 1.0
    for name, spots in zip(concepts, support_cues.places(head), strict=True):
        if spots:
            cues[f"{name}:subject"] = 1.0


def _style(subject: str, text: str) -> Iterator[tuple[str, float]]:
    """Yield how it is written; every scale chosen so that typical values lie between 0 and 2."""
    letters = [c for c in text if c.isalpha()]
    n_words = len(text.split())
    yield "length", math.log1p(n_words) / 3
    yield "short", float(n_words <= 6)
    yield "subject", float(bool(subject.strip()))
    yield "question", float("?" in text)
    yield "ends_question", float(text.rstrip().endswith("?"))
    yield "exclaims", min(2.0, math.log1p(text.count("!")))
    yield "shouts", float(len(letters) > 10 and sum(c.isupper() for c in letters) > 0.6 * len(letters))
    yield "code", min(2.0, math.log1p(len(_CODE.findall(text))))
    yield "lines", min(2.0, math.log1p(text.count("\n")) / 2)
    yield "numbers", min(2.0, math.log1p(len(re.findall(r"\d+", text))) / 1.5)
