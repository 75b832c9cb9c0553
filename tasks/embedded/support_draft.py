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

LANGUAGES: Final = ("en", "de", "es")
"""Languages that drafts are written in; English for all others."""

SURE_FROM: Final = 0.8
"""Confidence of the category from which a draft says what kind of matter it is; below it says only that it came."""

MENTIONS: Final = 2
"""Words of a topic that a ticket has to have before a draft names it, twice as many as of any other."""


@lru_cache(maxsize=1)
def _templates() -> dict[str, Any]:
    """Read the shipped sentences, once a process."""
    return tomllib.loads(resources.files("tasks.embedded").joinpath("support_drafts.toml").read_text("utf-8"))


def draft(
    subject: str,
    text: str,
    category: str,
    urgency: str,
    team: str,
    customer: str,
    plain: bool = False,
    confidence: float = 1.0,
) -> str:
    """Write a polite first response of 40 to 110 words that promises nothing.

    It says no more than is known: without enough `confidence` in the category it acknowledges the message and no more,
    and a topic is named only where the ticket names it several times.

    Which of the variants is used depends on a hash of the ticket, so the same ticket always gets the same draft.
    `customer` only enters that hash: names stay out of drafts. `plain` gives the simplest variant, with no topic.
    """
    language = support_text.language(subject, text)
    written = language if language in LANGUAGES else "en"
    sentences = _templates()[written]
    blank = not support_text.readable(subject, text)
    digest = hashlib.sha256(f"{customer}\0{subject}\0{text}".encode("utf-8", "replace")).digest()
    dice = iter(digest)

    def pick(group: str, kind: str) -> str:
        variants: list[str] = sentences[group][kind]
        return variants[0 if plain else next(dice) % len(variants)]

    sure = confidence >= SURE_FROM
    kind = category if sure else "general"
    topic = _topic(subject, text, category, language, written) if sure and not (plain or blank) else None
    parts = [
        pick("opening", "blank" if blank else kind),
        pick("topic", kind).format(topic=topic) if topic else "",
        pick("team", team),
        pick("level", urgency),
        pick("ask", "blank" if blank else kind),
        pick("closing", "any"),
    ]
    return " ".join(filter(None, parts))


def _topic(subject: str, text: str, category: str, language: str, written: str) -> str | None:
    """Return the topic that a ticket is clearly about, as its language names it; None when no topic stands out."""
    if language not in LANGUAGES:
        return None
    words = re.findall(
        r"[^\W_]+", support_text.fold(f"{subject[: support_text.SUBJECT_CHARS]} {support_text.cut(text)}")
    )
    topics = _templates()["topics"]["billing" if category == "billing" else "technical"]
    hits = {
        name: sum(_forms(listed[language][0]).fullmatch(word) is not None for word in words)
        for name, listed in topics.items()
    }
    best, *others = sorted(hits, key=lambda name: -hits[name])
    if hits[best] < MENTIONS or hits[best] < 2 * hits[others[0]]:
        return None
    name: str = topics[best][written][1]
    return name


@lru_cache(maxsize=256)
def _forms(listed: str) -> re.Pattern[str]:
    """Return a pattern of the words of a list."""
    return re.compile("|".join(re.escape(word).replace(r"\*", r"\w*") for word in listed.split()))
