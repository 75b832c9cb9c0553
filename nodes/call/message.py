"""What the answer of any chat model tells: usage, why it ended, whether it is one, and its form in the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from nodes.call.charge import Charge
from nodes.call.endings import (
    doubt_about,
    ending_of,
    fault_of_ending,
    is_blank,
    is_json,
    is_web_page,
    looks_finished,
    normal,
)
from nodes.call.maker_answers import ENDINGS
from nodes.call.prices import Price, TokenUsage, output_of
from nodes.call.reasoning import split_reasoning
from nodes.call.toolcalls import calls_of, complaint_about_calls, with_ids
from nodes.errors import CallError, InvalidOutput, Refused, Transient

REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where integrations put the reason why an answer ended."""

_NO_ANSWER: Final = frozenset({"text", "thinking", "reasoning", "redacted_thinking", "reasoning_content"})
"""Blocks of content that are no answer by themselves: text counts where there is some."""


def result_of(message: BaseMessage) -> ChatResult:
    """Return a message as LangChain's models return it."""
    return ChatResult(generations=[ChatGeneration(message=message)])


def reason_of(message: BaseMessage, info: dict[str, Any] | None = None) -> str:
    """Return why an answer ended, in one form; an empty text when it does not tell."""
    told = {**(info or {}), **message.response_metadata}
    details = told.get("incomplete_details")
    if isinstance(details, dict) and details.get("reason"):
        return normal(details["reason"])
    found = ((name, normal(told[name])) for name in REASONS if told.get(name))
    # Only OpenAI's Responses tell it as `status`, and others may mean something else by the word.
    return next((reason for name, reason in found if name != "status" or reason in ENDINGS), "")


@dataclass(frozen=True)
class Evidence:
    """What is known of an answer beside itself."""

    reason: str
    tools: object = None
    """The tools that were sent, as they were sent."""
    choice: object = None
    """The `tool_choice` that was sent."""
    reports: bool = True
    """Whether the model is one that says why an answer ended."""
    limit: int = 0
    """Token limit of the answer; 0 when it is not known."""
    closed: bool = True
    """Whether the endpoint told in another way that it was done: an answer in one piece, or usage at the very end."""
    torn: bool = False
    """Whether the arguments of a tool call were cut off."""


def without_reasoning(message: BaseMessage) -> BaseMessage:
    """Return a message with its reasoning where LangChain's integrations keep it, and each tool call with an id.

    Raises what `split_reasoning` raises.
    """
    message = with_ids(message)
    if not isinstance(message.content, str) or not message.content:
        return message
    spoken = split_reasoning(message.content)
    if spoken.answer == message.content:
        return message
    kept = {"reasoning_content": spoken.reasoning, **message.additional_kwargs}
    return message.model_copy(update={"content": spoken.answer.strip(), "additional_kwargs": kept})


def complaint_about(message: BaseMessage, known: Evidence) -> CallError | None:
    """Return why an answer is not one: only what is known to be whole and good passes."""
    if message.additional_kwargs.get("refusal"):
        return Refused("the model declined to answer")
    if (fault := fault_of_ending(known.reason)) is not None:
        return fault
    if known.torn:
        return InvalidOutput("a tool call has arguments that are no JSON object")
    if (wrong := complaint_about_calls(message, known.reason, known.tools, known.choice)) is not None:
        return wrong
    text = message.text
    calls = bool(calls_of(message) or message.additional_kwargs.get("function_call"))
    if is_web_page(text):
        return Transient("the endpoint answered with a web page instead of a completion")
    if not calls and is_blank(text) and not _other_content(message):
        reasoned = any(message.additional_kwargs.get(name) for name in ("reasoning_content", "reasoning"))
        return InvalidOutput("the answer is empty" + (": the model only reasoned" if reasoned else ""))
    if ending_of(known.reason) is not None:
        return None
    if known.reason:
        return None if calls or is_json(text) else doubt_about(known.reason)
    if not known.reports or is_json(text):
        return None
    usage = usage_of(message)
    used_up = usage is not None and 0 < known.limit <= usage.output
    whole = known.closed and not used_up and (calls or looks_finished(text) or bool(_other_content(message)))
    return None if whole else doubt_about("")


def _other_content(message: BaseMessage) -> bool:
    """Tell whether a message holds anything but text and reasoning, such as a picture."""
    blocks = message.content if isinstance(message.content, list) else ()
    other = any(isinstance(block, dict) and block.get("type") not in _NO_ANSWER for block in blocks)
    return other or bool(message.additional_kwargs.get("audio"))


def usage_of(message: BaseMessage) -> TokenUsage | None:
    """Return the usage that a message tells, None when it tells none, or half of it: an answer has tokens."""
    told = getattr(message, "usage_metadata", None)
    if not told or not (told.get("input_tokens") or told.get("output_tokens")):
        return None
    details = told.get("input_token_details") or {}
    cached, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
    tokens_in = told.get("input_tokens") or 0
    tokens_out = output_of(tokens_in, told.get("output_tokens") or 0, told.get("total_tokens"))
    if tokens_in == 0 or (tokens_out == 0 and (message.text.strip() or calls_of(message))):
        return None
    return TokenUsage(tokens_in, tokens_out, cached, written)


def charge_of(message: BaseMessage, cost: Price, worst: int) -> Charge:
    """Charge what a message says was used, or the worst case when it does not say."""
    usage = usage_of(message)
    if usage is None:
        return Charge("ok", worst, unmetered=not cost.free)
    return Charge("ok", cost.actual(usage), usage.input, usage.output)


def keep(message: BaseMessage, charge: Charge, known: Evidence) -> dict[str, Any] | None:
    """Return a message and its cost as JSON-able data; None for a message that has no such form."""
    extra = {
        # The client parses structured answers by itself; the parser after it takes the dict as well.
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in message.additional_kwargs.items()
    }
    plain = AIMessage.model_validate(message.model_dump(exclude={"type", "chunk_position", "tool_call_chunks"}))
    said = message_to_dict(plain.model_copy(update={"additional_kwargs": extra}))
    tokens = (charge.tokens_in, charge.tokens_out)
    # LangChain puts the finish reason into the message only after this.
    ending = {"reason": known.reason, "closed": known.closed, "torn": known.torn}
    kept = {"message": said, "cost": charge.cost, "tokens": tokens, "unmetered": charge.unmetered, "ending": ending}
    try:
        json.dumps(kept)
    except (TypeError, ValueError):
        return None
    return kept


def reason_kept(kept: dict[str, Any]) -> dict[str, Any]:
    """Return what was known of the end of a kept answer; one of an earlier version passed when it was kept."""
    ending: dict[str, Any] = kept.get("ending") or {"reason": "stop"}
    return ending


def recall(kept: dict[str, Any]) -> tuple[BaseMessage, Charge]:
    """Return a kept message and what it was charged."""
    (message,) = messages_from_dict([kept["message"]])
    tokens_in, tokens_out = kept["tokens"]
    return message, Charge("ok", kept["cost"], tokens_in, tokens_out, unmetered=kept["unmetered"])
