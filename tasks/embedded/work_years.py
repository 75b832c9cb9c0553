"""How many years somebody has worked: by the dates of a résumé, and by what its text says.

Both are read with a small grammar in English, German and French. They are kept apart, because dates can be added up
and a statement can only be believed.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tasks.embedded.lexicon import folded
from tasks.embedded.resume_lines import MONTHS, WORDS, sections

_MONTH: Final = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAY: Final = r"(?:(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|er)?\.?\s?)?"
_YEAR: Final = r"(?:19|20)\d\d"
# 2019-03-01, 2019/03; 15.03.2019, 03/2019; 15 March 2019, Mar '19; 2019. Numbers of months and days as in Europe.
_POINT: Final = (
    rf"(?:(?P<i{{0}}>{_YEAR})[-/.](?P<j{{0}}>0[1-9]|1[0-2])(?:[-/.](?:0[1-9]|[12]\d|3[01]))?(?!\d)"
    rf"|(?:(?:{_DAY}(?P<m{{0}}>{_MONTH})\.?(?:\s(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?,)?"
    rf"|(?:(?:0?[1-9]|[12]\d|3[01])[./-]\s?)?(?P<n{{0}}>0?[1-9]|1[0-2])\s?[/.-])\s?,?\s*)?(?P<y{{0}}>{_YEAR}|'\d\d))"
)
_NOW: Final = (
    r"present|today|now|current(?:ly)?|ongoing|date|heute|jetzt|aktuell|laufend|aujourd'?hui|actuel(?:lement)?|ce jour"
)
_RANGE: Final = re.compile(
    rf"(?<![\d/.-]){_POINT.format(1)}\s*(?:-|\bto\b|\buntil\b|\btill\b|\bbis\b|\ba\b|\bau\b|\bthrough\b)+\s*"
    rf"(?:{_POINT.format(2)}(?!\d)|(?P<now>{_NOW})\b)"
    rf"|\b(?:since|from|seit|depuis|ab)\s+{_POINT.format(3)}(?!\d)"
    rf"|(?<![\d/.-]){_POINT.format(4)}\s*-\s*$"
)
_FIRST: Final = 1955
"""No résumé's work begins earlier."""
_MOST: Final = 60.0


def _numbers() -> dict[str, int]:
    """Return numbers by their words, also those of tens and ones: twenty-two, zweiundzwanzig, vingt-deux."""
    words = {word.strip(): int(number) for number, listed in WORDS["numbers"].items() for word in listed.split(",")}
    ones = [word for word, number in words.items() if number < 10]
    tens = [word for word, number in words.items() if number in (20, 30, 40)]
    both = ((ten, one) for ten in tens for one in ones)
    joined = {form: words[t] + words[o] for t, o in both for form in (f"{t} {o}", f"{t}-{o}", f"{o}und{t}")}
    return joined | words


