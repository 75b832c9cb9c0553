"""The new message of a mail is told apart from its history, its signature and its HTML, and nothing of it is lost."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from graphs.content import graph as content
from graphs.support import ask
from graphs.support import graph as support
from state import RunContext, SupportState
from surefoot.testing import OpenAIEndpoint, support_responder
from tasks.embedded.summary import summarise
from tasks.html_text import looks_like_html, text_of
from tasks.mail import read_mail
from tasks.support import Ticket

MAILS = tomllib.loads((Path(__file__).parent / "data" / "mails.toml").read_text("utf-8"))["mail"]
EMBEDDED = RunContext(provider="embedded", thresholds={"category_confidence": 0.0})

NEW = "Thanks, that worked! Everything is fine again. You can close this ticket."
QUOTE = (
    "\n\nOn Tue, 3 Mar 2026 at 10:12, Ada <ada@example.com> wrote:\n"
    "> URGENT: production is down, nobody can log in, we are losing money every minute!\n> All users get error 500.\n"
)


def lines_of(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.replace("\r\n", "\n").strip("\n").split("\n")).strip()


@pytest.mark.parametrize("mail", MAILS, ids=lambda mail: mail["id"])
def test_only_what_is_new_is_the_message(mail: dict[str, str]) -> None:
    read = read_mail(mail.get("subject", ""), mail["text"])
    assert lines_of(read.text) == lines_of(mail["new"])
    assert lines_of(read.signature) == lines_of(mail.get("signature", ""))


def test_the_mails_are_of_several_programs_and_languages() -> None:
    assert len(MAILS) >= 100
    assert len({mail["id"] for mail in MAILS}) == len(MAILS)
    words = ("gmail", "outlook", "apple", "thunderbird", "yahoo", "ios", "helpdesk", "forward", "-de", "-fr", "-es")
    assert [word for word in words if sum(word in mail["id"] for mail in MAILS) < 2] == []


PIECES = st.sampled_from(
    [
        *(line for mail in MAILS if not looks_like_html(mail["text"]) for line in mail["text"].split("\n")[:12]),
        "",
        "",
        "> ",
        "-- ",
        "text: ",
        "Kind regards,",
        "From: a@b.example",
        "Sent: 3.3.2026 10:12",
        "Subject: x",
    ]
)


@given(st.lists(PIECES, max_size=25), st.sampled_from(["", "Re: x", "WG: x"]))
def test_no_line_of_a_mail_is_lost(lines: list[str], subject: str) -> None:
    text = "\n".join(lines)
    if looks_like_html(text):
        return
    read = read_mail(subject, text)
    told = f"{read.text}\n{read.quoted}\n{read.signature}".split("\n")
    plain = text.replace("\r", "\n").split("\n")
    assert Counter(line.strip() for line in told if line.strip()) == Counter(
        line.strip() for line in plain if line.strip()
    )
    assert bool(read.text.strip()) == bool(text.strip())


@given(st.text(alphabet=st.sampled_from("<>/ab&;\"'=!-p \ndiv"), max_size=200))
def test_no_html_breaks_the_reader(text: str) -> None:
    assert isinstance(text_of(f"<div>{text}</div>"), str)
    assert isinstance(read_mail("", text).text, str)


@pytest.mark.parametrize(
    "text",
    [
        "<a " * 60_000, "<div>" + "<" * 190_000, "<div>" + "<!--" * 45_000, "<html>" + "<div>" * 38_000 + "x",
        "<div>" + "</" * 90_000, '<div style="' + "max-height:0;" * 14_000 + '">x', "<blockquote>x" * 15_000,
        "> a\n" * 50_000, "a:\n" * 60_000, "Thanks,\n" * 24_000, "From: a\n" * 25_000, "On 3.3. 10:12 wrote:\n" * 9_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_the_longest_ticket_is_read_whatever_it_holds(text: str) -> None:
    read = read_mail("", text)
    assert read.text
    assert len(read.text) + len(read.quoted) + len(read.signature) < 3_000_000


@pytest.mark.parametrize(
    ("subject", "kind_and_rest"),
    [
        ("Re: Re: AW: WG: Rechnung", "Rechnung"), ("RE[2]: Login", "Login"), ("Antw: Frage", "Frage"),
        ("[ext] Re: Login", "Login"), ("TR : Panne", "Panne"), ("RV: Caída", "Caída"), ("Login", "Login"),
        ("Reset: how", "Reset: how"), ("Re:", ""), ("Answer: 42", "Answer: 42"), ("İ Re: x", "İ Re: x"),
        ("Revenue: wrong in March", "Revenue: wrong in March"), ("I: question", "question"),
    ],
)  # fmt: skip
def test_prefixes_of_a_subject_are_none_of_its_words(subject: str, kind_and_rest: str) -> None:
    assert read_mail(subject, "why?").subject == kind_and_rest


def test_the_subject_of_a_reply_is_older_than_its_message() -> None:
    assert read_mail("Re: URGENT: production is down", NEW).subject == ""
    assert read_mail("Re: refund for March", "Any news?").subject == "refund for March"
    assert read_mail("Fwd: refund for March", NEW).subject == "refund for March"


def judged(text: str, subject: str = "") -> dict[str, Any]:
    return dict(support.invoke({"text": text, "subject": subject}, context=EMBEDDED))


@pytest.mark.parametrize("subject", ["", "Re: help", "Re: URGENT: production is down, nobody can log in"])
def test_a_quoted_outage_makes_no_thanks_critical(subject: str) -> None:
    alone, quoting = judged(NEW), judged(NEW + QUOTE, subject)
    told = ("category", "confidence", "urgency", "team")
    assert [quoting[name] for name in told] == [alone[name] for name in told]
    assert quoting["message"] == NEW
    assert "production is down" in quoting["quoted"]
    assert quoting["text"] == NEW + QUOTE


def test_what_was_told_apart_is_in_the_state_with_its_origin() -> None:
    ended = judged("Where do I change my password?\n\n-- \nAda\nCritical Incident Manager")
    assert (ended["message"], ended["signature"]) == (
        "Where do I change my password?",
        "-- \nAda\nCritical Incident Manager",
    )
    assert {name for name, source in ended["provenance"].items() if source["step"] == "validate"} == {
        "message", "signature",
    }  # fmt: skip


def test_a_plain_ticket_is_its_own_message() -> None:
    ended = judged("I was charged twice for March.")
    assert (ended["message"], ended["quoted"], ended["signature"]) == ("I was charged twice for March.", "", "")
    assert "message" not in ended["provenance"]


def test_a_second_mail_on_the_thread_is_read_anew() -> None:
    graph = support.copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "1"}}
    first = graph.invoke({"text": NEW + QUOTE}, config, context=EMBEDDED)
    second = graph.invoke({"text": "<p>Now the export fails.</p>"}, config, context=EMBEDDED)
    third = graph.invoke({"text": "Where is my invoice?"}, config, context=EMBEDDED)
    assert [bool(ended["quoted"]) for ended in (first, second, third)] == [True, False, False]
    assert (second["message"], third["message"]) == ("Now the export fails.", "Where is my invoice?")
    assert ["message" in ended["provenance"] for ended in (first, second, third)] == [True, True, False]


def test_a_person_sees_the_history_beside_the_message() -> None:
    state = SupportState.model_validate({"text": NEW + QUOTE, "subject": "Re: help", "escalations": {"x": "because"}})
    told = ask(state).description
    assert told.index(NEW) < told.index("Quoted history, not judged") < told.index("production is down")


async def test_both_providers_get_the_same_message(openai_endpoint: OpenAIEndpoint) -> None:
    endpoint = openai_endpoint
    endpoint.responder, endpoint.token_probability = support_responder, 0.97
    text = "<p>Thanks, that <b>worked</b>!</p><blockquote type=cite>URGENT: production is down</blockquote>"
    given = {"text": text, "subject": "Re: URGENT help"}
    await support.ainvoke(given, context=RunContext(provider="openai"))
    assert len(endpoint.requests) >= 2
    for request in endpoint.requests:
        assert "Thanks, that worked!" in request.text
        assert "production is down" not in request.text
        assert "<b>" not in request.text
    assert Ticket(text=text).mail.text == "Thanks, that worked!"


ARTICLE = (
    "<html><head><style>p{}</style></head><body><h1>Harbour</h1><p>The town council of Westport has approved a plan to "
    "rebuild the old harbour.</p><p>Work on the quay begins in spring and will take two years, the council said.</p>"
    "<p>The harbour was closed after a storm damaged its northern wall.</p><p>Fishermen have asked for a new cold "
    "store since then, and the plan has room for one.</p><script>track('harbour')</script></body></html>"
)


def test_an_article_in_html_is_summarised_as_text() -> None:
    ended = content.invoke({"text": ARTICLE}, context=RunContext(provider="embedded"))
    assert "<" not in ended["summary"]
    assert "track" not in ended["summary"]
    assert ended["summary"] == summarise(text_of(ARTICLE))
