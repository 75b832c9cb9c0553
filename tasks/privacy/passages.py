"""A text whose passages are replaced by marks such as `[name]`, and how many of each kind were."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from tasks.embedded.lexicon import folded, lexicon

WORDS: Final[dict[str, Any]] = tomllib.loads(
    (Path(__file__).resolve().parent.parent / "data" / "identity.toml").read_text(encoding="utf-8")
)
"""Lists of words; see the file."""

MARK: Final = re.compile(r"\[(?:name|email|phone|link|address|birth|age|gender|family|nationality|photo|id)\]")
BREAK: Final = r"[|\u2022\u00b7;\t\n]|\s\u2013\s|\s-\s|\s{3,}"
"""What separates the parts of a line."""


def word_set(name: str) -> frozenset[str]:
    """Return a list of `identity.toml`, without accents."""
    return frozenset(folded(word) for word in WORDS[name].split())


def labels(kind: str) -> str:
    """Return an alternation of what lines of a kind are called, the longest first; spaces stand for any."""
    forms = sorted((" ".join(form.split()) for form in WORDS["labels"][kind].split(",")), key=len, reverse=True)
    return "|".join(re.escape(form).replace(r"\ ", r"[ \t]") for form in forms)


@cache
def trade_words() -> frozenset[str]:
    """Return the words and phrases of skills and certifications, without case and accents: they name no person."""
    found: set[str] = set()
    for file in ("skills", "certifications"):
        words = lexicon(file)
        found.update(words.forms, map(folded, words.exact))
    return frozenset(found)


class Passages:
    """A text under change."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.removed: Counter[str] = Counter()

    def replace(
        self, kind: str, pattern: re.Pattern[str], when: Callable[[re.Match[str]], bool] = lambda _: True
    ) -> None:
        """Put `[kind]` in the place of what matches; of a match with the group `value`, in the place of that alone."""

        def mark(match: re.Match[str]) -> str:
            whole, value = match[0], match.groupdict().get("value")
            if MARK.fullmatch((value if value is not None else whole).strip()) or not when(match):
                return whole
            self.removed[kind] += 1
            if value is None:
                return f"[{kind}]"
            begin, end = match.start("value") - match.start(), match.end("value") - match.start()
            return f"{whole[:begin]}[{kind}]{whole[end:]}"

        self.text = pattern.sub(mark, self.text)

    def rewrite(self, kind: str, pattern: re.Pattern[str], neutral: Callable[[re.Match[str]], str]) -> None:
        """Write another word for each match; one that stays as it is does not count."""

        def other(match: re.Match[str]) -> str:
            made = neutral(match)
            self.removed[kind] += made != match[0]
            return made

        self.text = pattern.sub(other, self.text)

    def replace_lines(self, change: Callable[[int, str], str | None], kind: str) -> None:
        """Take the lines that `change` returns for a place and a line; None leaves one as it is."""
        lines = self.text.split("\n")
        for place, line in enumerate(lines):
            made = change(place, line)
            if made is not None and made != line:
                self.removed[kind] += 1
                lines[place] = made
        self.text = "\n".join(lines)
