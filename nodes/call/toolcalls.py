"""Whether the tool calls of an answer can be carried out: they are there, and name a given tool with its arguments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from nodes.call.endings import ending_of, named
from nodes.call.maker_answers import CALLS_AS_TEXT
from nodes.errors import InvalidOutput


def required_of(tools: object) -> dict[str, list[str]]:
    """Return the names of tools that were sent, each with the arguments it cannot do without.

    Reads the forms of OpenAI (`function`, `parameters`) and Anthropic (`input_schema`); others have no names here.
    """
    found: dict[str, list[str]] = {}
    for tool in tools if isinstance(tools, list | tuple) else ():
        held = tool.get("function") if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping) else tool
        if not isinstance(held, Mapping) or not isinstance(held.get("name"), str):
            continue
        schema = held.get("parameters") or held.get("input_schema")
        required = schema.get("required") if isinstance(schema, Mapping) else None
        found[held["name"]] = [str(name) for name in required] if isinstance(required, list | tuple) else []
    return found


def complaint_about_calls(
    message: BaseMessage, reason: str, tools: object, choice: object = None
) -> InvalidOutput | None:
    """Return what is wrong with the tool calls of an answer, None for calls that can be carried out and for none.

    `tools` and `choice` are what was sent as `tools` and `tool_choice`.
    Names of tools and arguments are ours, and so may stand in a message; what the model made up may not.
    """
    given = required_of(tools)
    calls = calls_of(message)
    broken: Sequence[Mapping[str, Any]] = getattr(message, "invalid_tool_calls", None) or ()
    if broken:
        whose = next((f" of {call['name']!r}" for call in broken if call.get("name") in given), "")
        return InvalidOutput(f"a tool call{whose} has arguments that are no JSON object")
    if ending_of(reason) == "calls" and not calls and not message.additional_kwargs.get("function_call"):
        return InvalidOutput(f"the answer holds no tool call, though it ended for one {named(reason)}")
    if _is_forced(choice) and not calls and not message.additional_kwargs.get("function_call"):
        return InvalidOutput("the answer holds no tool call, though one was required")
    if given and not calls and CALLS_AS_TEXT.match(message.text):
        return InvalidOutput("the endpoint passed a tool call of the model on as text")
    for call in calls:
        if not call["name"]:
            return InvalidOutput("a tool call names no tool")
        if given and call["name"] not in given:
            return InvalidOutput(f"a tool call names a tool that was not given; given: {', '.join(sorted(given))}")
        missing = [name for name in given.get(call["name"], ()) if name not in call["args"]]
        if missing:
            return InvalidOutput(f"a tool call of {call['name']!r} lacks {', '.join(missing)}")
    return None


def _is_forced(choice: object) -> bool:
    """Tell whether a `tool_choice` leaves the model no choice but to call a tool."""
    if isinstance(choice, Mapping):
        return choice.get("type") not in ("auto", "none", None)
    return choice in ("required", "any")


def calls_of(message: BaseMessage) -> Sequence[Any]:
    """Return the tool calls of a message that were read."""
    return getattr(message, "tool_calls", None) or ()


def with_ids(message: BaseMessage) -> BaseMessage:
    """Give an id of its own to each tool call that has none, or that of another: an answer to it has to name it."""
    calls = calls_of(message)
    if not isinstance(message, AIMessage) or len({call["id"] for call in calls if call["id"]}) == len(calls):
        return message
    seen: set[str] = set()
    mended = []
    for number, call in enumerate(calls):
        own = call["id"] if call["id"] and call["id"] not in seen else id_for(number, call["name"], call["args"])
        seen.add(own)
        mended.append({**call, "id": own})
    return message.model_copy(update={"tool_calls": mended})


def id_for(number: int, name: str | None, args: object) -> str:
    """Return an id for a tool call; the same call gets the same."""
    text = json.dumps([number, name, args], sort_keys=True, default=str)
    return f"call_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
