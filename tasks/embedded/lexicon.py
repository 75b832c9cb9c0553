"""Lists of skills and certifications with all their forms, and how they are found in a text.

A list is a TOML file in `tasks/data`: groups of lines "Name = form, form". A form with "~" counts only as written and
only inside of a list of skills, because it is an ordinary word or a single letter elsewhere. "*" ends a prefix. A form
with several "#" is the pattern of a code: "#" stands for a digit, "@" for a letter, "+" for one or more of either.
Codes of a group `codes` are names themselves: "AZ-500" is found as "AZ-500".
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    codes: tuple[tuple[re.Pattern[str], str], ...] = ()
    """Patterns of codes, and the names that they stand for; an empty name for the code itself."""

    def find(self, line: str, *, listed: bool) -> Iterator[str]:
        """Yield the names whose forms stand in a line, the longest form at each place; one may come twice."""
        words = _words(line)
        plain = [folded(word) for word in words]
        at = 0
        while at < len(words):
            name, size = self._longest(words, plain, at, listed=listed)
            if name:
                yield name
            elif "/" in words[at].strip("/"):
                # "Python/Django" is two names, "CI/CD" is one.
                yield from self.find(words[at].replace("/", " "), listed=listed)
            at += size
        yield from self._coded(line)

    def canonical(self, name: str) -> str:
        """Return the name that a form stands for, or the form itself."""
        return self.forms.get(_form(name)) or self.exact.get(name.strip()) or next(self._coded(name), name.strip())

    def _coded(self, line: str) -> Iterator[str]:
        """Yield what the codes in a line stand for, a code of its own name last."""
        taken: list[tuple[int, int]] = []
        for pattern, name in self.codes:
            for match in pattern.finditer(line):
                if not any(begin < match.end() and match.start() < end for begin, end in taken):
                    taken.append(match.span())
                    code = match[0].upper()
                    yield name or self.exact.get(code) or self.forms.get(_form(code)) or code

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


def _code(form: str) -> re.Pattern[str]:
    """Return the pattern of a code; it is found in capitals and in small letters, for its digits tell it apart."""
    parts = {"#": r"\d", "@": "[A-Z]", "+": "[A-Z0-9]+"}
    pattern = "".join(parts.get(char, re.escape(char)) for char in form)
    return re.compile(rf"(?<![\w-]){pattern}(?![\w-])", re.IGNORECASE)


@cache
def lexicon(file: str, *groups: str) -> Lexicon:
    """Read a list of `tasks/data`; without groups, all of them."""
    listed = tomllib.loads((_DATA / f"{file}.toml").read_text(encoding="utf-8"))
    forms: dict[str, str] = {}
    exact: dict[str, str] = {}
    prefixes: list[tuple[str, str]] = []
    codes: list[tuple[re.Pattern[str], str]] = []
    for group, lines in listed.items():
        if groups and group not in groups:
            continue
        for line in filter(None, map(str.strip, lines.splitlines())):
            name, _, others = line.partition("=")
            given = [form.strip() for form in others.split(",") if form.strip()]
            # A name is one of its own forms, unless it is listed as an ordinary word.
            if f"~{name.strip()}" not in given and group != "codes":
                given.append(name.strip())
            for form in given:
                if form.count("#") > 1:
                    codes.append((_code(form.lstrip("~")), "" if group == "codes" else name.strip()))
                elif form.startswith("~"):
                    exact[" ".join(_words(form[1:]))] = name.strip()
                elif form.endswith("*") and " " not in form:
                    prefixes.append((folded(form[:-1]), name.strip()))
                else:
                    forms.setdefault(_form(form.rstrip("*")), name.strip())
    return Lexicon(forms, exact, tuple(prefixes), tuple(sorted(codes, key=lambda code: not code[1])))
