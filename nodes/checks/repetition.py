"""Does the text go round in circles?"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

TAIL: Final = 600
"""Characters at the end that are measured: a model that loops does not come out of it again."""

MAX_RATIO: Final = 4.0
"""zlib ratio of a loop. Whisper uses 2.4, which rejects good prose (10,000 characters measure 2.63); loops measure
9 to 11, batches of JSON 4.4, hence the second condition."""

MAX_DUPLICATES: Final = 0.3
"""Share of 4-grams that occurred before; prose stays below 0.1."""

COPIES: Final = 3
"""Copies of a phrase in a row that no writer means; four of a single word, since people write `no, no, no`."""

LONGEST_PHRASE: Final = 16
"""Words in a phrase that is looked for; longer ones are sentences, which are counted by themselves."""

SAME_LETTER: Final = re.compile(r"([^\W\d_])\1{11,}")
"""Twelve times the same letter: above every interjection."""

_SENTENCE_END: Final = re.compile(r"[.!?…。！？]+|\n")
_WORD: Final = re.compile(r"\w+")


def _compresses(tail: str) -> bool:
    raw = tail.encode("utf-8", "replace")
    return bool(raw) and len(raw) / len(zlib.compress(raw)) > MAX_RATIO


def _duplicates(units: Sequence[str]) -> float:
    grams = [tuple(units[i : i + 4]) for i in range(len(units) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def loops_at_the_end(text: str) -> bool:
    """Tell whether the last characters both compress like a loop and repeat their 4-grams."""
    tail = text.strip()[-TAIL:]
    found = _WORD.findall(tail.casefold())
    # In scripts without spaces, and in noise without them, characters are the words.
    units: Sequence[str] = found if len(found) * 20 > len(tail) else tail
    return _compresses(tail) and _duplicates(units) > MAX_DUPLICATES


def repeats_a_phrase(text: str) -> bool:
    """Tell whether a phrase of one to sixteen words stands there several times in a row."""
    found = _WORD.findall(text.casefold())
    for period in range(1, LONGEST_PHRASE + 1):
        needed = period * (COPIES if period == 1 else COPIES - 1)
        run = 0
        for earlier, later in zip(found, found[period:], strict=False):
            run = run + 1 if earlier == later else 0
            if run >= needed and any(c.isalpha() for c in later):
                return True
    return False


def repeated_sentence(text: str) -> int | None:
    """Return the number of words of a sentence that is said again without need.

    Two equal neighbours count from three words, two apart from six, three apart from four: thanks at both ends and
    `Click Save` in two steps are fine.
    """
    sentences = [tuple(_WORD.findall(part)) for part in _SENTENCE_END.split(text.casefold())]
    sentences = [sentence for sentence in sentences if sentence]
    for earlier, later in pairwise(sentences):
        if earlier == later and len(later) >= 3:
            return len(later)
    for sentence, count in Counter(sentences).items():
        if (count >= 2 and len(sentence) >= 6) or (count >= 3 and len(sentence) >= 4):
            return len(sentence)
    return None


def repetition() -> Callable[[str, str], str | None]:
    """Return a check that a text neither ends in a loop nor repeats a phrase or a sentence."""

    def check(text: str, source: str) -> str | None:
        del source
        if SAME_LETTER.search(text):
            return "repeats one letter over and over"
        if repeats_a_phrase(text):
            return "repeats the same words several times in a row"
        if said_again := repeated_sentence(text):
            return f"says a sentence of {said_again} words more than once"
        if loops_at_the_end(text):
            return "ends in a loop that repeats itself"
        return None

    return check
