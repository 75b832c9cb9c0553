"""Résumés without a model: skills and certifications from lists, and a score that is a sum with its parts told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from tasks.embedded.lexicon import Lexicon, folded, lexicon
from tasks.embedded.resume_lines import Section, is_list, sections

T = TypeVar("T")

REQUIRED, DESIRED, EXPERIENCE, CERTIFICATIONS, SOFT = 55.0, 15.0, 20.0, 5.0, 5.0
"""Points of a candidate who has all that the job asks for; a part that the job does not ask for goes to the others."""
LISTED: Final = 0.75
"""What a skill counts that is listed and never shown in use."""
MOST: Final = 40
"""Most names of a kind: a résumé that lists more was written for machines."""


_ITEMS: Final = re.compile(r"[,;|\u2022\u00b7\u25aa\u25cf\t]|\s[-\u2013\u2014]\s|\s/\s")
_OF_A_CERTIFICATE: Final = re.compile(
    r"\b(?:[A-Z]{2,}[A-Z0-9]*|[A-Z]*\d[A-Z0-9-]*|(?i:\w*certif\w*|zertifi\w*|licen[cs]e\w*|diplom\w*|\w*schein"
    r"|habilitation|brevet|associate|professional|practitioner|foundation|specialist|expert|administrator))\b"
)
_ONLY_DIGITS: Final = re.compile(r"[\d-]+")
_EXAM: Final = re.compile(r"certif|zertifi|\bexam|\bcisco\b|\bccn|\bmcs")
"""What a line is about in which a number such as 300-410 is the code of an exam and no range."""
_CERTIFIED: Final = re.compile(
    r"\b(?:[A-Z][\w+.]* ){0,3}Certified(?: (?:[A-Z][\w+./-]*|in|for|on|of|and))* [A-Z][\w+./-]*"
)
_WHEN: Final = re.compile(r"\(?\b(?:\d{1,2}[./-])?(?:19|20)\d\d\b.*$|\[[a-z]+\]|\([^()]*$")
_NO_CERTIFICATES: Final = re.compile(
    r"\b(?:no|keine|aucune?|without|ohne|sans) (?:\w+ )?(?:certificat|certificate|zertifi)"
    r"|\b(?:certificat\w*|zertifi\w*|licen[cs]es?)\W{0,3}[:-]?\s{1,3}(?:none|keine|aucune?|n/a)\b"
)


def technical(text: str, asked: Iterable[str] = ()) -> dict[str, bool]:
    """Return the technical skills of a résumé in the order of their first mention, and whether each was used.

    Names that a job asks for are found as they are written too, whether or not the list has them.
    """
    words, found = lexicon("skills"), dict[str, bool]()
    written = _as_written(asked, words)
    for section, line in _claimed(text):
        shown = section == "work"
        for name in (*words.find(line, listed=is_list(section, line)), *_written_in(line, written)):
            found[name] = found.get(name, False) or shown
    return dict(list(found.items())[:MOST])


def soft(text: str, asked: Iterable[str] = ()) -> list[str]:
    """Return the soft skills of a résumé, those first that something done shows.

    What stands under a heading for them counts as the résumé calls it, whether or not the list has it.
    """
    named, shown = lexicon("soft_skills", "named"), lexicon("soft_skills", "shown")
    skills, written = lexicon("skills"), _as_written(asked, named)
    weight: Counter[str] = Counter()
    for section, line in _claimed(text):
        # "problem-solving" and "problem solving" are the same.
        forms = dict.fromkeys((line, line.replace("-", " ")))
        for name in dict.fromkeys(name for form in forms for name in shown.find(form, listed=False)):
            weight[name] += 2 if section == "work" else 1
        for name in dict.fromkeys(name for form in forms for name in named.find(form, listed=False)):
            weight[name] += 1
        weight.update(_written_in(line, written))
        if section == "soft":
            for item in _items(line, most=4):
                known = any(True for form in (item, item.replace("-", " ")) for _ in named.find(form, listed=False))
                if not known and not any(True for _ in skills.find(item, listed=True)):
                    weight[item[:1].upper() + item[1:]] += 1
    return [name for name, _ in weight.most_common(10)]


def certifications(text: str, asked: Iterable[str] = ()) -> list[str]:
    """Return the certifications and licences of a résumé in the order of their first mention.

    They are found by name, by the code of an exam, and as the résumé calls them: under a heading for them, and behind
    the word "Certified".
    """
    words, found = lexicon("certifications"), dict[str, None]()
    written = _as_written(asked, words)
    for section, written_line in _claimed(text):
        line = re.sub(r"-(?=certified\b|zertifiziert)", " ", written_line)
        about = section == "certificates" or bool(_EXAM.search(folded(line)))
        names = (name for name in words.find(line, listed=True) if about or not _ONLY_DIGITS.fullmatch(name))
        known = [*names, *_written_in(line, written)]
        found.update(dict.fromkeys(known))
        if section == "certificates":
            for item in _items(line, most=10):
                named = any(True for _ in words.find(item, listed=True)) or any(_written_in(item, written))
                if not named and _OF_A_CERTIFICATE.search(item) and not _NO_CERTIFICATES.search(folded(line)):
                    found.setdefault(item)
        elif not known and (certified := _CERTIFIED.search(line)):
            found.setdefault(certified[0][:80])
    return list(found)[:MOST]


def says_none(text: str) -> bool:
    """Tell whether a résumé says that there are no certifications."""
    lines = [line for _, line in sections(text)]
    under = any(
        section == "certificates" and folded(line).strip(" .-*\u2022") in ("none", "keine", "aucun", "aucune", "n/a")
        for section, line in sections(text)
    )
    return under or any(_NO_CERTIFICATES.search(folded(line)) for line in lines)


def _claimed(text: str) -> Iterator[tuple[Section, str]]:
    """Yield the lines without what a form offers and its writer has not ticked."""
    for section, line in sections(text):
        yield section, _UNTICKED.sub(" ", line)


_UNTICKED: Final = re.compile(r"\u2610\s?[^\u2610\u2611\u2612\u2713,;|\t]*")


def _items(line: str, *, most: int) -> Iterator[str]:
    """Yield the items of a list, without their dates; those of many words are sentences."""
    for part in _ITEMS.split(line):
        item = _WHEN.sub("", part).strip(" .:-*\u2022()\u00ae\u2122")
        if 2 <= len(item) <= 80 and len(item.split()) <= most and any(char.isalpha() for char in item):
            yield item


def _as_written(asked: Iterable[str], words: Lexicon) -> list[tuple[re.Pattern[str], str]]:
    """Return patterns of the names that a list does not have."""
    found = []
    for name in filter(None, map(str.strip, asked)):
        if words.canonical(name) == name and not any(True for _ in words.find(name, listed=True)):
            spaced = r"[\s-]+".join(re.escape(part) for part in re.split(r"[\s-]+", folded(name)) if part)
            found.append((re.compile(rf"(?<![^\W_]){spaced}(?![^\W_])"), name))
    return found


def _written_in(line: str, written: Sequence[tuple[re.Pattern[str], str]]) -> list[str]:
    return [name for pattern, name in written if pattern.search(folded(line))] if written else []


def score(
    job: Mapping[str, Any],
    skills: Mapping[str, bool] | None,
    personal: Collection[str] | None,
    certificates: Collection[str] | None,
    years: float | None,
) -> tuple[float, list[str]]:
    """Return the points of a candidate, 0 to 100, and one line for each part.

    What is not known (None) is left out of the sum, and its points go to the parts that are known: nothing found is
    not nothing there.
    """
    words = lexicon("skills")
    required, desired = ([words.canonical(name) for name in job[kind]] for kind in ("required", "desired"))
    wanted = job["min_years"]
    told = f"{years or 0:g} of {wanted:g}"
    parts = [
        (REQUIRED, "required skills", required, skills, _coverage(required, skills), _lacking(required, skills)),
        (DESIRED, "desired skills", desired, skills, _coverage(desired, skills), _lacking(desired, skills)),
        (EXPERIENCE, "years of work", wanted, years, min(1.0, (years or 0.0) / wanted) if wanted else 0.0, told),
        (CERTIFICATIONS, *_named("certifications", job["certifications"], certificates, lexicon("certifications"))),
        (SOFT, *_named("soft skills", job["soft"], personal, lexicon("soft_skills", "named"))),
    ]
    asked = [part for part in parts if part[2]]
    whole = sum(points for points, _, _, found, _, _ in asked if found is not None)
    total = sum(points * share for points, _, _, found, share, _ in asked if found is not None) * 100 / (whole or 1.0)
    lines = [
        f"{name}: not found, left out of the points"
        if found is None
        else f"{name}: {points * share * 100 / whole:.0f} of {points * 100 / whole:.0f} ({told})"
        for points, name, _, found, share, told in asked
    ]
    return round(total, 1), lines


def _coverage(wanted: Sequence[str], skills: Mapping[str, bool] | None) -> float:
    has = skills or {}
    return sum((1.0 if has[name] else LISTED) for name in wanted if name in has) / max(len(wanted), 1)


def _lacking(wanted: Sequence[str], skills: Mapping[str, bool] | None) -> str:
    lacking = [name for name in wanted if name not in (skills or {})]
    return f"not found: {', '.join(lacking)}" if lacking else "all"


def _named(
    kind: str, wanted: Sequence[str], found: Collection[str] | None, words: Lexicon
) -> tuple[str, Collection[str], Collection[str] | None, float, str]:
    names = {words.canonical(name) for name in wanted}
    has = names & {words.canonical(name) for name in found or ()}
    lacking = ", ".join(sorted(names - has))
    return kind, names, found, len(has) / max(len(names), 1), f"not found: {lacking}" if lacking else "all"