_NUMBERS: Final = _numbers()
_NUMBER: Final = rf"\d{{1,2}}(?:[.,]\d)?|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))}"
_YEARS: Final = r"years?|yrs?|yoe|jahr(?:en?)?|ans?|annees?"
_MONTHS: Final = r"months?|mos?|monat(?:en?)?|mois"
_DECADES: Final = r"decades?|jahrzehnt(?:en?)?|decennies?"
_SPAN: Final = re.compile(
    rf"(?<![\w.,/'-])(?P<number>{_NUMBER})(?:\s*(?:-|to|bis|a)\s*(?:{_NUMBER}))?(?:\s?\((?:\d{{1,2}})\))?"
    rf"\s*(?:\+|plus\b|or more\b)?(?P<joined>-)?\s*(?:(?:full|whole|ganzen?|vollen?|good|guten?|bonnes)\s)?"
    rf"(?:(?P<years>{_YEARS})|(?P<months>{_MONTHS})|(?P<decades>{_DECADES}))\b\.?'?"
    rf"(?:\s*(?:,|and|und|et)?\s*(?P<more>{_NUMBER})\s*(?:{_MONTHS})\b)?"
)
_EXPERIENCE: Final = r"experience|expertise|(?:berufs|praxis)?erfahrung|berufspraxis|track record"
_WORKED: Final = re.compile(
    rf"^\s?(?:of|in|as|als|at|bei|im|an|d'|de|en|dans|comme|working|with|on|with in|mit)?\s?(?:[\w&/+#.-]+\s){{0,5}}?"
    rf"(?:{_EXPERIENCE})\b|^\s?(?:in|as|als|im|at|bei|en tant que|comme|dans|working|of work)\b"
)
_ABOUT: Final = (
    r"(?:(?:over|more than|about|around|nearly|almost|at least|some|the|last|past|circa|ca\.?|etwa|rund|uber|mehr"
    r" als|fast|mindestens|den|letzten|plus de|environ|pres de|au moins|>|-)\s?)*$"
)
_SINCE: Final = re.compile(
    r"(?:\b(?:for|since|seit|depuis|pendant|worked|working)|\b(?:last|past|letzten|dernieres)|"
    rf"\b(?:{_EXPERIENCE})(?: professionnelle)?\s?(?:of|von|de|:|-|=|\()?)\s?{_ABOUT}"
)
_NO_WORK: Final = re.compile(
    r"^[\s-]?(?:old\b|of age|alt\b|ago\b|earlier|later|spater|plus tard|warranty|guarantee|garantie|contract|plan\b"
    r"|of (?:\w+ ){0,2}(?:study|studies|training|school|education|college|university)|"
    r"(?:\w+ ){0,2}(?:degree|programme?|course|apprenticeship|ausbildung|lehre|studium|formation|etudes|roadmap)\b)"
)
_NOT_THEIRS: Final = re.compile(
    r"\b(?:aged?|alter|every|each|alle|tous les|toutes les|within|next|nachsten|prochaine?s?|less than|under|weniger"
    r" als|unter|moins de|in less than|vor|il y a|combined|together|company|firm|agency|group|unternehmen|firma"
    r"|entreprise|societe|customers?|clients?|house|brand|tradition)\b[^.;:]{0,40}$"
)
_LABELLED: Final = re.compile(
    r"\b(?:years of (?:work(?:ing)? |professional )?experience|jahre (?:berufs)?erfahrung|annees d'experience)"
    rf"\s?[:=]\s?(?P<number>{_NUMBER})"
    rf"|(?<![\w.,])(?P<german>{_NUMBER})[\s-]?jahrige[nrms]?\s(?:\w+\s){{0,2}}(?:{_EXPERIENCE})\b"
)
_NONE: Final = re.compile(
    rf"\b(?:no|without|keine|ohne|aucune|sans)\s(?:(?:work|working|professional|previous|prior)\s)*(?:{_EXPERIENCE})\b"
    rf"|\b(?:{_EXPERIENCE})\s?:\s?(?:none|keine|aucune|0)\b"
)
_BULLET: Final = re.compile(r"^\W*[-*\u2022\u00b7\u25aa\u25cf]\s")
_HEAD_WORDS: Final = 12
"""Most words of the line above a job's tasks, which may say how long it lasted."""


def years_of_work(text: str, today: datetime.date) -> float | None:
    """Add up the months of work by dates, each month once; None for a résumé without a range of dates at work.

    Without any heading for work, all dates outside of education and certificates count.
    """
    lines = list(sections(text))
    wanted = {"work"} if any(section == "work" for section, _ in lines) else {"work", "other", "skills", "soft"}
    months: set[int] = set()
    dated = False
    for section, line in lines:
        if section not in wanted:
            continue
        for begin, end in _ranges(_plain(line), today):
            dated = True
            months.update(range(begin, end))
    return round(min(len(months) / 12, _MOST), 1) if dated else None


