"""First responses from templates: length, language, variety, and nothing that a gate would refuse."""

from __future__ import annotations

import re

import pytest

from nodes.checks import boilerplate, invented, length, personal_data, repetition
from state.support import CATEGORIES, URGENCIES
from tasks import data
from tasks.embedded import support, support_draft, support_text

TEAM = {"bug": "engineering", "feature_request": "product", "billing": "finance", "general": "support_tier_1"}


def _draft(ticket: data.LabelledTicket, *, plain: bool = False) -> str:
    team = "escalations" if ticket.urgency == "critical" else TEAM[ticket.category]
    return support.draft(ticket.subject, ticket.text, ticket.category, ticket.urgency, team, "customer-1", plain)


TICKETS = (*data.support_tickets(), *data.support_phrases())


@pytest.mark.parametrize("plain", [False, True])
def test_drafts_keep_to_the_rules(plain: bool) -> None:
    for ticket in TICKETS:
        text = _draft(ticket, plain=plain)
        assert 40 <= len(text.split()) <= 110, text
        assert not re.search(r"\d|[{}<>@$€£]|https?:", text), text


@pytest.mark.parametrize(
    "sample",
    [
        "",
        "the export hangs",
        "der Export hängt und wir können nicht arbeiten",
        "no puedo exportar los datos y es urgente",
    ],
)
def test_every_combination_has_a_draft(sample: str) -> None:
    for category in CATEGORIES:
        for urgency in URGENCIES:
            for team in ("escalations", TEAM[category]):
                for plain in (False, True):
                    words = support.draft("", sample, category, urgency, team, "", plain).split()
                    assert 40 <= len(words) <= 110


def test_the_same_ticket_gets_the_same_draft() -> None:
    ticket = TICKETS[0]
    assert _draft(ticket) == _draft(ticket)


def test_drafts_do_not_all_read_alike() -> None:
    drafts = [_draft(ticket) for ticket in TICKETS]
    assert len(set(drafts)) > 0.4 * len(drafts)


def test_a_draft_answers_in_the_language_of_the_ticket() -> None:
    german = support.draft("", "Die Seite lädt nicht und wir können nicht arbeiten", "bug", "high", "engineering", "")
    spanish = support.draft("", "La página no carga y no podemos trabajar", "bug", "high", "engineering", "")
    french = support.draft("", "La page ne charge pas et nous attendons", "bug", "high", "engineering", "")
    assert support_text.language("", german) == "de"
    assert support_text.language("", spanish) == "es"
    assert support_text.language("", french) == "en"


def test_nothing_of_the_customer_is_repeated() -> None:
    text = "I am Zebulon Quux, zebulon@example.com, 555-0142, owed 312.50 since 3 May, see https://example.org/x"
    answer = support.draft("Quux GmbH", text, "billing", "high", "finance", "Zebulon Quux")
    assert not re.search(r"(?i)zebulon|quux|example|555|312|may\b|gmbh", answer)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("A dark theme would be great, my eyes hurt about midnight.", "feature_request"),
        ("I want to report that I am above the limit and about to leave.", "general"),
        ("Please send us your SOC 2 report.", "general"),
        ("The planner in the plan view is planned badly.", "bug"),
        ("I am taxed by this, a taxi would be faster.", "billing"),
        ("The card on the board has a file and a role, the search and the calendar are empty.", "bug"),
        ("Le plan de la ville et les plans de l'appartement", "general"),
    ],
)
def test_a_topic_is_not_claimed_without_evidence(text: str, category: str) -> None:
    named = [form[1] for topics in support_draft._templates()["topics"].values() for topic in topics.values()
             for form in topic.values()]  # fmt: skip
    assert len(named) > 60
    for customer in map(str, range(12)):
        said = support.draft("", text, category, "low", TEAM[category], customer)
        assert [topic for topic in named if topic in said] == []


@pytest.mark.parametrize(
    ("text", "category", "topic"),
    [
        ("The export hangs. Each export to CSV stops at 40 %.", "bug", "the export"),
        ("Der Kalender ist leer, auch der geteilte Kalender.", "bug", "den Kalender"),
        ("La factura de marzo es incorrecta, la factura de abril también.", "billing", "una factura o recibo"),
    ],
)
def test_a_topic_that_a_ticket_names_again_and_again_is_named(text: str, category: str, topic: str) -> None:
    assert topic in support.draft("", text, category, "medium", TEAM[category], "")


@pytest.mark.parametrize("language", ["the page is empty", "die Seite ist leer und wir warten", "la página está vacía"])
@pytest.mark.parametrize("category", CATEGORIES)
def test_a_draft_says_nothing_of_a_category_that_is_unsure(language: str, category: str) -> None:
    sentences = support_draft._templates()[support_text.language("", language)]
    claims = [one for kind in CATEGORIES if kind != "general" for one in sentences["opening"][kind]]
    for customer in map(str, range(12)):
        unsure = support.draft("", language, category, "medium", TEAM[category], customer, confidence=0.6)
        assert not any(one in unsure for one in claims)
        assert any(one in unsure for one in sentences["opening"]["general"])
        assert 40 <= len(unsure.split()) <= 110


def test_text_without_letters_is_asked_about() -> None:
    assert "describe" in support.draft("", "🔥🔥", "general", "low", "support_tier_1", "")


def test_drafts_pass_the_gate() -> None:
    checks = [boilerplate(), invented(), length(40, 110), personal_data(), repetition()]
    teams = " ".join([*TEAM.values(), "escalations"]).replace("_", " ")
    refused = []
    for ticket in TICKETS:
        source = f"{ticket.subject}\n{ticket.text}\n{teams}"
        for plain in (False, True):
            text = _draft(ticket, plain=plain)
            refused += [(said, text) for check in checks if (said := check(text, source))]
    assert len(refused) <= 0.01 * 2 * len(TICKETS), refused[:5]
