"""What the answer of any chat model tells: usage, why it ended, and its form in the ledger."""

from __future__ import annotations

import json
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from nodes.call.charge import Charge
from nodes.call.prices import Price, TokenUsage
from nodes.errors import CallError, Refused, Truncated

_REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where integrations put the reason why an answer ended."""

_CUT_OFF: Final = frozenset({"length", "max_tokens", "incomplete", "model_length"})
_WITHHELD: Final = frozenset({"content_filter", "refusal", "safety", "blocklist", "prohibited_content"})


def result_of(message: BaseMessage) -> ChatResult:
    """Return a message as LangChain's models return it."""
    return ChatResult(generations=[ChatGeneration(message=message)])


def reason_of(message: BaseMessage, info: dict[str, Any] | None = None) -> str:
    """Return why an answer ended, in lower case; an empty text when it does not tell."""
    told = {**(info or {}), **message.response_metadata}
    return next((str(told[name]).lower() for name in _REASONS if told.get(name)), "")


def complaint_about(message: BaseMessage, reason: str) -> CallError | None:
    """Return what is wrong with an answer that came whole: it was cut off, or withheld."""
    if reason in _CUT_OFF:
        return Truncated("the answer was cut off at the token limit: raise max_tokens")
    if reason in _WITHHELD:
        return Refused("a content filter withheld the answer")
    if message.additional_kwargs.get("refusal"):
        return Refused("the model declined to answer")
    return None


def usage_of(message: BaseMessage) -> TokenUsage | None:
    """Return the usage that a message tells, None when it tells none."""
    told = getattr(message, "usage_metadata", None)
    if not told or not (told.get("input_tokens") or told.get("output_tokens")):
        return None
    details = told.get("input_token_details") or {}
    cached, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
    return TokenUsage(told.get("input_tokens") or 0, told.get("output_tokens") or 0, cached, written)


def charge_of(message: BaseMessage, cost: Price, worst: int) -> Charge:
    """Charge what a message says was used, or the worst case when it does not say."""
    usage = usage_of(message)
    if usage is None:
        return Charge("ok", worst, unmetered=not cost.free)
    return Charge("ok", cost.actual(usage), usage.input, usage.output)


def keep(message: BaseMessage, charge: Charge) -> dict[str, Any] | None:
    """Return a message and its cost as JSON-able data; None for a message that has no such form."""
    extra = {
        # The client parses structured answers by itself; the parser after it takes the dict as well.
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in message.additional_kwargs.items()
    }
    plain = AIMessage.model_validate(message.model_dump(exclude={"type", "chunk_position", "tool_call_chunks"}))
    said = message_to_dict(plain.model_copy(update={"additional_kwargs": extra}))
    tokens = (charge.tokens_in, charge.tokens_out)
    kept = {"message": said, "cost": charge.cost, "tokens": tokens, "unmetered": charge.unmetered}
    try:
        json.dumps(kept)
    except (TypeError, ValueError):
        return None
    return kept


def recall(kept: dict[str, Any]) -> tuple[BaseMessage, Charge]:
    """Return a kept message and what it was charged."""
    (message,) = messages_from_dict([kept["message"]])
    tokens_in, tokens_out = kept["tokens"]
    return message, Charge("ok", kept["cost"], tokens_in, tokens_out, unmetered=kept["unmetered"])
