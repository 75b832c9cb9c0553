"""First responses from templates, in the language of the ticket.

Nothing of the customer's words is copied: what a ticket is about is named by a fixed list of topics, so a draft can
hold no name, amount, date, link or personal data of anybody, and promises nothing.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from tasks.embedded import support_text

_COLUMN: Final = {"en": 1, "de": 2, "es": 3}


@lru_cache(maxsize=1)
def _templates() -> dict[str, Any]:
    """Read the shipped sentences, once a process."""
    return tomllib.loads(resources.files("tasks.embedded").joinpath("support_drafts.toml").read_text("utf-8"))


def draft(subject: str, text: str, category: str, urgency: str, team: str, customer: str, plain: bool = False) -> str:
    """Write a polite first response of 40 to 110 words that promises nothing.

    Which of the variants is used depends on a hash of the ticket, so the same ticket always gets the same draft.
    `customer` only enters that hash: names stay out of drafts. `plain` gives the simplest variant, with no topic.
    """
    language = support_text.language(subject, text)
    sentences = _templates()[language if language in _COLUMN else "en"]
    blank = not support_text.readable(subject, text)
    digest = hashlib.sha256(f"{customer}\0{subject}\0{text}".encode("utf-8", "replace")).digest()
    dice = iter(digest)

    def pick(group: str, kind: str) -> str:
        variants: list[str] = sentences[group][kind]
        return variants[0 if plain else next(dice) % len(variants)]

    topic = None if plain or blank else _topic(subject, text, language)
    parts = [
        pick("opening", "blank" if blank else category),
        pick("topic", category).format(topic=topic) if topic else "",
        pick("team", team),
        pick("level", urgency),
        pick("ask", "blank" if blank else category),
        pick("closing", "any"),
    ]
    return " ".join(filter(None, parts))


def _topic(subject: str, text: str, language: str) -> str | None:
    """Return the topic that the ticket's words point at most often, as its language names it."""
    words = re.findall(
        r"[^\W\d_]+", support_text.fold(f"{subject[: support_text.SUBJECT_CHARS]} {support_text.cut(text)}")
    )
    hits: dict[str, int] = {}
    for name, (beginnings, *_) in _templates()["topics"].items():
        hits[name] = sum(word.startswith(tuple(beginnings.split())) for word in words)
    best = max(hits, key=lambda name: hits[name])
    return _templates()["topics"][best][_COLUMN.get(language, 1)] if hits[best] else None
