"""One plain form of a text, so that both sides of a comparison are written alike."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

LONG_MARKS: Final = re.compile(r"([^\w\s\x00-\x7f]{32})[^\w\s\x00-\x7f]+")
"""Unicode normalisation sorts runs of combining marks in quadratic time; no text needs more than a few in a row."""

INVISIBLE: Final = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
DASHES: Final = re.compile("[\u2010-\u2015\u2212]")
QUOTES: Final = re.compile("[\u2018\u2019\u02bc]")
FOREIGN_DIGIT: Final = re.compile(r"[^\D0-9]")

_FREQUENT: Final = {
    "en": "the and you your we will for is are this that with have our it to of can please",
    "de": "der die das und sie ihre ihr wir ist für nicht mit haben bitte dass ein eine wird auf uns",
    "es": "el la los las que su de por para con hemos gracias está en un una nos lo se usted",
}
STOPWORDS: Final = {code: frozenset(line.split()) for code, line in _FREQUENT.items()}
"""Frequent short words of each language; they tell the three apart in one or two sentences."""


@lru_cache(maxsize=16)
def plain(text: str) -> str:
    """Return the text with compatibility forms, invisible characters, dashes, quotes and digits made plain.

    It keeps letter case and accents. A number hidden behind full-width digits or zero-width spaces becomes visible.
    """
    text = unicodedata.normalize("NFKC", LONG_MARKS.sub(r"\1", text))
    text = INVISIBLE.sub("", text)
    text = QUOTES.sub("'", DASHES.sub("-", text))
    return FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


@lru_cache(maxsize=16)
def folded(text: str) -> str:
    """Return the plain text without case and accents: `MÄRZ` and `marz` are one word."""
    decomposed = unicodedata.normalize("NFKD", plain(text).casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def words(text: str) -> list[str]:
    """Return the words of a text, without punctuation."""
    return re.findall(r"\w+(?:['’]\w+)*", text)


@lru_cache(maxsize=16)
def language(text: str) -> str | None:
    """Return `en`, `de` or `es`, whichever language's frequent words prevail, or None when none is clear."""
    found = re.findall(r"[^\W\d_]+", plain(text).casefold())
    scores = {code: sum(word in frequent for word in found) for code, frequent in STOPWORDS.items()}
    best = max(scores, key=lambda code: scores[code])
    return best if scores[best] >= 2 and list(scores.values()).count(scores[best]) == 1 else None
