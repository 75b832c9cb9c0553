"""An answer that came whole and did not fit is asked for once more, with what was wrong, and never twice."""

from __future__ import annotations

from typing import Any

import pytest
from answer_schemas import SCHEMAS, Draft, Ticket, corpus
from hypothesis import given
from hypothesis import strategies as st

from nodes.call import Call
from nodes.call.parsing import parse
from nodes.errors import CallError, InvalidOutput, Throttled, Transient, Truncated
from state import RunContext
from surefoot.testing import Fault, OpenAIEndpoint, empty, hang, refusal, says, status, throttle, truncated

PROMPT = "Which ticket is this?"
WRONG = says('{"category": "weather", "urgency": "high"}')


def call(**options: Any) -> Call:
    return Call(**{"step": "sort", "timeout_s": 10.0} | options)


async def test_the_second_request_is_told_what_was_wrong_and_nothing_else(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(WRONG)
    one = call()
    reply = await one.model(PROMPT, Ticket)
    assert reply.value.category == "bug"
    assert (one.usage.calls, one.usage.reasked) == (2, 1)
    first, second = openai_endpoint.requests
    assert "category: Input should be" in second.text
    assert "weather" not in second.text
    assert len(second.body["messages"]) == len(first.body["messages"])


async def test_both_reasons_are_told_when_the_second_answer_does_not_fit_either(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    openai_endpoint.script(WRONG, says("no idea"))
    one = call()
    with pytest.raises(InvalidOutput, match=r"category: .*; asked again: the answer holds no JSON object"):
        await one.model(PROMPT, Ticket)
    assert openai_endpoint.calls == 2


@pytest.mark.parametrize("second", [status(500), throttle(1), refusal(), truncated()])
async def test_a_second_request_that_fails_otherwise_leaves_the_first_reason(
    openai_endpoint: OpenAIEndpoint, second: Fault
) -> None:
    openai_endpoint.script(WRONG, second)
    with pytest.raises(InvalidOutput, match=r"^category: [^;]*$"):
        await call().model(PROMPT, Ticket)
    assert openai_endpoint.calls == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (truncated(), Truncated),
        (truncated("stop"), Truncated),
        (empty(), InvalidOutput),
        (status(500), Transient),
        (throttle(1), Throttled),
    ],
)
async def test_nothing_is_asked_again_that_did_not_come_whole(
    openai_endpoint: OpenAIEndpoint, fault: Fault, error: type[CallError]
) -> None:
    openai_endpoint.script(fault)
    with pytest.raises(error):
        await call().model(PROMPT, Ticket)
    assert openai_endpoint.calls == 1


async def test_nothing_is_asked_again_when_the_time_is_nearly_up(openai_endpoint: OpenAIEndpoint) -> None:
    late = hang(2)
    openai_endpoint.script(Fault(delay_s=late.delay_s, shape=WRONG.shape))
    with pytest.raises(InvalidOutput):
        await call(timeout_s=3.5).model(PROMPT, Ticket)
    assert openai_endpoint.calls == 1


async def test_nothing_is_asked_again_that_the_caps_have_no_room_for(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(WRONG)
    one = call(max_cost_microusd=300, thread="t")
    with pytest.raises(InvalidOutput, match=r"^category: [^;]*$"):
        await one.model(PROMPT, Ticket, max_tokens=64)
    assert openai_endpoint.calls == 1


async def test_text_is_never_asked_for_again(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(empty())
    with pytest.raises(InvalidOutput):
        await call().model(PROMPT)
    assert openai_endpoint.calls == 1


def test_an_attempt_records_what_was_repaired_and_asked_again(openai_endpoint: OpenAIEndpoint) -> None:
    from graphs.support import graph
    from surefoot.testing import support_responder

    openai_endpoint.responder, openai_endpoint.token_probability = support_responder, 0.97
    openai_endpoint.script(says('{"category": "weather"}'), says("{'category': 'bug',}"))
    values = graph.invoke({"text": "The export crashes with an error."}, context=RunContext(provider="openai"))
    first = values["attempts"][0]
    assert (first["step"], first["calls"], first["reasked"], first["repaired"]) == ("classify", 2, 1, 1)


# the corpus


@pytest.mark.parametrize("row", corpus(), ids=lambda row: row["id"])
def test_an_answer_of_the_corpus_is_read_exactly_or_refused(row: dict[str, Any]) -> None:
    schema = SCHEMAS[row["schema"]]
    try:
        read = parse(row["text"], schema, finish_reason=row["finish_reason"]).value.model_dump()
    except CallError:
        read = None
    assert read == row["value"]


def test_the_corpus_is_large_and_mixed() -> None:
    rows = corpus()
    assert len(rows) >= 120
    assert len({row["kind"] for row in rows}) >= 60
    assert 0.3 < sum(row["value"] is None for row in rows) / len(rows) < 0.7


DAMAGE = (
    lambda text: text.replace('"', "'"),
    lambda text: text[:-1] + ",}",
    lambda text: text.replace(": ", ":"),
    lambda text: f"```json\n{text}\n```",
    lambda text: f"Here you are:\n{text}\nBye.",
    lambda text: text.replace('"draft"', "draft"),
    lambda text: text.replace("\\n", "\n"),
    lambda text: text.replace('\\"', '"'),
    lambda text: text.replace('"', "\u201c"),
    lambda text: f'{{"answer": {text}}}',
    lambda text: text.replace("\\", "\\\\").replace('"', '\\"'),
    lambda text: text[: len(text) * 2 // 3],
    lambda text: text + text,
)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60), st.data())
def test_damaged_objects_are_read_exactly_or_refused(text: str, data: st.DataObject) -> None:
    import json

    written = json.dumps(text, ensure_ascii=data.draw(st.booleans()))
    damaged = f'{{"draft": {written}}}'
    for damage in data.draw(st.lists(st.sampled_from(DAMAGE), max_size=2)):
        damaged = damage(damaged)
    try:
        read = parse(damaged, Draft).value.draft
    except CallError:
        return
    # A damage that doubles backslashes may leave a text in which the escapes themselves are the value.
    assert _plain(read) in {_plain(text), _plain(written[1:-1])}


def test_a_damaged_object_with_a_form_feed_is_refused() -> None:
    # The mending library would leave its escape as two characters.
    for damaged in ("{'draft': '\\f'}", "{'draft': 'C:\\\\\\folder'}"):
        with pytest.raises(InvalidOutput, match="escapes cannot be read for certain"):
            parse(damaged, Draft)
    assert parse("{'draft': 'a\\\\f'}", Draft).value.draft == "a\\f"


@pytest.mark.parametrize("text", ["0}", "a}b", "}", "]}", "it's {fine}", "a', 'b", "x'}", "{", "say: 'no'}"])
def test_brackets_inside_of_single_quotes_are_part_of_the_value(text: str) -> None:
    damaged = "{'draft': '" + text + "'}"
    for answer in (damaged, f"Here: {damaged} Bye."):
        try:
            read = parse(answer, Draft).value.draft
        except CallError:
            continue
        assert read == text


def _plain(text: str) -> str:
    """Leave out what the damage itself changed beyond recognition: quotes of all kinds, and spaces after colons."""
    for char in "\"'\u201c\u201d\u201e\\ \n\r":
        text = text.replace(char, "")
    return text.replace("\t", "")
