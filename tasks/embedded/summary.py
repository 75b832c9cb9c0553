"""Extractive summaries: the sentences that are most like all the others, without saying one thing twice.

LexRank over TF-IDF vectors (Erkan and Radev, 2004), then maximal marginal relevance (Carbonell and Goldstein, 1998), in
the order of the article. Every word of the summary stands in the article, so it invents nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tasks.embedded.support_model import sklearn

SENTENCES: Final = 3
"""Sentences of a summary."""
WORDS: Final = 60
"""Words that it may have, as far as the first sentence allows."""
RATIO: Final = 0.45
"""Part of the article's words that it may have: the gate asks for less than half."""
RUN: Final = 35
"""Words of neighbouring sentences that it takes at most: more would be a copy of a passage."""
DAMPING: Final = 0.85
"""Of the random walk over similar sentences (PageRank's)."""
LEAD: Final = 0.15
"""Head start of the first sentence: articles say first what they are about."""
RELEVANCE: Final = 0.7
"""How much more it counts to be central than to be new."""
MOST_SENTENCES: Final = 400
"""Sentences of an article that are looked at; the similarity of each pair is calculated."""

_ABBREVIATION: Final = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|st|no|vs|etc|e\\.g|i\\.e|u\\.s|z\\.b|bzw|ca|nr|str|sr|sra|p\\. ej|art)\.$", re.IGNORECASE
)
_END: Final = re.compile(r"[.!?…]+[\"'”’»)]*\s+(?=[\"'“‘„«¿¡(]*[A-ZÀ-ÖØ-Þ0-9])|\n{2,}")


def prepare() -> None:
    """Import what summaries are made with, which takes seconds."""
    summarise("This is one sentence of it. That is another one. A third one ends it.")


def sentences(text: str) -> list[str]:
    """Split a text into sentences; decimals, initials and common abbreviations end none."""
    parts: list[str] = []
    begin = 0
    for match in _END.finditer(text):
        before = text[begin : match.end()].strip()
        initial = re.search(r"\b[A-Z]\.$", before)
        if not before or _ABBREVIATION.search(before) or (initial and "\n" not in match[0]):
            continue
        parts.append(" ".join(before.split()))
        begin = match.end()
    rest = " ".join(text[begin:].split())
    return [*parts, rest] if rest else parts


def summarise(text: str, most: int = SENTENCES) -> str:
    """Return the best sentences of a text, at most so many, in their order; a single sentence is returned as it is."""
    found = sentences(text)[:MOST_SENTENCES]
    if len(found) <= 1:
        return found[0] if found else ""
    room = min(WORDS, int(RATIO * len(text.split())))
    chosen: list[int] = []
    sizes = [len(sentence.split()) for sentence in found]
    for index in _ranked(found, most):
        together = [*chosen, index]
        fits = sum(sizes[i] for i in together) <= room and _longest_run(together, sizes) <= RUN
        if len(chosen) < most and (fits or not chosen):
            chosen.append(index)
    return " ".join(found[index] for index in sorted(chosen))


def _longest_run(chosen: list[int], sizes: list[int]) -> int:
    """Return the words of the longest row of neighbouring sentences."""
    longest = 0
    for index in chosen:
        words, at = 0, index
        while at in chosen:
            words, at = words + sizes[at], at + 1
        longest = max(longest, words)
    return longest


def _ranked(found: list[str], most: int) -> list[int]:
    """Return the numbers of sentences in the order in which they are taken."""
    import numpy as np

    vectors: Any
    try:
        vectors = sklearn("feature_extraction.text").TfidfVectorizer(sublinear_tf=True).fit_transform(found)
    except ValueError:
        # No sentence has a word of two letters.
        return list(range(len(found)))
    alike = (vectors @ vectors.T).toarray()
    np.fill_diagonal(alike, 0.0)
    steps = alike / np.maximum(alike.sum(axis=1, keepdims=True), 1e-9)
    rank = np.full(len(found), 1 / len(found))
    for _ in range(50):
        rank = (1 - DAMPING) / len(found) + DAMPING * rank @ steps
    rank = rank / rank.max()
    rank[0] += LEAD
    taken: list[int] = []
    left = set(range(len(found)))
    while left and len(taken) < max(most * 3, most):
        best = max(
            left, key=lambda i: RELEVANCE * rank[i] - (1 - RELEVANCE) * max((alike[i, j] for j in taken), default=0)
        )
        taken.append(best)
        left.discard(best)
    return taken
