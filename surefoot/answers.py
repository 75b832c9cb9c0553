"""Answers to questions of a user's own graph: what the node that called `interrupt(...)` gets back.

Three forms of questions are told apart. One in the form of Agent Inbox (`HumanInterrupt`) gets the list that Agent
Inbox sends, one in the form of LangChain's human in the loop gets its `decisions`, and any other gets a value: any
JSON, as it is. What a node makes of a value is not known here, so a decision such as "reject" is refused instead of
guessed at, and so is a text that says no: as a text it would be true.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from langgraph.types import Command

from nodes.edits import unix_newlines
from nodes.errors import InputError
from nodes.review import validate_answer
from state import ReviewDecision, ReviewRequest
from state.review import WORDS_OF_CLIENTS, ActionRequest, ReviewConfig, flat_answer
from surefoot.schemas import misfit, typed

Form: TypeAlias = Literal["review", "inbox", "decisions", "value"]
"""Who reads the answer: a review of ours, a node written for Agent Inbox, one for LangChain's middleware, any other."""

DECISIONS: Final = frozenset({"accept", "edit", "response", "reject", *WORDS_OF_CLIENTS})

_ENVELOPE: Final = frozenset({
    "type", "args", "by", "comment", "message", "edited_action", "acceptAllowed", "editsMade",
})  # fmt: skip
"""Keys of a decision, in the words of every client."""

REFUSALS: Final = frozenset({
    # English
    "no", "n", "nope", "nah", "not", "never", "none", "don't", "dont", "false", "off", "nil", "null",
    "abort", "cancel", "canceled", "cancelled", "declined", "decline", "denied", "deny", "disapprove", "disapproved",
    "refuse", "refused", "reject", "rejected", "stop",
    # "no" and "not" of other languages
    "nein", "nicht", "kein", "keine", "non", "pas", "nee", "niet", "nej", "ikke", "inte", "nei", "ei", "não", "nao",
    "nie", "ne", "nem", "nu", "hayır", "hayir", "değil", "нет", "не", "ні", "όχι", "いいえ", "否", "不",
    "不是", "아니요", "아니오", "لا", "לא", "नहीं", "không", "tidak", "bukan", "hindi",
})  # fmt: skip
"""Words that begin a refusal: those of English, and the word for "no" of other languages as Unicode CLDR has it
(`posix/messages/nostr`), with their negation. It only catches what was typed in passing: a question that names what it
takes (`response_schema`) needs no such list."""

CONFIGS: Final[Mapping[str, str]] = {"approve": "allow_accept", "edit": "allow_edit", "reject": "allow_ignore",
                                     "respond": "allow_respond"}  # fmt: skip
"""LangChain's decisions as switches of a review."""


def request_of(value: Any) -> tuple[Form, ReviewRequest] | None:
    """Return the form of a question that allows decisions, and the request that it makes; None for any other."""
    if isinstance(value, Mapping) and "action_request" in value and "default_action" in value:
        return "review", ReviewRequest.model_validate(value)
    inbox = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(inbox, Mapping) and "action_request" in inbox and "config" in inbox:
        config = {name: bool(inbox["config"].get(name)) for name in ReviewConfig.model_fields}
        asked = {name: inbox[name] for name in ("action_request", "description") if inbox.get(name) is not None}
        return "inbox", ReviewRequest.model_validate({**asked, "config": config})
    if isinstance(value, Mapping) and "action_requests" in value and "review_configs" in value:
        if len(value["action_requests"]) != 1:
            return None
        action = value["action_requests"][0]
        return "decisions", ReviewRequest(
            action_request=ActionRequest(action=action["name"], args=action.get("args") or {}),
            config=_config_of(action["name"], value["review_configs"]),
            description=action.get("description") or "",
        )
    return None


def _config_of(action: str, configs: list[Mapping[str, Any]]) -> ReviewConfig:
    named = next((one for one in configs if one.get("action_name") == action), configs[0])
    allowed = named.get("allowed_decisions") or ()
    return ReviewConfig(**{switch: decision in allowed for decision, switch in CONFIGS.items()})


