"""Fast, deterministic checks of a text before it counts.

Each factory returns a `TextCheck`: `(text, source)` to None when the text is fine, else to one short sentence that
says what is wrong. The sentence is stored and shown to the model that writes the next version, so it never repeats
personal data. `source` is everything that the text may draw on. The checks are pure, know English, German and
Spanish, take time in proportion to the length of their input and raise on no string.
"""

from collections.abc import Callable

from nodes.checks.boilerplate import boilerplate
from nodes.checks.gibberish import gibberish
from nodes.checks.invented import KINDS, Kind, invented
from nodes.checks.language import language_of, same_language
from nodes.checks.length import length
from nodes.checks.personal import personal_data
from nodes.checks.repetition import repetition
from nodes.checks.summary import copied, figures, names, on_topic, shorter
from nodes.checks.unfinished import unfinished

TextCheck = Callable[[str, str], str | None]
"""A check of a text against its source: None, or what is wrong with it."""

__all__ = [
    "KINDS",
    "Kind",
    "TextCheck",
    "boilerplate",
    "copied",
    "figures",
    "gibberish",
    "invented",
    "language_of",
    "length",
    "names",
    "on_topic",
    "personal_data",
    "repetition",
    "same_language",
    "shorter",
    "unfinished",
]
