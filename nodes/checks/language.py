"""Which language a text is in, by its most frequent little words; enough to tell a summary in the wrong one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_LITTLE: Final = {
    "English": "the of and to in is was that for on with as it are be by at from has had have this not its were which "
    "their will an been they but who after no more than a would there",
    "German": "der die das und ist nicht ein eine den von zu mit sich auf für im dem des auch als an es werden aus er "
    "hat dass sie nach wird bei einer um am sind noch wie einem über so zum war haben nur oder aber vor zur",
    "Spanish": "el la de que y en los las un una por con no para del se su al lo como más pero sus le ya o este ha "
    "porque esta entre cuando muy sin sobre también hasta hay donde desde todo nos durante",
    "French": "le la les de des et un une du est en que qui dans pour pas sur au avec il ne se par plus ce son sont "
    "aux été mais ont cette ses leur comme elle ou à nous depuis",
    "Italian": "il la di che e un una per non sono del della le con si da in dei alla nel come più anche gli ma è lo "
    "al delle questo ha dal sua degli hanno nella",
    "Portuguese": "o a de que e do da em um para não uma os no se na por mais as dos como mas foi ao ele das tem à seu "
    "sua ou quando muito nos já está também pelo pela até",
    "Dutch": "de het een en van in is dat op te zijn met voor niet aan er om ook als door bij naar uit dan maar was "
    "werd heeft worden nog over deze wordt hij",
}
_WORDS: Final = {language: frozenset(words.split()) for language, words in _LITTLE.items()}
_WORD: Final = re.compile(r"[^\W\d_]+")

LEAST_WORDS: Final = 8
"""Words below which a text is too short to tell."""
LEAST_SHARE: Final = 0.15
"""Share of little words of a language that running text in it has at least; most have twice that."""
LEAD: Final = 1.3
"""How much more often than those of the next language they have to come: Spanish and Portuguese share many."""


def language_of(text: str) -> str:
    """Return the language of a text by its English name, an empty text where it cannot be told."""
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < LEAST_WORDS:
        return ""
    counts = sorted(((sum(word in little for word in words), name) for name, little in _WORDS.items()), reverse=True)
    (most, name), (next_most, _) = counts[:2]
    return name if most >= LEAST_SHARE * len(words) and most >= LEAD * next_most else ""


def little_share(text: str, language: str) -> float:
    """Return the share of little words of a language among the words of a text."""
    words = [word.lower() for word in _WORD.findall(text)]
    return sum(word in _WORDS.get(language, frozenset()) for word in words) / len(words) if words else 0.0


def same_language() -> Callable[[str, str], str | None]:
    """Return a check that a text is in the language of its source; what cannot be told passes."""

    def check(text: str, source: str) -> str | None:
        wanted, found = language_of(source), language_of(text)
        if wanted and found and wanted != found:
            return f"is written in {found}, its source in {wanted}"
        return None

    return check
