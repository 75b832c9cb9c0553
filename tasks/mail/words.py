"""The words of `words.toml` as patterns."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib import resources
from typing import Any, Final

_OTHER_LETTERS: Final = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "’": "'", "‘": "'"}
)


def folded(text: str) -> str:
    """Return a text in lower case without accents, with ordinary spaces and apostrophes."""
    plain = unicodedata.normalize("NFKD", text.casefold()).translate(_OTHER_LETTERS)
    return "".join(char for char in plain if not unicodedata.combining(char)).replace("\u00a0", " ")


@cache
def table() -> dict[str, Any]:
    """Read the words, once a process."""
    return tomllib.loads(resources.files("tasks.mail").joinpath("words.toml").read_text("utf-8"))


def listed(text: str) -> list[str]:
    """Return the forms of a list that is separated by commas, folded, the longest first."""
    forms = {folded(form).strip() for form in text.replace("\n", " ").split(",")}
    return sorted(filter(None, forms), key=len, reverse=True)


def alternatives(text: str) -> str:
    """Return a pattern of the forms of a list."""
    return "|".join(re.escape(form).replace(r"\ ", r"\s{1,3}") for form in listed(text))


def lines(text: str) -> str:
    """Return a pattern of the patterns of a list, one a line."""
    return "|".join(f"(?:{line.strip()})" for line in text.strip().splitlines() if line.strip())


@cache
def wrote() -> re.Pattern[str]:
    """Verbs that introduce a quote, in any language."""
    verbs = ", ".join(line.partition(":")[2] for line in table()["wrote"].strip().splitlines())
    return re.compile(rf"(?<!\w)(?:{alternatives(verbs)})(?!\w)|のメール|書きました|写道|寫道")


@cache
def headers() -> dict[str, re.Pattern[str]]:
    """Labels of header lines with their value, by what they name."""
    return {
        kind: re.compile(rf"^[>\s*_]*(?:{alternatives(names)})[*_]*\s?[:：][*_]*(?:\s+|$)(?P<value>.*)$")
        for kind, names in table()["headers"].items()
    }


@cache
def pattern(group: str, name: str) -> re.Pattern[str]:
    """Return the pattern of a list of whole lines, or of forms."""
    source = table()[group][name]
    match group, name:
        case "lines", "original" | "forwarded":
            told = rf"^[>\s]*(?:[-_=*]{{2,}}\s?)?(?:{alternatives(source)})\s?[:：]?\s?(?:[-_=*]{{2,}})?\s*$"
        case "subjects", _:
            told = rf"^\s*(?:\[[^\]]{{1,40}}\]\s*)?(?:{alternatives(source)})\s?(?:\[\d+\]|\(\d+\)|\^\d+)?\s?[:：]\s*"
        case "signature", "devices" | "closing":
            told = rf"(?<!\w)(?:{alternatives(source)})(?!\w)"
        case "disclaimer", "secret" | "act":
            told = alternatives(source)
        case _:
            told = lines(source)
    return re.compile(told, re.MULTILINE)
