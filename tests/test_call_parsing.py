"""Answers become values only when the text holds exactly that value."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nodes.call.parsing import parse, parse_text
from nodes.errors import CallError, InvalidOutput, Refused, Transient, Truncated


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class Answer(BaseModel):
    category: Literal["bug", "feature_request", "billing"]
    note: str = ""
    score: float | None = None
    level: Level = Level.LOW


class Free(BaseModel):
    text: str
    number: int
    flags: list[bool]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


GOOD = '{"category": "bug", "note": "a {brace} and a \\"quote\\""}'


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (GOOD, "strict"),
        (f"  \n{GOOD}\n", "strict"),
        (f"```json\n{GOOD}\n```", "stripped"),
        (f"```\n{GOOD}\n```\n", "stripped"),
        (f"Sure! Here it is:\n```json\n{GOOD}\n```\nAnything else?", "stripped"),
        (f"The answer is {GOOD}.", "stripped"),
        (f"<think>Could be {{billing}}, or not.</think>\n{GOOD}", "stripped"),
        (f"See [1] and [2]: {GOOD}", "stripped"),
        (f"{GOOD}\nOr, to say it again:\n{GOOD}", "stripped"),
        (f"[{GOOD}]", "strict"),
        (f"[{GOOD}, {GOOD}]", "strict"),
    ],
)
def test_the_same_object_is_found_in_every_wrapping(text: str, how: str) -> None:
    parsed = parse(text, Answer)
    assert parsed.value == Answer(category="bug", note='a {brace} and a "quote"')
    assert parsed.how == how


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{'category': 'bug', 'note': 'x'}", "x"),
        ('{category: "bug", note: "x",}', "x"),
        ('{"category": "bug" "note": "x"}', "x"),
        ('{"category": bug, "note": "x"}', "x"),
        ('{"category": "bug", "note": "line one\nline two"}', "line one\nline two"),
        ('{"category": "bug", "note": "x", "score": None}', "x"),
        ('Well: {"category": "bug"; "note": "x"}', "x"),
    ],
)
def test_punctuation_is_repaired(text: str, note: str) -> None:
    parsed = parse(text, Answer)
    assert (parsed.value.category, parsed.value.note, parsed.how) == ("bug", note, "repaired")


@pytest.mark.parametrize(
    "text",
    [
        '{"category": "bug"} or {"category": "billing"}',
        '[{"category": "bug"}, {"category": "billing"}]',
        '{"category": "bug", "category": "billing"}',
        "{'category': 'bug', 'category': 'billing'}",
        '{"category": "other"}',
        '{"category": "debug"}',
        '{"category": }',
        '{"category": "bug", "score": NaN}',
        '{"category": "bug", "note": }',
        '{"wrapped": {"category": "bug"}}',
        '{category: wrong wrong, "inner": {"category": "bug"}}',
        '{"category": "bug" {"category": "billing"}}',
        '{"category": "bug"} and {category: "bug",}',
        '{"category": "feature request"}',
        '{"category": null}',
        '{"category": ["bug"]}',
        "null",
        "[]",
        "{}",
        '"bug"',
        "bug",
        "42",
        "",
        "   \n",
        "I think it is a bug.",
    ],
)
def test_what_is_not_said_clearly_is_refused(text: str) -> None:
    with pytest.raises(InvalidOutput):
        parse(text, Answer)


@pytest.mark.parametrize("text", ['{"n": 1,5}', '{"n": 1 000}', '{"n": 0x1F}', '{"n": 5%}', '{"n": 007}'])
def test_numbers_are_never_guessed(text: str) -> None:
    class Number(BaseModel):
        n: int

    with pytest.raises(InvalidOutput):
        parse(text, Number)


@pytest.mark.parametrize(
    "text",
    ['{"category": "bug", "no', '{"category": "bug"', 'Here: {"category": "bug", "note": "and then', "<think>hmm"],
)
@pytest.mark.parametrize("finish_reason", ["stop", "length", ""])
def test_an_end_that_is_missing_is_never_made_up(text: str, finish_reason: str) -> None:
    with pytest.raises(Truncated):
        parse(text, Answer, finish_reason=finish_reason)


def test_a_whole_object_survives_a_limit_that_cut_only_white_space() -> None:
    assert parse(GOOD + "\n\n\n", Answer, finish_reason="length").value.category == "bug"


def test_an_object_in_prose_that_was_cut_off_is_not_trusted() -> None:
    with pytest.raises(Truncated):
        parse(f"First guess: {GOOD}. But looking closer", Answer, finish_reason="length")


def test_a_reasoning_model_that_was_cut_off_before_its_answer_is_truncated() -> None:
    with pytest.raises(Truncated):
        parse("", Answer, finish_reason="length")


@pytest.mark.parametrize(
    ("said", "meant"), [("Bug", "bug"), (" BILLING ", "billing"), ("Feature_Request\n", "feature_request")]
)
def test_case_and_space_of_enums_do_not_matter(said: str, meant: str) -> None:
    parsed = parse(json.dumps({"category": said, "level": " High"}), Answer)
    assert (parsed.value.category, parsed.value.level, parsed.how) == (meant, Level.HIGH, "repaired")


def test_extra_keys_are_ignored_even_where_the_schema_forbids_them() -> None:
    assert parse('{"name": "x", "comment": "?"}', Strict).value == Strict(name="x")


def test_refusals_and_filters() -> None:
    with pytest.raises(Refused):
        parse(GOOD, Answer, refused=True)
    with pytest.raises(Refused):
        parse("", Answer, finish_reason="content_filter")
    with pytest.raises(Refused):
        parse_text("partial", finish_reason="content_filter")


@pytest.mark.parametrize("text", ["<!DOCTYPE html><html></html>", "  <HTML><body>{}</body>"])
def test_a_web_page_is_a_fault_of_the_connection(text: str) -> None:
    with pytest.raises(Transient):
        parse(text, Answer)
    with pytest.raises(Transient):
        parse_text(text)


def test_plain_text() -> None:
    assert parse_text("  hello \n").value == "hello"
    assert parse_text("<think>hm</think> hello").value == "hello"
    with pytest.raises(InvalidOutput):
        parse_text(" ")
    with pytest.raises(Truncated):
        parse_text("half a sen", finish_reason="length")


def test_messages_name_fields_and_never_values() -> None:
    class Picky(BaseModel):
        mail: str = Field(max_length=3)
        kind: Literal["a", "b"]
        deep: dict[str, int] = Field(default_factory=dict)

        @field_validator("mail")
        @classmethod
        def check(cls, value: str) -> str:
            raise ValueError(f"bad mail {value}")

    secret = "jane@corp"
    for mail in (secret, "j@c"):
        with pytest.raises(InvalidOutput) as caught:
            parse(json.dumps({"mail": mail, "kind": secret, "deep": {secret: "many"}}), Picky)
        message = str(caught.value)
        assert "mail" in message
        assert "kind: Input should be 'a' or 'b'" in message
        assert secret not in message
        assert "j@c" not in message


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(CallError):
        parse("[" * 100_000, Answer)
    with pytest.raises(CallError):
        parse('{"category": ' * 50_000 + "1" + "}" * 50_000, Answer)


free = st.builds(
    lambda text, number, flags: {"text": text, "number": number, "flags": flags},
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.integers(-(10**12), 10**12),
    st.lists(st.booleans(), max_size=4),
)
chatter = st.text(alphabet=st.characters(exclude_characters='{}[]<>`"', exclude_categories=["Cs"]), max_size=40)


@given(value=free, before=chatter, after=chatter, fence=st.booleans(), ascii_only=st.booleans(), indent=st.booleans())
@settings(max_examples=150)
def test_wrapping_never_changes_a_value(
    value: dict[str, Any], before: str, after: str, fence: bool, ascii_only: bool, indent: bool
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=2 if indent else None)
    text = f"{before}\n```json\n{body}\n```\n{after}" if fence else f"{before}{body}{after}"
    assert parse(text, Free).value == Free(**value)


@given(text=st.text() | st.text(alphabet='{}[]":,\\ \n`abtruefalsn0129.-', max_size=60))
@example(text='{"\\ud800": 1}')
@example(text="```")
@settings(max_examples=400)
def test_any_text_gives_a_value_or_a_call_error(text: str) -> None:
    for schema in (Answer, Free):
        with suppress(InvalidOutput, Truncated, Transient):
            assert isinstance(parse(text, schema).value, schema)


@given(value=free, cut=st.floats(0.05, 0.95))
@settings(max_examples=200)
def test_no_prefix_of_an_answer_is_taken_for_the_whole(value: dict[str, Any], cut: float) -> None:
    body = json.dumps(value)
    prefix = body[: max(1, int(len(body) * cut))]
    for finish_reason in ("stop", "length"):
        with pytest.raises(Truncated):
            parse(prefix, Free, finish_reason=finish_reason)


@given(value=free)
@settings(max_examples=150)
def test_a_repair_gives_the_value_that_was_damaged_or_nothing(value: dict[str, Any]) -> None:
    body = json.dumps(value)
    for damaged in (body[:-1] + ",}", body.replace('"number"', "number"), body.replace(', "number"', ' "number"')):
        try:
            assert parse(damaged, Free).value.number == value["number"]
        except CallError:
            continue
