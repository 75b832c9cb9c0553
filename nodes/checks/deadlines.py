"""Times that a text promises or recalls: durations, times of day, weekdays, `tomorrow`, `by the end of the week`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from nodes.checks.dates import weekdays_of
from nodes.checks.numerals import spelled_out
from nodes.checks.plain import folded, language, plain

_UNITS: Final = (
    ("second", 1, "seconds? secs? sekunden? segundos?"),
    ("second", 60, "minutes? mins? minuten? minutos?"),
    ("second", 3600, "hours? hrs? h std stunden? horas?"),
    ("second", 86400, "days? tag(?:e[ns]?)? werktage?n? arbeitstage?n? dias?"),
    ("second", 604800, "weeks? wochen? semanas?"),
    ("second", 1209600, "fortnights?"),
    ("month", 1, "months? monat(?:e[ns]?)? mes(?:es)?"),
    ("month", 12, "years? jahr(?:e[ns]?)? anos?"),
)
_UNIT_PATTERNS: Final = [(base, size, re.compile(rf"(?:{names.replace(' ', '|')})\Z")) for base, size, names in _UNITS]
_ANY_UNIT: Final = "|".join(names.replace(" ", "|") for _, _, names in _UNITS)
_KIND: Final = r"(?:(?:business|working|calendar|full|more|other|volle|weitere|ganze)[\s-])?"
_DURATION: Final = re.compile(
    rf"(?<![\w.,:/$€£-])(\d{{1,4}})(?:\s?(?:-|to|or|and|bis|oder|und|a|o|y)\s?(\d{{1,4}}))?[\s-]?{_KIND}({_ANY_UNIT})\b"
)
_WITHIN: Final = r"within|inside|in|innerhalb(?:\svon)?|binnen|en|dentro\sde"
_ARTICLE_DURATION: Final = re.compile(
    rf"\b(?:{_WITHIN})\s(?:the|an?|einer|eines|einem|der|una?|la)\s(?:next\s|nachsten\s|proxima\s)?({_ANY_UNIT})\b"
)
_BARE: Final = re.compile(r"(?<![\w.,:/#$€£-])\d{1,4}(?=\s?(?:[!?;)]|[.,](?!\d)|\Z))")
_FEW: Final = re.compile(
    r"\b(?:within|in the next|innerhalb|in den nachsten|en las proximas|en los proximos|dentro de)\s(?:the\s"
    r"|von\s)?(?:next\s)?"
    r"(?:an?\s)?(?:few|couple of|several|wenigen?|einigen|paar|unas|unos|pocas|pocos|horas|dias|stunden|tagen?)\b"
)
_CLOCK: Final = re.compile(
    r"(?<![\d:.,/])(\d\d?)(?::(\d\d)(?::\d\d)?|\.(\d\d)(?=\s?(?:uhr|h\b|[ap]\.?m)))?(?![\d:])\s?(?:([ap])\.?m\b|(uhr"
    r"|h)\b)?"
)

_DAY_NAMES: Final = (
    "monday|montags?|lunes",
    "tuesday|dienstags?|martes",
    "wednesday|mittwochs?|miercoles",
    "thursday|donnerstags?|jueves",
    "friday|freitags?|viernes",
    "saturday|samstags?|sonnabends?|sabados?",
    "sunday|sonntags?|domingos?",
)
_ENGLISH_DAYS: Final = tuple(names.split("|")[0].capitalize() for names in _DAY_NAMES)
_WEEKDAY: Final = [re.compile(rf"\b(?:{names})(?:abend|morgen|vormittag|nachmittag)?s?\b") for names in _DAY_NAMES]
_SHORT_DAY: Final = {name: n for n, name in enumerate(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])}

_RELATIVE: Final = {
    "tomorrow": (
        r"\btomorrow\b|\bubermorgen\b|\bday after tomorrow\b|\bpasado manana\b|\bmorgen (?:fruh|vormittag|nachmittag"
        r"|mittag|abend)\b"
        r"|(?<!la )(?<!esta )(?<!pasado )(?<!tu )(?<!su )\bmanana\b"
    ),
    "yesterday": r"\byesterday\b|\bgestern\b|\bayer\b",
    "tonight": r"\btonight\b|\bheute abend\b|\besta noche\b",
    "today": (
        r"\b(?:by|before|later|end of|until|still) today\b|\b(?:will|'ll|shall|going to)\b[^.!?\n]{0,80}\btoday\b"
        r"|\b(?:noch|bis) heute\b|\bheute noch\b|\bbis heute\b|\bhoy mismo\b|\ba lo largo (?:de|del dia de) hoy\b"
        r"|\bdurante el dia de hoy\b|\bantes de que acabe el dia\b"
    ),
    "end of the day": (
        r"\bend of (?:the |this |your |our )?(?:business |working )?day\b|\beod\b|\bclose of business\b|\bcob\b"
        r"|\bbis (?:zum )?(?:feierabend|tagesende|ende des tages)\b|\bfinal(?:es)? del? dia\b"
    ),
    "this week": (
        r"\b(?:by|before|later|end of|end of the|this) (?:this )?week\b|\bdiese[r]? woche\b|\bende der woche\b"
        r"|\besta semana\b"
        r"|\bfinal(?:es)? de (?:la |esta )?semana\b"
    ),
    "next week": r"\bnext week\b|\b(?:nachste|kommende)[rn]? woche\b|\b(?:proxima semana|semana que viene)\b",
    "the weekend": r"\bweekend\b|\bwochenende\b|\bfin de semana\b",
    "this month": r"\b(?:this|end of the|end of) month\b|\b(?:diesen|ende des) monats?\b|\beste mes\b"
    "|\bfin(?:ales)? de mes\b",
    "next month": r"\bnext month\b|\b(?:nachsten|kommenden) monat\b|\b(?:proximo mes|mes que viene)\b",
    "this quarter": r"\b(?:this|next|end of the) quarter\b|\bq[1-4]\b|\bquartal\b|\btrimestre\b",
    "this year": r"\byear[- ]end\b|\b(?:this|next|end of the|end of) year\b|\bjahresende\b|\b(?:dieses"
    "|nachstes) jahr\b|\bfin de ano\b",
}
_RELATIVE_PATTERNS: Final = {key: re.compile(pattern) for key, pattern in _RELATIVE.items()}
_GERMAN_TOMORROW: Final = re.compile(
    r"(?<!guten )(?<!heute )(?<!am )(?<!jeden )(?<!gestern )(?<!der )(?<!den )(?<!diesen )(?<!schonen )\bmorgen\b"
)
_SOURCE_TODAY: Final = re.compile(r"\b(?:today|heute|hoy|tonight)\b")


def _readable(text: str) -> str:
    return folded(spelled_out(plain(text)))


def _length_of(unit: str) -> tuple[str, int]:
    return next((base, size) for base, size, pattern in _UNIT_PATTERNS if pattern.match(unit))


def _durations(text: str) -> Iterator[tuple[str, int]]:
    for match in _DURATION.finditer(text):
        base, size = _length_of(match[3])
        yield from ((base, int(number) * size) for number in match.group(1, 2) if number)
    for match in _ARTICLE_DURATION.finditer(text):
        yield _length_of(match[1])


def _clock_times(text: str) -> Iterator[frozenset[int]]:
    """Yield times of day as minutes; without am or pm a time up to 12:59 has two readings."""
    for match in _CLOCK.finditer(text):
        hour, minute = int(match[1]), int(match[2] or match[3] or 0)
        if hour > 24 or minute > 59 or not (match[2] or match[3] or match[4] or match[5]):
            continue
        if match[4] and hour <= 12:
            yield frozenset({(hour % 12 + (12 if match[4] == "p" else 0)) * 60 + minute})
        elif hour <= 12 and not match[5]:
            yield frozenset({(hour % 12) * 60 + minute, (hour % 12 + 12) * 60 + minute})
        else:
            yield frozenset({hour % 24 * 60 + minute})
    yield from (frozenset({720}) for _ in re.finditer(r"\b(?:noon|midday|mittags|mediodia)\b", text))
    yield from (frozenset({0}) for _ in re.finditer(r"\b(?:midnight|mitternacht|medianoche)\b", text))


def _weekdays(text: str) -> set[int]:
    return {number for number, pattern in enumerate(_WEEKDAY) if pattern.search(text)}


def _relative(text: str) -> set[str]:
    found = {key for key, pattern in _RELATIVE_PATTERNS.items() if pattern.search(text)}
    if language(text) == "de" and _GERMAN_TOMORROW.search(text):
        found.add("tomorrow")
    return found


def _has_unknown_duration(text: str, source: str) -> bool:
    stated = set(_durations(text))
    if not stated:
        return False
    # `you charged me after 14!`: a number that counts nothing may count any unit.
    bare = {int(number) for number in _BARE.findall(source)}
    sizes = {(base, size) for base, size, _ in _UNIT_PATTERNS}
    return bool(stated - set(_durations(source)) - {(base, n * size) for n in bare for base, size in sizes})


def unknown_times(text: str, source: str) -> list[str]:
    """Return descriptions of the times in a text that its source does not mention."""
    text, known = _readable(text), _readable(source)
    found = []
    if _has_unknown_duration(text, known):
        found.append("a period of time")
    if _FEW.search(text) and not _FEW.search(known):
        found.append("a rough period of time")
    known_minutes = {minute for readings in _clock_times(known) for minute in readings}
    if any(not readings & known_minutes for readings in _clock_times(text)):
        found.append("a time of day")
    if stated := _weekdays(text):
        short = {_SHORT_DAY[word] for word in set(re.findall(r"\b[a-z]{3}\b", known)) & _SHORT_DAY.keys()}
        found += [_ENGLISH_DAYS[n] for n in sorted(stated - _weekdays(known) - short - weekdays_of(source))]
    said = _relative(text)
    if said:
        said -= _relative(known) | ({"today"} if _SOURCE_TODAY.search(known) else set())
    return found + sorted(said)