def years_stated(text: str) -> float | None:
    """Return the years of work that a text says in words, the most of several; None where it says nothing.

    "10 years of experience", "for over twelve years", "seit 8 Jahren", "Experience: 10+ yrs"; jobs that say how long
    they lasted are added up. 0 where the text says that there is no experience. What is said about ages, courses and
    companies does not count, nor does an upper bound.
    """
    lines = [
        (section, _plain(line)) for section, line in sections(text) if section not in ("education", "certificates")
    ]
    general, jobs = 0.0, 0.0
    for section, line in lines:
        short = not _BULLET.match(line) and len(line.split()) <= _HEAD_WORDS
        found = [match for match in _SPAN.finditer(line) if _theirs(match)]
        alone = [match for match in found if not _evident(match) and (section != "work" or _alone(match))]
        bare = max(map(_months, alone), default=0.0) if short else 0.0
        general = max([general, bare, *(_months(match) for match in found if _evident(match))])
        jobs += bare if section == "work" else 0.0
        if labelled := _LABELLED.search(line):
            general = max(general, 12 * _value(labelled["number"] or labelled["german"]))
    for (_, one), (_, two) in pairwise(lines):
        # A sentence may go on in the next line.
        spans = (match for match in _SPAN.finditer(f"{one} {two}") if _theirs(match) and _evident(match))
        general = max([general, *map(_months, spans)])
    best = max(general, jobs)
    if not best:
        return 0.0 if any(_NONE.search(line) for _, line in lines) else None
    return round(min(best / 12, _MOST), 1)


def _plain(line: str) -> str:
    plain = re.sub(r"[\u2010-\u2015\u2212~]", "-", folded(line))
    return " ".join(re.sub(r"[\u2019\u2018\u02bc]", "'", plain).split())


def _theirs(match: re.Match[str]) -> bool:
    """Tell whether a span of time may be one of work, and the work of the writer."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    one = match["number"] in ("a", "an", "ein", "eine", "einem", "einen", "einer", "un", "une")
    if one and not match["decades"]:
        return False
    if match["joined"] and not _evident(match):
        return False
    return not _NO_WORK.match(after) and not _NOT_THEIRS.search(before)


def _evident(match: re.Match[str]) -> bool:
    """Tell whether the words around a span say that it is work."""
    after, before = match.string[match.end() :], match.string[: match.start()]
    if match["joined"]:
        # "A ten-year track record", and not "a three-year project".
        return bool(re.match(rf"\s(?:[\w-]+\s){{0,2}}(?:{_EXPERIENCE})\b", after))
    return bool(_WORKED.match(after) or _SINCE.search(before))


def _alone(match: re.Match[str]) -> bool:
    """Tell whether a span is a part of its own at an end of its line, as the length of a job is."""
    before, after = (
        re.sub(rf"\b{_ABOUT}", "", match.string[: match.start()]).rstrip(),
        match.string[match.end() :].strip(" )."),
    )
    return (not before or before[-1] in ",;:(|-/") and (not after or (not before and after[0] in ",;:|-"))


def _months(match: re.Match[str]) -> float:
    unit = 1 if match["months"] else 120 if match["decades"] else 12
    return unit * _value(match["number"]) + (_value(match["more"]) if match["more"] else 0)


def _value(number: str) -> float:
    return float(_NUMBERS[number]) if number in _NUMBERS else float(number.replace(",", "."))


def _ranges(line: str, today: datetime.date) -> Iterator[tuple[int, int]]:
    """Yield the first month and the one after the last of each range, counted from the year 0."""
    last = today.year * 12 + today.month
    for match in _RANGE.finditer(line):
        open_end = next((which for which in (3, 4) if match[f"y{which}"] or match[f"i{which}"]), 0)
        if open_end:
            begin, end = _month(match, open_end), last
        else:
            begin = _month(match, 1)
            exact = match["m2"] or match["n2"] or match["j2"]
            end = last if match["now"] else _month(match, 2) + bool(exact)
            # One year without months is half a year of work, give or take.
            end += 6 if end == begin else 0
        if _FIRST * 12 < begin < min(end, last):
            yield begin, min(end, last)


def _month(match: re.Match[str], which: int) -> int:
    """Return the month of a point in time; a year without a month stands for its middle."""
    if match[f"i{which}"]:
        return int(match[f"i{which}"]) * 12 + int(match[f"j{which}"])
    year = match[f"y{which}"]
    month = MONTHS.get(match[f"m{which}"] or "") or int(match[f"n{which}"] or 7)
    century = 0 if len(year) == 4 else 2000 if int(year[1:]) < 60 else 1900
    return (century + int(year.lstrip("'"))) * 12 + month
