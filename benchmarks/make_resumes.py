"""Makes `examples/resumes/` and the truth about it, `tests/data/resumes.jsonl`: `python benchmarks/make_resumes.py`.

Invented people in the layouts that occur: PDF in one and two columns, DOCX with and without tables, text; in English,
German and French; and documents that cannot be read. The same files come out on every run, byte by byte.
Needs the packages of the extra `documents`, and fpdf2.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tomllib
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

from resume_files import LAYOUTS, bad_files  # noqa: E402 - the path comes first

PARTS: Final = tomllib.loads((Path(__file__).parent / "resume_parts.toml").read_text(encoding="utf-8"))
JOB: Final = {
    "title": "Backend engineer",
    "required": ["Python", "PostgreSQL", "Docker"],
    "desired": ["Kubernetes", "Apache Kafka", "AWS"],
    "min_years": 4,
}
NOW: Final = 2026 * 12 + 10
"""The month in which the résumés were written, counted from the year 0."""

# Kind of work, how many, layouts that they take in turn, and how old the oldest job is (years).
PLAN: Final = [
    ("backend", 11, 12), ("fullstack", 5, 8), ("data", 4, 7), ("devops", 3, 9), ("frontend", 2, 5), ("nurse", 2, 9),
    ("accountant", 2, 11), ("teacher", 2, 14), ("sales", 2, 8), ("chef", 2, 6), ("entwickler", 4, 9), ("pflege", 2, 10),
    ("developpeur", 3, 8), ("vente", 2, 6),
]  # fmt: skip
GIVEN, SURNAMES, HOMES, WORDS = (PARTS[name] for name in ("given", "surnames", "homes", "words"))


@dataclass
class Resume:
    """One résumé with all that is known about it."""

    stem: str
    language: str
    name: str
    title: str
    contact: list[str]
    personal: list[str]
    about: str
    jobs: list[tuple[str, list[str]]]
    skills: list[str]
    certifications: list[str]
    education: list[str]
    identity: dict[str, list[str]]
    used: list[str]
    years: float
    match: str
    closing: list[str] = field(default_factory=list)

    def sections(self) -> list[tuple[str, list[str]]]:
        """Return the headings with their lines, in the order of reading."""
        words = WORDS[self.language]
        work = [line for head, bullets in self.jobs for line in (head, *(f"- {bullet}" for bullet in bullets))]
        found = [(words["about"], [self.about]), (words["work"], work), (words["skills"], [", ".join(self.skills)])]
        if self.certifications:
            found.append((words["certs"], self.certifications))
        found.append((words["education"], self.education))
        return found

    def text(self) -> str:
        """Return it as plain text."""
        lines = [self.name, self.title, *self.contact, *self.personal]
        for heading, body in self.sections():
            lines += ["", heading, *body]
        return "\n".join([*lines, "", *self.closing]).strip() + "\n"


def period(begin: int, end: int, language: str, dice: random.Random) -> str:
    """Write a period in one of the usual ways; months are counted from the year 0."""
    now = {"en": "present", "de": "heute", "fr": "aujourd'hui"}[language]
    first, last = divmod(begin, 12), divmod(end - 1, 12)
    if dice.random() < 0.5:
        one, two = f"{first[1] + 1:02}/{first[0]}", now if end > NOW else f"{last[1] + 1:02}/{last[0]}"
        return f"{one} - {two}"
    names = WORDS[language]["months"]
    to = {"en": "to", "de": "bis", "fr": "à"}[language]
    return f"{names[first[1]]} {first[0]} {to} {now if end > NOW else f'{names[last[1]]} {last[0]}'}"


def history(kind: dict[str, Any], years: float, language: str, dice: random.Random) -> tuple[Any, list[str], float]:
    """Return jobs from the latest to the first, the skills that they show, and the years of work."""
    bullets = dice.sample(kind["bullets"], k=min(len(kind["bullets"]), dice.randint(5, 9)))
    places, titles = PARTS["employers"].strip().splitlines(), kind["titles"].split(", ")
    count = max(1, min(3, round(years / 3), len(bullets) // 2))
    end, left, jobs, months = NOW + 1, round(years * 12), [], 0
    for number, employer in enumerate(dice.sample(places, count)):
        length = left if number == count - 1 else max(10, round(left / (count - number) * dice.uniform(0.7, 1.3)))
        length = max(6, min(length, left))
        mine = bullets[number::count]
        head = f"{dice.choice(titles)}, {employer}, {period(end - length, end, language, dice)}"
        jobs.append((head, [bullet.partition("##")[0].strip() for bullet in mine]))
        months, left, end = months + length, left - length, end - length - dice.choice((0, 0, 1, 5))
        if left < 6:
            break
    used = [s.strip() for b in bullets[: len(bullets)] for s in b.partition("##")[2].split(",") if s.strip()]
    return jobs, sorted(set(used)), round(months / 12, 1)


Identity = dict[str, list[str]]


def person(language: str, number: int, dice: random.Random) -> tuple[str, str, list[str], list[str], Identity]:
    """Return a name, a gender, the lines of contact, those of personal data, and what must not be seen of them."""
    given, gender = GIVEN[language].pop(0).split()
    surname = SURNAMES[language].pop(0)
    street, town, country, phone, origin = dice.choice(HOMES[language])
    phone = phone.format(n=number)
    plain = _ascii(f"{given}.{surname}".replace(" ", "").replace("'", "")).lower()
    email, link = f"{plain}@example.com", f"linkedin.com/in/{plain.replace('.', '-')}"
    year, day = dice.randint(1968, 2001), dice.randint(1, 28)
    month = dice.randint(1, 12)
    born = f"{day:02}.{month:02}.{year}" if language != "en" else f"{day} {WORDS['en']['months'][month - 1]} {year}"
    hidden = {
        "name": [f"{given} {surname}", surname], "email": [email], "phone": [phone], "address": [street, town],
        "link": [link],
    }  # fmt: skip
    contact = dice.choice([
        [f"{street}, {town}, {country}", f"{email} | {phone} | {link}"],
        [street, f"{town}, {country}", f"Phone: {phone}", f"E-mail: {email}", link],
        [f"{email} | {phone}", f"{street}, {town}", f"https://www.{link}"],
    ])  # fmt: skip
    personal: list[str] = []
    if dice.random() < 0.75 or language != "en":
        personal = personal_lines(language, gender, born, origin, dice)
        hidden |= {"birth": [born], "nationality": [f": {origin}"]}
    return f"{given} {surname}", gender, contact, personal, hidden


def personal_lines(language: str, gender: str, born: str, origin: str, dice: random.Random) -> list[str]:
    """Return what résumés of some countries tell of a person."""
    female = gender == "f"
    if language == "de":
        state = dice.choice(("verheiratet, zwei Kinder", "ledig", "geschieden"))
        return [f"Geburtsdatum: {born}", f"Familienstand: {state}", f"Staatsangehörigkeit: {origin}",
                f"Geschlecht: {'weiblich' if female else 'männlich'}"]  # fmt: skip
    if language == "fr":
        state = ("mariée" if female else "marié") if dice.random() < 0.5 else "célibataire"
        return [
            f"{'Née' if female else 'Né'} le {born} à Nantes", f"Situation familiale : {state}",
            f"Nationalité : {origin}",
        ]  # fmt: skip
    gendered = "Female" if female else "Male"
    return dice.choice([
        [f"Date of birth: {born}", f"Nationality: {origin}", f"Gender: {gendered}"],
        [f"{gendered}, married, born {born}", f"Nationality: {origin}"],
        [
            f"Born {born}", f"Marital status: single | Nationality: {origin}",
            f"Pronouns: {'she/her' if female else 'he/him'}",
        ],
    ])  # fmt: skip


def closing_lines(name: str, gender: str, language: str, dice: random.Random) -> list[str]:
    """Return what stands below: referees, a signature."""
    if language == "de":
        return [f"Köln, den 2. November 2026, {name}"]
    if language == "fr" or dice.random() < 0.4:
        return []
    pronoun = "She" if gender == "f" else "He"
    return ["References", "Peregrine Ashdown, former manager, peregrine.ashdown@example.org, +44 113 555 0199",
            f'"{name.split(maxsplit=1)[0]} never left a test red. {pronoun} is missed."']  # fmt: skip


def make(kind_name: str, number: int, most: float, dice: random.Random) -> Resume:
    """Make one up."""
    kind = PARTS[kind_name]
    language = kind.get("language", "en")
    name, gender, contact, personal, hidden = person(language, number, dice)
    years = round(dice.uniform(1.5, most), 1)
    jobs, used, worked = history(kind, years, language, dice)
    certified = [c.strip() for c in kind["certifications"].split(",")]
    known = [s.strip() for s in kind["skills"].split(",")]
    listed = dice.sample(known, k=min(len(known), dice.randint(3, 9)))
    skills = set(used) | set(listed)
    required = sum(skill in skills for skill in JOB["required"])  # type: ignore[attr-defined]  # a list of names
    match = "weak" if required < 2 else "strong" if required == 3 and worked >= 4 else "fair"
    graduated = (NOW - round(worked * 12)) // 12 - 1
    school = dice.choice(PARTS["schools"].strip().splitlines())
    return Resume(
        stem=f"{kind_name}-{number:02}", language=language, name=name, title=dice.choice(kind["titles"].split(", ")),
        contact=contact, personal=personal, about=dice.choice(kind["summary"]), jobs=jobs, skills=listed,
        certifications=dice.sample(certified, k=dice.randint(0, min(2, len(certified)))),
        education=[f"{kind['degree']}, {school}, {graduated}", WORDS[language]["spoken"]],
        identity=hidden, used=used, years=worked, match=match, closing=closing_lines(name, gender, language, dice),
    )  # fmt: skip


def _ascii(text: str) -> str:
    text = text.translate({0xE4: "ae", 0xF6: "oe", 0xFC: "ue", 0xDC: "Ue", 0xDF: "ss"})
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def main() -> None:
    dice, folder = random.Random(20261101), ROOT / "examples" / "resumes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows, layouts = [], sorted(LAYOUTS)
    for kind, count, most in PLAN:
        for _ in range(count):
            resume = make(kind, len(rows) + 1, most, dice)
            layout = layouts[len(rows) % len(layouts)]
            path = folder / f"{resume.stem}-{layout}{LAYOUTS[layout].suffix}"
            path.write_bytes(LAYOUTS[layout].render(resume))
            rows.append({
                "file": path.name, "text": resume.text(), "identity": resume.identity, "used": resume.used,
                "skills": sorted({*resume.used, *resume.skills}), "certifications": sorted(resume.certifications),
                "years": resume.years, "match": resume.match,
            })  # fmt: skip
    for name, content in bad_files(folder).items():
        (folder / name).write_bytes(content)
    (folder / "job.json").write_text(json.dumps(JOB, indent=2) + "\n")
    truth = ROOT / "tests" / "data" / "resumes.jsonl"
    truth.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(rows)} résumés, {len(list(folder.iterdir())) - len(rows) - 1} bad files, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
