"""Is the text language at all: words of letters that belong together, in an order that sentences have?"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from nodes.checks.language import language_of, little_share

_WORD: Final = re.compile(r"(?<!\w)[^\W\d_]+(?!\w)")
_MASHED: Final = re.compile(
    r"[bcdfghjklmnpqrstvwxz]{6,}|([^\W\d_])\1{3,}|(?:qw|wq|zx|xz|jq|vq|qk|kq|xj|jx)", re.IGNORECASE
)
_NO_VOWEL: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}", re.IGNORECASE)
_MOJIBAKE: Final = re.compile("\ufffd|Ã[\u0080-\u00bf¤©¼¶±³¡]|â€[\u0080-\u00ff™œ]?|&#?\\w{2,8};")
_SIGN: Final = re.compile(r"[^\w\s.,;:!?'\"()\-–—%€$£°/&„“”‚‘’«»¿¡…]")

MASHED_SHARE: Final = 0.08
"""Share of words that no language spells."""
SIGN_SHARE: Final = 0.04
"""Share of characters that prose does not use."""
LITTLE_SHARE: Final = 0.12
"""Share of little words below which a text of many words is a heap of them; summaries have 0.25 and more."""
WORDS: Final = 12
"""Words from which a text is long enough to have little ones."""
BROKEN_PAIRS: Final = 0.03
"""Share of pairs of neighbours that no sentence has; in shuffled sentences it is about 0.08."""

_BROKEN: Final = frozenset(
    (first, second)
    for firsts, seconds in (
        ("the a an", "the a an of and to in for with from by at on is was are were"),
        ("of with from by", "of and is was are were by from"),
        ("and", "of and"),
        ("ein eine einen", "ein eine einen und von zu mit im ist war der die das"),
        ("un una", "un una de y en con por para el la los las es"),
        ("une du des", "une du des et dans pour par est le la les"),
    )
    for first in firsts.split()
    for second in seconds.split()
)
"""Neighbours that no sentence has."""


def gibberish() -> Callable[[str, str], str | None]:
    """Return a check that a text reads like language; words and signs that its source has are fine."""

    def check(text: str, source: str) -> str | None:
        known = {word.lower() for word in _WORD.findall(source)}
        words = _WORD.findall(text)
        if _MOJIBAKE.search(text) and not _MOJIBAKE.search(source):
            return "contains broken characters"
        odd = [
            word for word in words if word.lower() not in known and (_MASHED.search(word) or _NO_VOWEL.fullmatch(word))
        ]
        if len(odd) > MASHED_SHARE * len(words):
            return "contains words that no language spells"
        if len(_SIGN.findall(text)) > SIGN_SHARE * len(text) and not len(_SIGN.findall(source)) > SIGN_SHARE * len(
            source
        ):
            return "contains many signs that prose does not use"
        return _order(text, [word.lower() for word in words], source)

    return check


def _full_of_signs(text: str) -> bool:
    return len(_SIGN.findall(text)) > SIGN_SHARE * len(text)


def _order(text: str, words: list[str], source: str) -> str | None:
    """Say what is wrong with the order and the mixture of words, in the language of the source."""
    wanted = language_of(source)
    if len(words) < WORDS or not wanted:
        return None
    if little_share(text, wanted) < LITTLE_SHARE and language_of(text) in ("", wanted):
        return "is a heap of words and no sentence"
    pairs = list(pairwise(words))
    if sum(pair in _BROKEN for pair in pairs) > max(1, BROKEN_PAIRS * len(pairs)):
        return "has its words in no order that a sentence has"
    return None
