"""Is the text as long as it should be?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

CHARS_PER_WORD: Final = 20
"""Above this many characters for each word allowed, a text is too long however few spaces it has. English has 6,
German 7 with its spaces; a link or an identifier is made up for by the others."""

_WORD: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\\w+(?:['’-]\\w+)*+")


def count_words(text: str) -> int:
    """Return the number of words; in scripts without spaces each character counts."""
    return sum(1 for _ in _WORD.finditer(text))


def length(min_words: int, max_words: int, max_ratio: float | None = None) -> Callable[[str, str], str | None]:
    """Return a check that a text has between `min_words` and `max_words` words.

    With `max_ratio` it also has at most that many words for each word of its source: a summary is shorter than what
    it summarises.
    """
    if not 0 <= min_words <= max_words:
        raise ValueError(f"length wants 0 <= min_words <= max_words, not {min_words} and {max_words}")
    if max_ratio is not None and max_ratio <= 0:
        raise ValueError(f"max_ratio is positive, not {max_ratio}")

    def check(text: str, source: str) -> str | None:
        count = count_words(text)
        if count < min_words:
            return f"has {count} words, fewer than {min_words}"
        if count > max_words:
            return f"has {count} words, more than {max_words}"
        if len(text) > max_words * CHARS_PER_WORD:
            return f"has {len(text)} characters, more than {max_words} words would need"
        if max_ratio is not None and count > max_ratio * (known := count_words(source)):
            return f"has {count} words against {known} in its source, more than {max_ratio:g} for each"
        return None

    return check
