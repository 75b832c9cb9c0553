"""Lists of skills and certifications with all their forms, and how they are found in a text.

A list is a TOML file in `tasks/data`: groups of lines "Name = form, form". A form with "~" counts only as written and
only inside of a list of skills, because it is an ordinary word or a single letter elsewhere. "*" ends a prefix.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

_DATA: Final = Path(__file__).resolve().parent.parent / "data"
_WORD: Final = re.compile(r"[^\W_]+(?:[+#.&/'-]+[^\W_]+)*[+#]*|\.[^\W_]+")
LONGEST: Final = 7
"""Most words of a form."""


def folded(text: str) -> str:
    """Return a text without case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char))


@dataclass(frozen=True)
class Lexicon:
    """Names by their forms."""

    forms: Mapping[str, str]
    """Name by folded form."""
    exact: Mapping[str, str]
    """Name by a form that counts only as written, in a list."""
    prefixes: tuple[tuple[str, str], ...] = ()
    """Beginnings of words, and the names that they stand for."""
    _known: frozenset[str] = field(default=frozenset(), repr=False)

    def find(self, line: str, *, listed: bool) -> Iterator[str]:
        """Yield the names whose forms stand in a line, the longest form at each place; one may come twice."""
        words = _words(line)
        plain = [folded(word) for word in words]
        at = 0
        while at < len(words):
            name, size = self._longest(words, plain, at, listed=listed)
            if name:
                yield name
            at += size

    def canonical(self, name: str) -> str:
        """Return the name that a form stands for, or the form itself."""
        return self.forms.get(_form(name)) or self.exact.get(name.strip()) or name.strip()

    def _longest(self, words: list[str], plain: list[str], at: int, *, listed: bool) -> tuple[str, int]:
        for size in range(min(LONGEST, len(words) - at), 0, -1):
            if name := self.forms.get(" ".join(plain[at : at + size])):
                return name, size
            if listed and (name := self.exact.get(" ".join(words[at : at + size]))):
                return name, size
        found = (name for prefix, name in self.prefixes if plain[at].startswith(prefix))
        return next(found, ""), 1


def _words(text: str) -> list[str]:
    return [word.rstrip(".") for word in _WORD.findall(text)]


def _form(text: str) -> str:
    return " ".join(folded(word) for word in _words(text))


@cache
def lexicon(file: str, *groups: str) -> Lexicon:
    """Read a list of `tasks/data`; without groups, all of them."""
    listed = tomllib.loads((_DATA / f"{file}.toml").read_text(encoding="utf-8"))
    forms: dict[str, str] = {}
    exact: dict[str, str] = {}
    prefixes: list[tuple[str, str]] = []
    for group, lines in listed.items():
        if groups and group not in groups:
            continue
        for line in filter(None, map(str.strip, lines.splitlines())):
            name, _, others = line.partition("=")
            given = [form.strip() for form in others.split(",") if form.strip()]
            # A name is one of its own forms, unless it is listed as an ordinary word.
            if f"~{name.strip()}" not in given:
                given.append(name.strip())
            for form in given:
                if form.startswith("~"):
                    exact[" ".join(_words(form[1:]))] = name.strip()
                elif form.endswith("*") and " " not in form:
                    prefixes.append((folded(form[:-1]), name.strip()))
                else:
                    forms.setdefault(_form(form.rstrip("*")), name.strip())
    return Lexicon(forms, exact, tuple(prefixes))
