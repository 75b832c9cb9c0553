"""Calendar dates in a text, whatever their format and language, as comparable values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple

from nodes.checks.plain import folded


class Day(NamedTuple):
    """A date of which some parts may be unsaid."""

    year: int | None
    month: int | None
    day: int | None


_MONTHS: Final = (
    "january jan januar janner enero ene",
    "february feb februar febrero",
    "march mar marz maerz marzo",
    "april apr abril abr",
    "may mai mayo",
    "june jun juni junio",
    "july jul juli julio",
    "august aug agosto ago",
    "september sep sept septiembre setiembre",
    "october oct oktober okt octubre",
    "november nov noviembre",
    "december dec dezember dez diciembre dic",
)
MONTH: Final = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
"""Month names and their abbreviations in three languages, without accents."""
MONTH_NAME: Final = [names.split()[0].capitalize() for names in _MONTHS]

_NAMES: Final = "|".join(sorted(MONTH, key=len, reverse=True))
_YEAR: Final = r"(?P<y>(?:19|20)\d\d)"
_ISO: Final = re.compile(rf"(?<![\d-]){_YEAR}[-/.](?P<m>\d\d?)[-/.](?P<d>\d\d?)(?!\d)")
_NUMERIC: Final = re.compile(r"(?<![\d/.-])(\d\d?)([/.-])(\d\d?)\2((?:19|20)?\d\d)(?![\d/]|[.-]\d)")
_SHORT: Final = re.compile(r"(?<![\w/.,-])(\d\d?)([/.])(\d\d?)(\.?)(?![\w/]|[.,-]\d|\s?%)")
_DAY_MONTH: Final = re.compile(
    rf"(?<![\d.,:/-])(?P<d>\d\d?)(?:st|nd|rd|th|\.|o)?\s?-?(?:of\s|de\s)?(?P<m>{_NAMES})\b\.?(?:,?\s?-?(?:de[l]?\s"
    rf"|of\s)?{_YEAR}(?!\d))?"
)
_MONTH_DAY: Final = re.compile(
    rf"\b(?P<m>{_NAMES})\.?\s(?:the\s)?(?P<d>\d\d?)(?:st|nd|rd|th)?(?![\w:%]|[.,]\d|\s?[$€£%])(?:,?\s{_YEAR}(?!\d))?"
)
_MONTH_ONLY: Final = re.compile(
    rf"\b(?:in|im|since|for|from|until|till|before|after|by|of|during|through|seit|vor|nach|ab|bis|ende|anfang|mitte|en|de|desde|hasta|a"
    rf"|para|next|last|early|late|mid)\s"
    rf"(?:the\s|end\sof\s|finales\sde\s)?(?P<m>{_NAMES})\b(?:\s(?:de\s)?{_YEAR}(?!\d))?(?!\s\d)"
)
_MONTH_YEAR: Final = re.compile(rf"\b(?P<m>{_NAMES})\.?,?\s(?:de[l]?\s)?{_YEAR}(?!\d)")
_YEAR_ONLY: Final = re.compile(rf"\b(?:in|since|from|until|by|seit|im jahr|ab|bis|en|desde|hasta)\s{_YEAR}(?![\w-])")
_DAY_ONLY: Final = re.compile(
    r"\b(?:on|by|before|until|from|since)\sthe\s(?P<d>\d\d?)(?:st|nd|rd|th)(?=\s*(?:[.,;!?)]|\Z|and\b|at\b|to\b|so\b"
    r"|but\b))"
)
_AROUND_CLOCK: Final = re.compile(r"\b24\s?/\s?7\b")


def _valid(year: int | None, month: int | None, day: int | None) -> bool:
    return (month is None or 1 <= month <= 12) and (day is None or 1 <= day <= 31) and (year is None or year > 0)


def _numeric_readings(first: int, second: int, year: int | None) -> tuple[Day, ...]:
    """Return both readings of `3/4`, or the one that is possible."""
    readings = (Day(year, second, first), Day(year, first, second))
    return tuple(dict.fromkeys(reading for reading in readings if _valid(*reading)))


def _named(match: re.Match[str]) -> tuple[Day, ...]:
    parts = match.groupdict()
    month = parts.get("m")
    day = Day(
        int(parts["y"]) if parts.get("y") else None,
        (MONTH.get(month) or int(month)) if month else None,
        int(parts["d"]) if parts.get("d") else None,
    )
    return (day,) if _valid(*day) else ()


def _full_year(written: str) -> int:
    return int(written) if len(written) == 4 else 2000 + int(written)


def days(text: str) -> Iterator[tuple[Day, ...]]:
    """Yield the dates of a text, each with all its readings: `3/4/2026` has two."""
    text = _AROUND_CLOCK.sub(" ", folded(text))
    # Longer forms first: what one pattern has read is blanked out for those that follow.
    for pattern in (_ISO, _NUMERIC, _SHORT, _DAY_MONTH, _MONTH_YEAR, _MONTH_DAY, _MONTH_ONLY, _YEAR_ONLY, _DAY_ONLY):
        spans: list[tuple[int, int]] = []
        for match in pattern.finditer(text):
            if pattern is _NUMERIC:
                readings = _numeric_readings(int(match[1]), int(match[3]), _full_year(match[4]))
            elif pattern is _SHORT:
                if match[2] == "." and not match[4]:
                    continue  # `4.12` is a version or a number; only `4.12.` is a date, as Germans write it
                readings = _numeric_readings(int(match[1]), int(match[3]), None)
            else:
                readings = _named(match)
            if readings:
                spans.append(match.span())
                yield readings
        text = _blanked(text, spans)


def _blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], "|" * (end - start)]
        at = end
    return "".join([*pieces, text[at:]])


def _forms(day: Day) -> Iterator[Day]:
    """Yield the ways in which the text may say less than the source, or name a year that the source leaves out."""
    year, month, number = day
    yield day
    yield Day(None, month, number)
    yield Day(year, month, None)
    yield Day(None, month, None)
    yield Day(year, None, None)
    yield Day(None, None, number)


def unknown_days(text: str, source: str) -> list[Day]:
    """Return dates of the text of which no reading agrees with a date in the source."""
    stated = list(days(text))
    if not stated:
        return []
    known = {form for readings in days(source) for day in readings for form in _forms(day) if any(form)}
    undated = {day for readings in days(source) for day in readings if day.year is None}
    return [
        readings[0]
        for readings in stated
        if not any(day in known or Day(None, day.month, day.day) in undated for day in readings)
    ]


def weekdays_of(source: str) -> set[int]:
    """Return the weekdays on which the fully dated days of the source fall, Monday being 0."""
    found = set()
    for readings in days(source):
        for year, month, day in readings:
            try:
                found.add(date(year or 0, month or 0, day or 0).weekday())
            except ValueError:
                continue
    return found


def describe(day: Day) -> str:
    """Return words for a message, such as `3 March 2026`."""
    parts = [str(day.day) if day.day else "", MONTH_NAME[day.month - 1] if day.month else "", str(day.year or "")]
    return " ".join(part for part in parts if part)
