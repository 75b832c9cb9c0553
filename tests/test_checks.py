"""The shipped checks stop bad drafts, let good ones pass, and survive whatever text they are given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.checks import KINDS, TextCheck, boilerplate, invented, length, personal_data, repetition, unfinished

DATA = Path(__file__).parent / "data"
CHECKS: dict[str, TextCheck] = {
    "length": length(12, 160),
    "repetition": repetition(),
    "personal": personal_data(allow=["support@example.com"]),
    "boilerplate": boilerplate(),
    "unfinished": unfinished(),
    **{f"invented_{kind}": invented([kind], allow=["help.example.com"]) for kind in KINDS},
}


def drafts(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"drafts_{name}.jsonl").read_text(encoding="utf-8").splitlines()]


GOOD, BAD = drafts("good"), drafts("bad")
EMAIL = re.compile(r"\S@\S")
LONG_NUMBER = re.compile(r"\d(?:[ ./()-]{0,2}\d){6,}")


def fine(message: str | None) -> None:
    """A message is one short line without contact data and long numbers."""
    if message is not None:
        assert message
        assert "\n" not in message
        assert len(message) < 400
        assert not EMAIL.search(message)
        assert not LONG_NUMBER.search(message)


def test_the_corpus_is_large_and_speaks_three_languages() -> None:
    assert len(GOOD) >= 60
    assert len(BAD) >= 60
    for lang in ("de", "es"):
        assert sum(row["lang"] == lang for row in GOOD) >= 8
    assert {row["check"] for row in BAD} == set(CHECKS)


@pytest.mark.parametrize("row", BAD, ids=[f"{row['id']}-{row['check']}" for row in BAD])
def test_a_bad_draft_is_caught_by_its_check(row: dict[str, Any]) -> None:
    message = CHECKS[row["check"]](row["text"], row["source"])
    assert message is not None
    fine(message)


def test_at_most_one_good_draft_in_fifty_is_stopped() -> None:
    stopped = {
        row["id"]: (name, message)
        for row in GOOD
        for name, check in CHECKS.items()
        if (message := check(row["text"], row["source"]))
    }
    assert len(stopped) <= 0.02 * len(GOOD), stopped


@pytest.mark.parametrize(
    ("kind", "text", "source"),
    [
        ("amount", "You paid $1,200.00.", "I paid 1200 USD"),
        ("amount", "You paid 1.200,00 €.", "I paid EUR 1,200"),
        ("amount", "You paid $1.2k.", "I paid twelve hundred, that is 1200 dollars"),
        ("amount", "You paid $49.", "I paid forty-nine dollars"),
        ("amount", "It was 2.5 %.", "two and a half, 2,5 percent"),
        ("date", "It was on 3rd March.", "since 2026-03-03"),
        ("date", "It was on March 3, 2026.", "am 3. März"),
        ("date", "El 3 de marzo.", "03/03/2026"),
        ("date", "It was on 2026-11-16.", "on 11/16/2026"),
        ("date", "It lasted 24 hours.", "for a full 1 day"),
        ("date", "It lasted two weeks.", "seit 14 Tagen"),
        ("date", "It began at 3 pm.", "um 15 Uhr"),
        ("date", "It began on Monday.", "on 16 November 2026"),
        ("date", "We are here 24/7.", ""),
        ("name", "Dear Ms. O'Brien,", "regards, Aoife O'Brien"),
        ("name", "Hallo Frau Müller,", "Gruß, Mueller / MÜLLER"),
        ("name", "Please open Account Settings and choose Single Sign-On.", ""),
        ("link", "See https://www.example.com/a/.", "at example.com/a"),
        ("link", "Call +1 (415) 555-0137.", "415-555-0137"),
        ("link", "See help.example.com/reset.", ""),
        ("number", "Your order #48291.", "order no. 48291"),
        ("number", "Invoice QM-20931.", "invoice qm 20931"),
        ("number", "It follows ISO 27001 and HTTP 404.", ""),
    ],
)
def test_the_same_fact_in_another_format_is_known(kind: str, text: str, source: str) -> None:
    assert CHECKS[f"invented_{kind}"](text, source) is None


@pytest.mark.parametrize(
    ("kind", "text", "source"),
    [
        ("amount", "You paid 1,200.50 USD.", "I paid 1200 USD"),
        ("amount", "You paid $20.", "on the 2026-10-20 at 20:20"),
        ("date", "It was on 3 March 2025.", "since 2026-03-03"),
        ("date", "It takes a day, within 2 hours.", "2 users"),
        ("date", "Wir melden uns heute noch bei Ihnen und nicht später.", "Bitte um Antwort"),
        ("name", "Hi Tom Baker,", "regards, Tom Miller"),
        ("link", "See ｈｔｔｐｓ://evil.example.net/x", "example.com"),
        ("number", "Order ４８２９９ is on its way, order 48299.", "order 48291"),
    ],
)
def test_another_value_is_invented(kind: str, text: str, source: str) -> None:
    message = CHECKS[f"invented_{kind}"](text, source)
    assert message is not None
    fine(message)


def test_allowed_words_are_known() -> None:
    check = invented(allow=["Emily Carter", "Quillworks", "help.example.com"])
    assert check("Hello,\n\nsee help.example.com/start.\n\nBest regards,\nEmily Carter", "hi") is None
    assert check("Hello,\n\nsee example.com/start.", "hi") is not None


def test_a_card_hidden_by_other_digits_and_invisible_signs_is_found() -> None:
    for card in ("4111\u200b1111\u00a01111 1111", "４１１１１１１１１１１１１１１１", "4111.1111.1111.1111"):
        assert personal_data()(f"the card {card} was charged", card) == "repeats a card number in full"
    assert personal_data()("the order 4111111111111112 was sent", "") is None


def test_one_contact_is_of_the_author_and_another_of_somebody_else() -> None:
    check = personal_data(allow=["support@example.com"])
    assert check("Write to Ann@Example.com or support@example.com, 555-0142.", "ann@example.com, 555 0142") is None
    assert check("Write to bob@example.com.", "ann@example.com") is not None
    assert check("It went to 12 Harbour Street.", "I live at 12 Harbour St") is None
    assert check("It went to 14 Harbour Street.", "I live at 12 Harbour St") is not None


def test_good_prose_is_no_loop_however_long() -> None:
    prose = " ".join(re.sub(r"\s+", " ", row["source"]) for row in GOOD)
    assert len(prose) > 6_000
    assert repetition()(prose, "") is None
    assert repetition()("Thank you. Thank you.", "") is None
    assert repetition()("ありがとうございます" * 60, "") is not None


def test_a_summary_is_shorter_than_its_article() -> None:
    check = length(1, 100, max_ratio=0.5)
    assert check("four words are here", "eight words are in here and no more") is None
    assert check("five words are in here", "eight words are in here and no more") is not None
    assert length(4, 9)("短い返事です", "") is None


def test_wrong_use_is_refused_at_once() -> None:
    for wrong in (lambda: length(5, 2), lambda: length(1, 2, max_ratio=0), lambda: invented(["price"])):  # type: ignore[list-item]
        with pytest.raises(ValueError):
            wrong()
    for text in (invented, personal_data):
        with pytest.raises(TypeError):
            text(allow="help.example.com")  # type: ignore[operator]


SEEDS = [
    "Hi Ann, ", "Dear Mr. ", "$1,200.00 ", "1.200,00 €", "3rd March ", "2026-02-30 ", "within 24 hours ",
    "by Friday ", "ann@example.com ",
    "+1 415 555 0137 ", "https://example.com/a?b ", "QM-20931 ", "4111 1111 1111 1111 ", "DE89370400440532013000 ",
    "{{name}} ", "[Name]",
    "20 % ", "forty-nine dollars ", "v1.2.3 ", "regards,\nBob ", "\x00", "\ud800", "²", "٣", "ⅷ", "½ €", "0/0/0000 ",
    "99:99 ", "ßẞİı",
]  # fmt: skip
texts = st.lists(st.one_of(st.sampled_from(SEEDS), st.text(max_size=12)), max_size=12).map("".join)


@settings(max_examples=150)
@given(texts, texts)
def test_no_string_makes_a_check_raise_or_tell(text: str, source: str) -> None:
    for check in CHECKS.values():
        message = check(text, source)
        fine(message)
        assert check(text, source) == message


@settings(max_examples=150)
@given(texts)
def test_a_text_invents_nothing_that_is_its_own_source(text: str) -> None:
    for kind in KINDS:
        assert CHECKS[f"invented_{kind}"](text, text) is None


@given(st.integers(0, 10**7), st.integers(0, 99), st.sampled_from(["{:,}.{:02} USD", "${:,}.{:02}", "€ {}.{:02}"]))
def test_an_amount_is_known_in_every_format(whole: int, cents: int, form: str) -> None:
    written = form.format(whole, cents)
    german = f"{whole:,}".replace(",", ".") + f",{cents:02}" + (" €" if "€" in form else " $")
    assert invented(["amount"])(f"You paid {german} to us.", f"I paid {written}") is None
    assert invented(["amount"])(f"You paid {german} to us.", "I paid") is not None


HOSTILE = [
    "100% ",
    "a", "1", "@", "a@", "a.", "1 ", "1-", "1,111", "$1 ", " ", "\n", "A ", "Ab ", "Hi ", "+1", "0 11 ", "[name ",
    "{{", "<a name ", "_",
    "http://", "www.a", "\u0301\u0327", "DE89 ", "4111 ", "Mr. Ab ", "within 1 ", "3 march ", "3/3/", "12:30",
    "thanks\n\n\n", "will ",
    "twenty one ", "\ud800", "1.1.1.1 ", "A1-", "Ab & ", "1 Ab Cd ", "Calle de ", "abc def ghi. ", "tel +1 2",
    " (at) ", "AbcdEfgh",
]  # fmt: skip


LONG = 60_000


@pytest.mark.parametrize("unit", HOSTILE, ids=[repr(unit) for unit in HOSTILE])
@pytest.mark.timeout(30)
def test_a_long_hostile_text_takes_no_more_than_its_length(unit: str) -> None:
    """At this length a quadratic pattern would take minutes and meet the time limit."""
    hostile = (unit * (LONG // len(unit) + 1))[:LONG]
    for check in CHECKS.values():
        fine(check(f"ok {hostile}!", f"so {hostile}?"))


@pytest.mark.parametrize(
    "text", ["Thanks,\nAlex", "Best,\nAlex\nSupport", "Regards, Maria Lopez", "Our engineer Priya is on it."]
)
def test_a_signature_or_a_colleague_needs_a_source(text: str) -> None:
    assert CHECKS["invented_name"](text, "the export is broken") is not None


SENTENCES = "Thank you for writing to us. We have passed your message to the right team and they will look into it."


@pytest.mark.parametrize("end", range(len("Thank you for writing to us. We have"), len(SENTENCES) - 1, 3))
def test_a_text_that_is_cut_off_in_a_sentence_is_stopped(end: int) -> None:
    assert unfinished()(SENTENCES[:end], "") is not None


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "\n\nKind regards\nThe support team",
        "\n\nMit freundlichen Grüßen\nIhr Support",
        " Best regards, the support team",
        '"',
        "\n\n- Anna",
    ],
)
def test_signatures_and_quotes_are_no_cut(ending: str) -> None:
    assert unfinished()(SENTENCES + ending, "") is None


@pytest.mark.parametrize("text", [f"```\n{SENTENCES}\n```", f"Sure! Here is what you asked for:\n\n{SENTENCES}"])
def test_wrappings_of_the_model_are_stopped(text: str) -> None:
    assert boilerplate()(text, "") is not None