def encoded(form: Form, request: ReviewRequest, answer: Any) -> Any:
    """Return a decision in the form that its node reads; raises `InputError` for one that does not fit."""
    if isinstance(answer, Command):
        return answer.resume
    decision = validate_answer(request, None, answer)
    action, proposed = request.action_request.action, request.action_request.args
    if form == "inbox":
        edited = {"action": action, "args": {**proposed, **decision.edits}}
        kind = "ignore" if decision.type == "reject" else decision.type
        args = {"accept": {"action": action, "args": proposed}, "edit": edited, "response": decision.args}
        return [{"type": kind, "args": args.get(kind)}]
    words = {"accept": "approve", "response": "respond"}
    sent: dict[str, Any] = {"type": words.get(decision.type, decision.type)}
    if decision.type == "edit":
        sent["edited_action"] = {"name": action, "args": {**proposed, **decision.edits}}
    elif decision.type == "response":
        sent["message"] = decision.args
    elif decision.comment:
        sent["message"] = decision.comment
    return {"decisions": [sent]}


def value_of(answer: Any, schema: Mapping[str, Any] | None) -> Any:
    """Return the value that a node gets which asked in a form of its own.

    `Command(resume=X)` is X, whatever it says. A response is its `args`, any other decision is refused, and what is no
    decision is the value itself. Raises `InputError` that names the way to say it.
    """
    if isinstance(answer, Command):
        return _checked(answer.resume, schema)
    if isinstance(answer, ReviewDecision):
        answer = answer.model_dump()
    decision = _decision_in(answer)
    if decision is None:
        return _checked(_of_text(answer, schema), schema)
    if decision["type"] != "response":
        raise InputError(
            f"this question takes a value, and what {decision['type']!r} would mean to it is not known: send the value "
            "itself, such as --respond-json true or --respond-json false (in Python: True or False); a node that reads "
            "decisions gets one with Command(resume=...)"
        )
    if "args" not in decision:
        raise InputError("a response needs args: the value to answer with")
    return _checked(_of_text(decision["args"], schema), schema)


def _decision_in(answer: Any) -> dict[str, Any] | None:
    """Return the decision that a client has sent, flat; None for what is none."""
    if isinstance(answer, str):
        return {"type": WORDS_OF_CLIENTS.get(answer, answer)} if answer in ("accept", "reject") else None
    parts = answer["decisions"] if isinstance(answer, Mapping) and set(answer) == {"decisions"} else answer
    parts = parts if isinstance(parts, list) else [parts]
    if not parts or not all(_is_decision(part) for part in parts):
        return None
    try:
        flat: dict[str, Any] = flat_answer(parts)
    except ValueError as error:
        raise InputError(f"the answer does not fit: {error}") from None
    return flat


def _is_decision(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in DECISIONS and part.keys() <= _ENVELOPE


def _of_text(value: Any, schema: Mapping[str, Any] | None) -> Any:
    """Return a value; a text as its question types it, refused where the question does not say and the text says no."""
    if not isinstance(value, str):
        return value
    text = unix_newlines(value)
    if not text.strip():
        raise InputError("the text is empty")
    if schema is not None:
        return typed(schema, text)
    if says_no(text):
        raise InputError(
            f"{text.strip()[:40]!r} says no, and as a text it would be true for the node that asks: send "
            f"--respond-json false (in Python: False), or the text itself: --respond-json {_quoted(text)} "
            "(Command(resume=...))"
        )
    return text


def _quoted(text: str) -> str:
    return shlex.quote(json.dumps(text[:40], ensure_ascii=False))


def says_no(text: str) -> bool:
    """Tell whether a text begins with a refusal, or is JSON that is false: as a Python value it would be true."""
    try:
        if not json.loads(text.strip().lower()):
            return True
    except (ValueError, RecursionError):
        pass
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return any(word in REFUSALS for word in words[:1]) or any(word in ("not", "don't") for word in words[1:2])


def _checked(value: Any, schema: Mapping[str, Any] | None) -> Any:
    """Return a value that its question takes and the thread can keep; raises `InputError`."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError(
            f"the answer is no JSON ({type(value).__name__}): send plain values, lists and dicts"
        ) from None
    if schema is not None and (why := misfit(schema, value)):
        raise InputError(f"the answer does not fit: {why}")
    return value
