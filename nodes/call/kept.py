"""What identifies a call over replays of its step, and its answer as the guard keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from langchain_core.messages import BaseMessage

from nodes.call.charge import Charge
from nodes.call.chat import Answer, TokenLogprob
from nodes.call.prices import TokenUsage


def prompt_hash(model: str, messages: Sequence[BaseMessage]) -> str:
    """Return a short hash of a prompt."""
    return _hash([model, [(m.type, m.content, _asked_tools(m)) for m in messages]])


def _asked_tools(message: BaseMessage) -> list[Any]:
    return [(call["name"], call["args"]) for call in getattr(message, "tool_calls", ())]


def call_id(
    step: str, visit: int, n: int, index: int, prompt: str, parameters: dict[str, Any], variant: str = ""
) -> str:
    """Return what a call of a thread is kept under.

    `index` counts the calls of an attempt, `prompt` is its hash. A step that runs again after a crash makes the same
    calls in the same order, and so finds their answers; a retry has another `n`, and is sent.
    """
    # Whether somebody watches has no part in what is asked.
    asked = {name: value for name, value in parameters.items() if name not in ("stream", "stream_options")}
    return _hash([step, visit, n, index, prompt, asked, variant])


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def keep(answer: Answer, charge: Charge) -> dict[str, Any]:
    """Return an answer and its cost as JSON-able data."""
    return {"answer": asdict(answer), "cost": charge.cost, "unmetered": charge.unmetered}


def recall(kept: dict[str, Any]) -> tuple[Answer, Charge]:
    """Return a kept answer and what it was charged."""
    said = dict(kept["answer"])
    usage = said.pop("usage")
    logprobs = tuple(TokenLogprob(item["token"], item["logprob"]) for item in said.pop("logprobs"))
    known = {field.name for field in fields(Answer)}
    answer = Answer(
        usage=TokenUsage(**usage) if usage else None,
        logprobs=logprobs,
        **{name: value for name, value in said.items() if name in known},
    )
    tokens = (answer.usage.input, answer.usage.output) if answer.usage else (0, 0)
    return answer, Charge("ok", kept["cost"], *tokens, unmetered=kept["unmetered"])
