"""What the lines of a résumé are about, and how many years of work its dates tell."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from tasks.embedded.lexicon import folded

Section = Literal["work", "skills", "education", "other"]

_WORDS: Final = tomllib.loads(
    (Path(__file__).resolve().parent.parent / "data" / "resume_words.toml").read_text(encoding="utf-8")
)
_HEADINGS: Final[dict[str, Section]] = {
    " ".join(form.split()): section for section, forms in _WORDS["headings"].items() for form in forms.split(",")
}
MONTHS: Final = {name.strip(): int(number) for number, names in _WORDS["months"].items() for name in names.split(",")}
_MONTH: Final = "|".join(sorted(MONTHS, key=len, reverse=True))
_POINT: Final = rf"(?:(?:(?P<m{{0}}>{_MONTH})\.?|(?P<n{{0}}>0?[1-9]|1[0-2])\s?[/.-])\s?,?\s*)?(?P<y{{0}}>(?:19|20)\d\d)"
_NOW: Final = (
    r"present|today|now|current|ongoing|heute|jetzt|aktuell|laufend|aujourd'?hui|actuel|present|ce jour|to date"
)
_RANGE: Final = re.compile(
    rf"\b{_POINT.format(1)}\s*(?:-|to|until|bis|a|au)+\s*(?:{_POINT.format(2)}|(?P<now>{_NOW}))\b"
    rf"|\b(?:since|from|seit|depuis|ab)\s+{_POINT.format(3)}"
)
_LISTING: Final = re.compile(r"[,;|/\u2022\u00b7]")
_FIRST: Final = 1955
"""No résumé's work begins earlier."""


def sections(text: str) -> Iterator[tuple[Section, str]]:
    """Yield each line that says something with the section that it stands in."""
    section: Section = "other"
    for line in filter(None, map(str.strip, text.splitlines())):
        before, colon, after = line.partition(":")
        named = (
            _HEADINGS.get(folded(before).strip(" -*#\u2022").replace("&", "and")) if colon and after.strip() else None
        )
        if found := heading_of(line):
            section = found
        elif named:
            # "Skills: Python, Go" says it in one line.
            yield named, after.strip()
        else:
            yield section, line


def heading_of(line: str) -> Section | None:
    """Return what a heading begins, None for a line that is no heading of the list."""
    plain = folded(line[:120]).strip(" :.-_=*#|\u2022").replace("&", "and")
    return _HEADINGS.get(" ".join(plain.split()))


def is_list(section: Section, line: str) -> bool:
    """Tell whether a line enumerates: there a single letter or an ordinary word may be a skill."""
    return section == "skills" or len(_LISTING.findall(line)) >= 2


def years_of_work(text: str, today: datetime.date) -> float | None:
    """Add up the months of work by dates, each month once; None for a résumé without a range of dates at work.

    Without any heading for work, all dates outside of education count.
    """
    lines = list(sections(text))
    wanted = {"work"} if any(section == "work" for section, _ in lines) else {"work", "other", "skills"}
    months: set[int] = set()
    dated = False
    for section, line in lines:
        if section not in wanted:
            continue
        for begin, end in _ranges(_plain(line), today):
            dated = True
            months.update(range(begin, end))
    return round(min(len(months) / 12, 60.0), 1) if dated else None


def _plain(line: str) -> str:
    return re.sub(r"[\u2010-\u2015\u2212~]", "-", folded(line)).replace("\u2019", "'")


def _ranges(line: str, today: datetime.date) -> Iterator[tuple[int, int]]:
    """Yield the first month and the one after the last of each range, counted from the year 0."""
    last = today.year * 12 + today.month
    for match in _RANGE.finditer(line):
        if match["y3"]:
            begin, end = _month(match, 3), last
        else:
            begin = _month(match, 1)
            end = last if match["now"] else _month(match, 2) + bool(match["m2"] or match["n2"])
            # One year without months is half a year of work, give or take.
            end += 6 if end == begin else 0
        if _FIRST * 12 < begin < min(end, last):
            yield begin, min(end, last)


def _month(match: re.Match[str], which: int) -> int:
    """Return the month of a point in time; a year without a month stands for its middle."""
    month = MONTHS.get(match[f"m{which}"] or "") or int(match[f"n{which}"] or 7)
    return int(match[f"y{which}"]) * 12 + month
