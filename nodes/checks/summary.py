"""What makes a text a summary of its source: shorter, about the same, and no copy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nodes.checks.plain import folded, plain

_WORD: Final = re.compile(r"[^\W_]+")

_NUMBER: Final = re.compile(r"\d[\d.,]*\d|\d")
_CAPITAL: Final = r"[A-ZÀ-ÖØ-Þ][\w'’-]+"
_NAME: Final = re.compile(rf"(?<![.!?…:]\s)(?<!\A)\b{_CAPITAL}(?:\s(?:(?:de|van|von|del|la|of)\s)?{_CAPITAL})+")
_SPELLED: Final = {
    word: str(number)
    for words in (
        "zero one two three four five six seven eight nine ten eleven twelve",
        "null ein zwei drei vier funf sechs sieben acht neun zehn elf zwolf",
        "cero un dos tres cuatro cinco seis siete ocho nueve diez once doce",
    )
    for number, word in enumerate(words.split())
}
"""Numbers as words, without accents; larger ones are written in digits."""

SHORT_SOURCE: Final = 40
"""Words of a source below which there is little to leave out: a summary may be as long as it."""
STEM: Final = 5
"""Letters by which words are compared, so that plural and tense do not matter."""


def shorter(ratio: float = 0.5) -> Callable[[str, str], str | None]:
    """Return a check that a text has at most this part of its source's words."""
    if not 0 < ratio <= 1:
        raise ValueError("shorter: ratio must be above 0 and at most 1")

    def check(text: str, source: str) -> str | None:
        words, whole = len(_WORD.findall(text)), len(_WORD.findall(source))
        most = whole if whole < SHORT_SOURCE else int(whole * ratio)
        return f"has {words} words, at most {most} are allowed" if words > most else None

    return check


def copied(most: int = 36) -> Callable[[str, str], str | None]:
    """Return a check that no run of more than so many words stands word for word in the source.

    Single sentences may be taken over: a summary of the source's own best sentences is an honest one.
    """
    if most < 1:
        raise ValueError("copied: most must be at least 1")

    def check(text: str, source: str) -> str | None:
        words, whole = [w.lower() for w in _WORD.findall(text)], [w.lower() for w in _WORD.findall(source)]
        if len(whole) < SHORT_SOURCE or len(words) <= most:
            return None
        size = most + 1
        runs = {tuple(whole[i : i + size]) for i in range(len(whole) - size + 1)}
        found = any(tuple(words[i : i + size]) in runs for i in range(len(words) - size + 1))
        return f"copies more than {most} words in a row" if found else None

    return check


def figures() -> Callable[[str, str], str | None]:
    """Return a check that every number of a text stands in its source, in digits or as a word.

    `1,200`, `1.200` and `1200` are one number, and so are `twelve` and `12`; signs and units do not matter.
    """

    def check(text: str, source: str) -> str | None:
        known = _figures(source) | {_SPELLED[word] for word in _WORD.findall(folded(source)) if word in _SPELLED}
        strange = sorted(_figures(text) - known, key=len)
        return f"states the number {strange[0]}, which its source does not have" if strange else None

    return check


def names() -> Callable[[str, str], str | None]:
    """Return a check that no name of two words and more comes from elsewhere.

    A name is a run of words with capitals of which the source has none; it is not repeated, it may be a person's.
    """

    def check(text: str, source: str) -> str | None:
        known = {word[:STEM] for word in _WORD.findall(folded(source))}
        for run in _NAME.findall(text):
            if not any(word[:STEM] in known for word in _WORD.findall(folded(run))):
                return "names somebody or something that its source does not mention"
        return None

    return check


def _figures(text: str) -> set[str]:
    """Return the numbers of a text without separators, decimals with a point."""
    found = set()
    for match in _NUMBER.findall(plain(text)):
        whole = re.sub(r"(?<=\d)[.,\u00a0 ](?=\d{3}(?!\d))", "", match)
        found.add(whole.replace(",", "."))
    return found


def on_topic(least: float = 0.35) -> Callable[[str, str], str | None]:
    """Return a check that enough of a text's longer words are, by their first letters, those of the source."""
    if not 0 <= least <= 1:
        raise ValueError("on_topic: least must be between 0 and 1")

    def check(text: str, source: str) -> str | None:
        stems = {word[:STEM] for word in _WORD.findall(folded(text)) if len(word) > STEM}
        known = {word[:STEM] for word in _WORD.findall(folded(source)) if len(word) >= STEM}
        if len(stems) < 3 or len(stems & known) >= least * len(stems):
            return None
        return "speaks of other things than its source"

    return check
