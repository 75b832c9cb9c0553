"""Cues of meaning: a hand-written lexicon of phrases, matched on tokens.

The phrases live in `support_cues.toml`, by concept and language. Matching goes token by token with an index on the
first token of each phrase, which costs a tenth of a millisecond a ticket; as regular expressions it would cost five.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Final, NamedTuple

from tasks.embedded.support_text import mask

GAP: Final = 3
"""Most tokens that `~` may stand for."""


class Phrase(NamedTuple):
    """A phrase of a concept, without its first token."""

    concept: int
    rest: tuple[str, ...]


class Lexicon(NamedTuple):
    """Phrases by their first token: whole words and prefixes apart."""

    concepts: tuple[str, ...]
    words: dict[str, tuple[Phrase, ...]]
    prefixes: dict[str, tuple[Phrase, ...]]


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Read the shipped lexicon, once a process."""
    table = tomllib.loads(resources.files("tasks.embedded").joinpath("support_cues.toml").read_text("utf-8"))
    words: dict[str, list[Phrase]] = {}
    prefixes: dict[str, list[Phrase]] = {}
    for concept, languages in enumerate(table.values()):
        for phrases in languages.values():
            for phrase in phrases.split(","):
                first, *rest = _spoken(phrase)
                target = prefixes if first.endswith("*") else words
                target.setdefault(first.rstrip("*"), []).append(Phrase(concept, tuple(rest)))
    return Lexicon(
        tuple(table),
        {word: tuple(found) for word, found in words.items()},
        {prefix: tuple(found) for prefix, found in prefixes.items()},
    )


def _spoken(phrase: str) -> list[str]:
    """Split a phrase the way that tickets are split, so that "2fa" or "503" in it meets what became of theirs."""
    return [
        part for token in phrase.split() for part in (mask(token).split() if any(map(str.isdigit, token)) else [token])
    ]


class Openings(NamedTuple):
    """The phrases that may begin with a token, sorted by how much more of the text they need."""

    alone: frozenset[int]
    """Concepts of phrases of one token."""
    by_second: dict[str, list[Phrase]]
    """Phrases whose second token is a whole word: most of them, so looking them up saves most of the work."""
    others: list[Phrase]


@lru_cache(maxsize=16_384)
def _openings(token: str) -> Openings:
    """Return the phrases that may begin with this token."""
    lex = lexicon()
    found = lex.words.get(token, ())
    for length in range(2, len(token) + 1):
        found += lex.prefixes.get(token[:length], ())
    sorted_out = Openings(frozenset(p.concept for p in found if not p.rest), {}, [])
    for phrase in found:
        if not phrase.rest:
            continue
        second, *rest = phrase.rest
        if second == "~" or second.endswith("*"):
            sorted_out.others.append(phrase)
        else:
            sorted_out.by_second.setdefault(second, []).append(Phrase(phrase.concept, tuple(rest)))
    return sorted_out


def _follows(rest: tuple[str, ...], sequence: Sequence[str], at: int) -> bool:
    """Tell whether the rest of a phrase stands at this place."""
    if not rest:
        return True
    head, tail = rest[0], rest[1:]
    if head == "~":
        return any(_follows(tail, sequence, at + gap) for gap in range(GAP + 1))
    if at >= len(sequence):
        return False
    token = sequence[at]
    same = token.startswith(head[:-1]) if head.endswith("*") else token == head
    return same and _follows(tail, sequence, at + 1)


def places(sequence: Sequence[str]) -> list[list[int]]:
    """Return, for each concept, the positions of the tokens at which one of its phrases begins (each once)."""
    found: list[list[int]] = [[] for _ in lexicon().concepts]
    following = [*sequence[1:], ""]
    for at, token in enumerate(sequence):
        openings = _openings(token)
        hits = set(openings.alone)
        hits.update(p.concept for p in openings.by_second.get(following[at], ()) if _follows(p.rest, sequence, at + 2))
        hits.update(p.concept for p in openings.others if _follows(p.rest, sequence, at + 1))
        for concept in hits:
            found[concept].append(at)
    return found
