"""The removal as a whole, in an order in which no step needs what an earlier one took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tasks.privacy.contact import addresses, reachable
from tasks.privacy.names import find_names, names
from tasks.privacy.passages import Passages
from tasks.privacy.traits import neutral_words, traits

_PASSES: Final = 4
"""A removed line may lay open another one, as a name below a photograph; then nothing is left to find."""


@dataclass(frozen=True)
class Anonymous:
    """A text that does not tell whose it is."""

    text: str
    removed: dict[str, int] = field(default_factory=dict)
    """How many passages of each kind were removed: name, email, phone, link, address, birth, age, gender, family,
    nationality, photo, id."""


def remove_identity(text: str) -> Anonymous:
    """Remove who a résumé's writer is: names, ways to reach them, birth, age, gender, family, origin, belief.

    Each passage gives way to a mark such as `[name]`; pronouns and words for people become neutral. English, German
    and French are known. What work is judged by stays: employers, towns of employers, schools, years, skills,
    languages. Years of graduation hint at an age and languages at an origin: they stay, since experience is counted
    from dates and languages are skills. The rules are the same for everybody, twice is the same as once, and the time
    is linear in the length. They find what is usual, not everything: an employer's name or a hobby may still tell.
    """
    removed: dict[str, int] = {}
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for _ in range(_PASSES):
        passages = Passages(text)
        parts = find_names(text)
        reachable(passages, frozenset(part.casefold() for part in parts))
        traits(passages)
        neutral_words(passages)
        names(passages, parts)
        addresses(passages)
        for kind, count in passages.removed.items():
            if count:
                removed[kind] = removed.get(kind, 0) + count
        if passages.text == text:
            break
        text = passages.text
    return Anonymous(text, dict(sorted(removed.items())))
