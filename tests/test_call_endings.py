"""Only an answer that is known to be whole and good is one: by its finish reason, its reasoning and its tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from nodes import guard
from nodes.call import Call
from nodes.call.endings import ending_of, normal
from nodes.call.maker_answers import ENDINGS
from nodes.call.parsing import parse, parse_text
from nodes.call.reasoning import ReasoningFilter, split_reasoning
from nodes.errors import CallError, InvalidOutput, Refused, Transient, Truncated
from surefoot.testing import KEY, MODEL, Fault, OpenAIEndpoint, body, chunk, completion, stream_of


class Title(BaseModel):
    title: str


@tool
def double(number: int) -> int:
    """Double a number."""
    return number * 2


def model_of(endpoint: OpenAIEndpoint, **options: Any) -> ChatOpenAI:
    return guard(ChatOpenAI(model=MODEL, base_url=endpoint.url, api_key=SecretStr(KEY), **options), price="free")


def together(chunks: list[Any]) -> AIMessageChunk:
    whole: AIMessageChunk = sum(chunks[1:], chunks[0])
    return whole


async def asked(schema: type[BaseModel] | None = None) -> Any:
    return (await Call(step="t", timeout_s=10.0).model("A title, please", schema)).value  # type: ignore[arg-type] # either


GOOD = ["stop", "STOP", "end_turn", "eos", "eos_token", "stop_sequence", "COMPLETE", "FinishReason.STOP", "stopstop"]
BAD = [
    ("length", Truncated), ("MAX_TOKENS", Truncated), ("model_length", Truncated), ("pause_turn", Truncated),
    ("content_filter", Refused), ("SAFETY", Refused), ("RECITATION", Refused), ("refusal", Refused),
    ("guardrail_intervened", Refused), ("error", Transient), ("abort", Transient), ("network_error", Transient),
    ("MALFORMED_FUNCTION_CALL", InvalidOutput), ("malformed_model_output", InvalidOutput),
    # Of makers that nobody has listed: their words only ever make it worse.
    ("budget_limit_hit", Truncated), ("blocked_by_policy", Refused), ("worker_failed", Transient),
]  # fmt: skip


@pytest.mark.parametrize("reason", GOOD)
async def test_a_known_good_reason_passes(openai_endpoint: OpenAIEndpoint, reason: str) -> None:
    openai_endpoint.always(completion("Bank and papers", reason))
    assert await asked() == "Bank and papers"
    assert model_of(openai_endpoint).invoke("hi").text == "Bank and papers"


@pytest.mark.parametrize(("reason", "error"), BAD)
async def test_a_known_bad_reason_is_what_it_says(
    openai_endpoint: OpenAIEndpoint, reason: str, error: type[CallError]
) -> None:
    openai_endpoint.always(completion("Bank and papers.", reason))
    with pytest.raises(error):
        await asked()
    with pytest.raises(error):
        model_of(openai_endpoint).invoke("hi")
    if error is not Truncated:
        openai_endpoint.always(completion('{"title": "Bank"}', reason))
        with pytest.raises(error):
            await asked(Title)


async def test_an_unknown_reason_is_named_and_needs_proof(openai_endpoint: OpenAIEndpoint) -> None:
    for text in ("The order left the", "All is well."):
        openai_endpoint.always(completion(text, "vanished"))
        with pytest.raises(Truncated, match=r"not known to be good .finish reason 'vanished'"):
            await asked()
        with pytest.raises(Truncated, match="'vanished'"):
            model_of(openai_endpoint).invoke("hi")
    openai_endpoint.always(completion('{"title": "Bank"}', "vanished"))
    assert await asked(Title) == Title(title="Bank")
    assert model_of(openai_endpoint).invoke("hi").text == '{"title": "Bank"}'
    openai_endpoint.always(completion('Perhaps {"title": "Bank"} or', "vanished"))
    with pytest.raises(Truncated):
        await asked(Title)


async def test_a_call_that_gave_no_tools_accepts_no_request_for_one(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(completion("Let me look that up.", "tool_calls"))
    for schema in (None, Title):
        with pytest.raises(InvalidOutput, match="asked for a tool, and was given none"):
            await asked(schema)
    # Some servers make a tool of the schema, and answer with its arguments.
    openai_endpoint.always(completion('{"title": "Bank"}', "tool_calls"))
    assert await asked(Title) == Title(title="Bank")


def test_every_one_of_several_answers_is_judged(openai_endpoint: OpenAIEndpoint) -> None:
    fault = completion("All is well.")
    answer = json.loads(fault.raw or "")
    second = {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "All is"}}
    openai_endpoint.always(body(answer | {"choices": [*answer["choices"], second]}))
    with pytest.raises(Truncated):
        model_of(openai_endpoint, n=2).generate([[HumanMessage("hi")]])


async def test_a_reason_that_looks_like_none_is_never_quoted(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(completion("All is well", "jane@example.com paid 30 EUR; the answer goes on like this"))
    with pytest.raises(Truncated) as told:
        await asked()
    assert "jane" not in str(told.value)


async def test_an_endpoint_that_never_says_why_it_ended(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(completion("All is well.", None))
    assert await asked() == "All is well."
    assert model_of(openai_endpoint).invoke("hi").text == "All is well."
    openai_endpoint.always(completion('{"title": "Bank"}', None))
    assert await asked(Title) == Title(title="Bank")
    openai_endpoint.always(completion("The order left the", None))
    for ask in (asked, lambda: model_of(openai_endpoint).ainvoke("hi")):
        with pytest.raises(Truncated, match="did not say why it ended"):
            await ask()
    used_up = {"prompt_tokens": 10, "completion_tokens": 512, "total_tokens": 522}
    openai_endpoint.always(completion("All is well. Then,", None, used_up))
    with pytest.raises(Truncated):
        await asked()
    openai_endpoint.always(completion("All is well.", None, used_up))
    with pytest.raises(Truncated):
        await asked()


def test_a_stream_without_a_reason_counts_when_its_usage_came_last(openai_endpoint: OpenAIEndpoint) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    last = chunk({}, usage=usage) | {"choices": []}
    model = model_of(openai_endpoint, stream_usage=True)
    openai_endpoint.script(stream_of(chunk({"content": "All is"}), chunk({"content": " well."}), last, "[DONE]"))
    assert together(list(model.stream("hi"))).text == "All is well."
    openai_endpoint.script(stream_of(chunk({"content": "All is"}), chunk({"content": " well."}), "[DONE]"))
    with pytest.raises(Truncated, match="the stream ended before the answer did"):
        list(model.stream("hi"))
    openai_endpoint.script(stream_of(chunk({"content": "All is"}, usage=usage), chunk({"content": " we"}, usage=usage)))
    with pytest.raises(Truncated):
        list(model.stream("hi"))


def test_models_of_other_makers_that_tell_no_reason_are_taken_at_their_word() -> None:
    from langchain_core.language_models import FakeListChatModel

    model = guard(FakeListChatModel(responses=["Milk and the bank"]), price="free")
    assert model.invoke("hi").text == "Milk and the bank"


@given(st.sampled_from(sorted(ENDINGS)), st.integers(1, 3))
def test_a_reason_means_the_same_in_every_form(reason: str, times: int) -> None:
    assert ending_of(reason.upper()) == ending_of(reason * times) == ENDINGS[reason]
    assert normal(f"FinishReason.{reason.upper()}") == reason


# reasoning


THOUGHT = "The user wants a short title."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{THOUGHT}</think>Bank",
        f"<think>\n{THOUGHT}\n</think>\n\nBank",
        f"<THINKING>{THOUGHT}</THINKING>\nBank",
        f"<think>{THOUGHT}</think><think>Again.</think>Bank",
        f"<thought>{THOUGHT}</thought>Bank",
        f"<seed:think>{THOUGHT}</seed:think>Bank",
        f"[THINK]{THOUGHT}[/THINK]Bank",
        f"◁think▷{THOUGHT}◁/think▷Bank",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|>\n\n<|begin_of_solution|>Bank<|end_of_solution|>",
        f"<think>{THOUGHT}</think>\n<answer>Bank</answer>",
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>Bank",
        # Only the closing tag comes: the template of the prompt has opened it.
        f"{THOUGHT}\n</think>\n\nBank",
        f"{THOUGHT}</think>Bank",
        f"{THOUGHT} </think> Bank",
        "</think>\n\nBank",
        f"{THOUGHT}\n</think>\n</think>\n\nBank",
        f"I should not write `<think>` here.\n{THOUGHT}\n</think>\n\nBank",
        f"A draft:\n```\n<think>\n```\n{THOUGHT}\n</think>\nBank",
        # gpt-oss behind a server that does not read its channels.
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>Bank<|return|>",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|channel|>final <|constrain|>json<|message|>Bank",
        f"analysis{THOUGHT}assistantfinalBank",
    ],
)
def test_reasoning_is_no_part_of_the_answer(text: str) -> None:
    assert parse_text(text).value == "Bank"
    assert parse(text.replace("Bank", '{"title": "Bank"}'), Title).value == Title(title="Bank")
    assert split_reasoning(text).answer.strip() == "Bank"


@pytest.mark.parametrize(
    "text",
    [
        "Put the steps between <think> and </think>, then answer.",
        "Models write <think>a plan</think> first.",
        "Use `</think>` to end it.",
        "End it with </think> and go on.",
        'The tag "</think>" ends it.',
        "The parser looks for </think>, not for <think>.",
        "Write it so:\n```\n<think>\na plan\n</think>\nthe answer\n```\nThat is all.",
        "Like this:\n\n<think>\na plan\n</think>\n\nand then the answer.",
        "The channel `<|channel|>final` holds the answer.",
        "analysis of the bank's letter: all is well",
        "[THINKPAD] is a brand",
        "<thinker> is no tag of ours",
    ],
)
def test_an_answer_that_talks_about_the_tags_stays_as_it_is(text: str) -> None:
    assert parse_text(text).value == text
    streamed = ReasoningFilter()
    assert "".join([*(streamed.add(char) for char in text), streamed.rest()]) == text


def test_a_value_with_tags_stays_as_it_is() -> None:
    assert parse('{"title": "a </think> b"}', Title).value.title == "a </think> b"
    assert parse('```json\n{"title": "<think>a</think> b"}\n```', Title).value.title == "<think>a</think> b"


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{THOUGHT}",
        f'<think>{THOUGHT} {{"title": "Draft"}}',
        f"[THINK]{THOUGHT}",
        f"<|channel|>analysis<|message|>{THOUGHT}",
        f"<think>{THOUGHT}</think><think>Now again",
        f"Bank\n<think>{THOUGHT}",
    ],
)
@pytest.mark.parametrize("reason", ["stop", "length", ""])
def test_reasoning_that_never_ends_is_no_answer(text: str, reason: str) -> None:
    with pytest.raises(Truncated):
        parse_text(text, finish_reason=reason)
    with pytest.raises(Truncated):
        parse(text, Title, finish_reason=reason)


@pytest.mark.parametrize(
    "text", [f"<think>{THOUGHT}</think>", f"<think>{THOUGHT}</think>\n \n", f"{THOUGHT}\n</think>\n"]
)
def test_reasoning_alone_is_an_empty_answer(text: str) -> None:
    with pytest.raises(InvalidOutput, match="the model only reasoned"):
        parse_text(text)


def test_json_inside_of_the_reasoning_is_a_draft() -> None:
    with pytest.raises(InvalidOutput, match="no JSON object"):
        parse('Perhaps {"title": "Draft"}? No, too vague.\n</think>\n\nBuy milk', Title)
    text = 'Perhaps {"title": "Draft"}? No.\n</think>\n\n{"title": "Buy milk"}'
    assert parse(text, Title).value.title == "Buy milk"


def test_where_the_answer_begins_must_be_certain() -> None:
    with pytest.raises(InvalidOutput, match="where it begins cannot be told"):
        parse_text("One.\n</think>\nTwo.\n</think>\nThree")


@given(st.text(max_size=30), st.text(max_size=30), st.data())
def test_pieces_of_any_size_give_what_the_whole_text_gives(thought: str, answer: str, data: st.DataObject) -> None:
    if any(mark in thought + answer for mark in "<[◁|`") or not answer.strip():
        return
    text = f"<think>{thought}</think>{answer}"
    hiding, shown = ReasoningFilter(), ""
    while text:
        size = data.draw(st.integers(1, len(text)))
        shown, text = shown + hiding.add(text[:size]), text[size:]
    shown += hiding.rest()
    assert shown == answer.lstrip()
    assert hiding.hidden == thought


def test_a_guarded_model_leaves_json_with_tags_alone(openai_endpoint: OpenAIEndpoint) -> None:
    text = '{"title": "It ends.</think> Not here"}'
    openai_endpoint.always(completion(text))
    assert model_of(openai_endpoint).invoke("hi").content == text
    openai_endpoint.always(stream_of(chunk({"content": text[:20]}), chunk({"content": text[20:]}), chunk({}, "stop")))
    assert "".join(one.text for one in model_of(openai_endpoint).stream("hi")) == text


def test_a_guarded_model_keeps_reasoning_apart(openai_endpoint: OpenAIEndpoint) -> None:
    for text in (f"<think>{THOUGHT}</think>Bank", f"{THOUGHT}\n</think>\n\nBank"):
        openai_endpoint.script(completion(text))
        answer = model_of(openai_endpoint).invoke("hi")
        assert answer.content == "Bank"
        assert answer.additional_kwargs["reasoning_content"].strip() == THOUGHT
    openai_endpoint.script(completion(f"<think>{THOUGHT}"), completion(f"<think>{THOUGHT}</think>"))
    with pytest.raises(Truncated):
        model_of(openai_endpoint).invoke("hi")
    with pytest.raises(InvalidOutput, match="only reasoned"):
        model_of(openai_endpoint).invoke("hi")


def test_a_stream_shows_the_answer_and_keeps_the_reasoning(openai_endpoint: OpenAIEndpoint) -> None:
    pieces = ("<th", "ink>", THOUGHT, "</thi", "nk>\n\n", "Ba", "nk")
    openai_endpoint.always(stream_of(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"), "[DONE]"))
    chunks = list(model_of(openai_endpoint).stream("hi"))
    assert "".join(one.text for one in chunks) == "Bank"
    assert together(chunks).additional_kwargs["reasoning_content"] == THOUGHT


def test_an_endpoint_that_opens_no_reasoning_is_known_after_its_first_stream(openai_endpoint: OpenAIEndpoint) -> None:
    pieces = (THOUGHT, "\n</think>", "\n\nBa", "nk")
    openai_endpoint.always(stream_of(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"), "[DONE]"))
    model = model_of(openai_endpoint)
    with pytest.raises(InvalidOutput, match="marked only its end"):
        list(model.stream("hi"))
    assert "".join(one.text for one in model.stream("hi")) == "Bank"


# empty answers and tool calls


@pytest.mark.parametrize("content", ["", None, "  \n", "\u200b \n"])
async def test_an_empty_answer_is_none(openai_endpoint: OpenAIEndpoint, content: str | None) -> None:
    openai_endpoint.always(completion(content, reasoning_content=THOUGHT))
    for schema in (None, Title):
        with pytest.raises(InvalidOutput):
            await asked(schema)
    with pytest.raises(InvalidOutput, match="the answer is empty"):
        model_of(openai_endpoint).invoke("hi")
    openai_endpoint.always(stream_of(chunk({"content": content or ""}), chunk({}, "stop"), "[DONE]"))
    with pytest.raises(InvalidOutput, match="the answer is empty"):
        list(model_of(openai_endpoint).stream("hi"))


def call_of(arguments: Any, name: str = "double", identity: Any = "call_1") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (completion("Let me look.", "tool_calls"), "holds no tool call, though it ended for one"),
        (completion(None, "tool_calls", tool_calls=[]), "holds no tool call"),
        (
            completion(None, "tool_calls", tool_calls=[call_of('{"number": 4')]),
            "'double' has arguments that are no JSON",
        ),
        (completion(None, "stop", tool_calls=[call_of("four")]), "no JSON object"),
        (completion(None, "tool_calls", tool_calls=[call_of("{}")]), "of 'double' lacks number"),
        (completion(None, "tool_calls", tool_calls=[call_of(None)]), "of 'double' lacks number"),
        (completion(None, "tool_calls", tool_calls=[call_of("")]), "of 'double' lacks number"),
        (
            completion(None, "tool_calls", tool_calls=[call_of('{"number": 4}', "delete_all")]),
            "not given; given: double",
        ),
        (completion(None, "tool_calls", tool_calls=[call_of('{"number": 4}', "")]), "names no tool"),
        (completion('<tool_call>{"name": "double"}</tool_call>'), "passed a tool call of the model on as text"),
        (
            completion('<|channel|>commentary<|message|>{"number": 4}<|end|>'),
            "passed a tool call of the model on as text",
        ),
        (completion("[TOOL_CALLS][{}]"), "passed a tool call of the model on as text"),
    ],
)
def test_tool_calls_that_cannot_be_carried_out(openai_endpoint: OpenAIEndpoint, fault: Fault, words: str) -> None:
    openai_endpoint.always(fault)
    with pytest.raises(InvalidOutput, match=words) as told:
        model_of(openai_endpoint).bind_tools([double]).invoke("hi")
    assert "delete" not in str(told.value)


@pytest.mark.parametrize("choice", ["required", "double", "any"])
def test_a_tool_that_had_to_be_called_and_was_not(openai_endpoint: OpenAIEndpoint, choice: str) -> None:
    openai_endpoint.always(completion("Eight."))
    with pytest.raises(InvalidOutput, match="though one was required"):
        model_of(openai_endpoint).bind_tools([double], tool_choice=choice).invoke("hi")
    with pytest.raises(InvalidOutput, match="though one was required"):
        model_of(openai_endpoint).with_structured_output(Title, method="function_calling").invoke("hi")
    assert model_of(openai_endpoint).bind_tools([double], tool_choice="auto").invoke("hi").text == "Eight."


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "tool_use", None])
@pytest.mark.parametrize("arguments", ['{"number": 4}', {"number": 4}])
@pytest.mark.parametrize("identity", ["call_1", "", None])
def test_tool_calls_whose_meaning_is_clear(
    openai_endpoint: OpenAIEndpoint, reason: str | None, arguments: Any, identity: str | None
) -> None:
    openai_endpoint.always(completion(None, reason, tool_calls=[call_of(arguments, identity=identity)]))
    answer = model_of(openai_endpoint).bind_tools([double]).invoke("hi")
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("double", {"number": 4})
    assert call["id"]


def test_two_calls_never_share_an_id(openai_endpoint: OpenAIEndpoint) -> None:
    both = [call_of('{"number": 1}'), call_of('{"number": 2}')]
    openai_endpoint.always(completion(None, "tool_calls", tool_calls=both))
    answer = model_of(openai_endpoint).bind_tools([double]).invoke("hi")
    assert isinstance(answer, AIMessage)
    assert len({call["id"] for call in answer.tool_calls}) == 2


def calls_in(*pieces: dict[str, Any], reason: str = "tool_calls") -> Fault:
    return stream_of(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, reason), "[DONE]")


def piece(arguments: Any, index: int | None, identity: Any = "call_1") -> dict[str, Any]:
    return call_of(arguments, identity=identity) | ({} if index is None else {"index": index})


def streamed(endpoint: OpenAIEndpoint) -> BaseMessage:
    return together(list(model_of(endpoint).bind_tools([double]).stream("hi")))


@pytest.mark.parametrize(
    ("pieces", "numbers"),
    [
        # As the protocol has it.
        ([piece("", 0), *({"index": 0, "function": {"arguments": a}} for a in ('{"num', 'ber": 4}'))], [4]),
        # Gemini's compatible endpoint: each of several calls has the index 0, or none has any.
        ([piece('{"number": 1}', 0, "a"), piece('{"number": 2}', 0, "b")], [1, 2]),
        ([piece('{"number": 1}', None, "a"), piece('{"number": 2}', None, "b")], [1, 2]),
        ([piece('{"number": 1}', 0, ""), piece('{"number": 2}', 0, "")], [1, 2]),
        # Two calls that take turns.
        (
            [
                piece('{"number"', 0, "a"), piece('{"number"', 1, "b"),
                {"index": 0, "function": {"arguments": ": 1}"}}, {"index": 1, "function": {"arguments": ": 2}"}},
            ],
            [1, 2],
        ),
        # Name and id in every piece, arguments as far as they have come.
        ([piece(a, 0) for a in ('{"num', '{"number": 4', '{"number": 4}')], [4]),
        ([piece(a, 0) for a in ('{"num', 'ber": ', "4}")], [4]),
        ([piece({"number": 4}, 0)], [4]),
    ],
)  # fmt: skip
def test_streamed_tool_calls_are_put_together(
    openai_endpoint: OpenAIEndpoint, pieces: list[dict[str, Any]], numbers: list[int]
) -> None:
    openai_endpoint.always(calls_in(*pieces))
    answer = streamed(openai_endpoint)
    assert isinstance(answer, AIMessageChunk)
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("double", {"number": n}) for n in numbers]
    assert len({call["id"] for call in answer.tool_calls} - {None, ""}) == len(numbers)


@pytest.mark.parametrize("arguments", ['{"number": 12', '{"num', "four"])
def test_streamed_arguments_that_were_cut_off_are_not_made_up(openai_endpoint: OpenAIEndpoint, arguments: str) -> None:
    openai_endpoint.always(calls_in({"index": 0, **call_of(arguments)}))
    with pytest.raises(InvalidOutput):
        streamed(openai_endpoint)


def test_a_refusal_in_a_stream_is_one(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(stream_of(chunk({"refusal": "I cannot"}), chunk({}, "stop"), "[DONE]"))
    with pytest.raises(Refused):
        list(model_of(openai_endpoint).stream("hi"))


def test_a_message_without_a_role_is_the_models(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(completion("Bank", role=None))
    assert model_of(openai_endpoint).invoke("hi").text == "Bank"
