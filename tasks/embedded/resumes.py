"""Résumés without a model: skills and certifications from lists, and a score that is a sum with its parts told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from tasks.embedded.lexicon import Lexicon, lexicon
from tasks.embedded.resume_lines import is_list, sections

T = TypeVar("T")

REQUIRED, DESIRED, EXPERIENCE, CERTIFICATIONS, SOFT = 55.0, 15.0, 20.0, 5.0, 5.0
"""Points of a candidate who has all that the job asks for; a part that the job does not ask for goes to the others."""
LISTED: Final = 0.75
"""What a skill counts that is listed and never shown in use."""
MOST: Final = 40
"""Most names of a kind: a résumé that lists more was written for machines."""


def technical(text: str) -> dict[str, bool]:
    """Return the technical skills of a résumé in the order of their first mention, and whether each was used."""
    words, found = lexicon("skills"), dict[str, bool]()
    for section, line in sections(text):
        shown = section == "work"
        for name in words.find(line, listed=is_list(section, line)):
            found[name] = found.get(name, False) or shown
    return dict(list(found.items())[:MOST])


def soft(text: str) -> list[str]:
    """Return the soft skills of a résumé, those first that something done shows."""
    named, shown = lexicon("soft_skills", "named"), lexicon("soft_skills", "shown")
    weight: Counter[str] = Counter()
    for section, line in sections(text):
        for name in shown.find(line, listed=False):
            weight[name] += 2 if section == "work" else 1
        for name in named.find(line, listed=False):
            weight[name] += 1
    return [name for name, _ in weight.most_common(10)]


def certifications(text: str) -> list[str]:
    """Return the certifications and licences of a résumé in the order of their first mention."""
    words = lexicon("certifications")
    found = dict.fromkeys(name for _, line in sections(text) for name in words.find(line, listed=True))
    return list(found)[:MOST]


def score(
    job: Mapping[str, Any],
    skills: Mapping[str, bool] | None,
    personal: Collection[str] | None,
    certificates: Collection[str] | None,
    years: float | None,
) -> tuple[float, list[str]]:
    """Return the points of a candidate, 0 to 100, and one line for each part; what is missing gives no points."""
    words = lexicon("skills")
    required, desired = ([words.canonical(name) for name in job[kind]] for kind in ("required", "desired"))
    parts = [
        (REQUIRED, "required skills", _coverage(required, skills), _lacking(required, skills)),
        (DESIRED, "desired skills", _coverage(desired, skills), _lacking(desired, skills)),
        (EXPERIENCE, "years of work", _experience(job["min_years"], years), f"{years or 0:g} of {job['min_years']:g}"),
        (CERTIFICATIONS, *_named("certifications", job["certifications"], certificates, lexicon("certifications"))),
        (SOFT, *_named("soft skills", job["soft"], personal, lexicon("soft_skills", "named"))),
    ]
    asked = [(points, name, share, told) for points, name, share, told in parts if share is not None]
    whole = sum(points for points, *_ in asked)
    total = sum(points * share for points, _, share, _ in asked) * 100 / whole
    return round(total, 1), [
        f"{name}: {points * share * 100 / whole:.0f} of {points * 100 / whole:.0f} ({told})"
        for points, name, share, told in asked
    ]


def _coverage(wanted: Sequence[str], skills: Mapping[str, bool] | None) -> float | None:
    if not wanted:
        return None
    has = skills or {}
    return sum((1.0 if has[name] else LISTED) for name in wanted if name in has) / len(wanted)


def _lacking(wanted: Sequence[str], skills: Mapping[str, bool] | None) -> str:
    lacking = [name for name in wanted if name not in (skills or {})]
    return f"without {', '.join(lacking)}" if lacking else "all"


def _experience(wanted: float, years: float | None) -> float | None:
    return min(1.0, (years or 0.0) / wanted) if wanted else None


def _named(
    kind: str, wanted: Sequence[str], found: Collection[str] | None, words: Lexicon
) -> tuple[str, float | None, str]:
    names = {words.canonical(name) for name in wanted}
    has = names & set(found or ())
    return kind, len(has) / len(names) if names else None, ", ".join(sorted(has)) or "none"
