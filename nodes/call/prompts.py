"""Messages and schemas as they are sent."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage
from pydantic import BaseModel

SCHEMA_PREFACE: Final = "Answer with one JSON object and nothing else. It has to fit this JSON schema:"

_KEPT: Final = frozenset(
    {"$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "items", "properties", "type"}
)
"""Keywords that shape an answer. Endpoints reject schemas with keywords that they do not know (lengths, patterns,
formats), and validation here checks those anyway."""


def messages(prompt: str | Sequence[BaseMessage], feedback: str | None) -> list[BaseMessage]:
    """Return a prompt as messages, with the reason why an earlier answer was not accepted at its end."""
    listed: list[BaseMessage] = [HumanMessage(prompt)] if isinstance(prompt, str) else list(prompt)
    if feedback:
        listed = append(listed, f"Your previous answer was not accepted: {feedback}\nAnswer again and avoid this.")
    return [_sendable(message) for message in listed]


def _sendable(message: BaseMessage) -> BaseMessage:
    """Replace half characters (an emoji cut in two), which no request can carry."""
    if not isinstance(message.content, str) or message.content.isascii():
        return message
    whole = message.content.encode("utf-8", "replace").decode()
    return message if whole == message.content else message.model_copy(update={"content": whole})


def append(listed: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """Add a text at the end: to the last message of the user, because some models refuse two in a row."""
    last = listed[-1] if listed else None
    if isinstance(last, HumanMessage) and isinstance(last.content, str):
        return [*listed[:-1], last.model_copy(update={"content": f"{last.content}\n\n{text}"})]
    return [*listed, HumanMessage(text)]


def size(listed: Sequence[BaseMessage], parameters: dict[str, Any]) -> int:
    """Return the UTF-8 bytes of everything that counts as prompt: texts, names and the schema."""
    total = len(json.dumps(parameters.get("response_format", "")).encode())
    for message in listed:
        content = message.content
        text = content if isinstance(content, str) else json.dumps(content, default=str, ensure_ascii=False)
        total += len(text.encode("utf-8", "replace")) + len((message.name or "").encode("utf-8", "replace"))
        if message.additional_kwargs or getattr(message, "tool_calls", None):
            total += len(json.dumps(message.model_dump(exclude={"content"}), default=str).encode())
    return total


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return a schema as the `response_format` of a request, strict where the protocol can be."""
    shape, strict = _shape(schema.model_json_schema())
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", schema.__name__)[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": shape, "strict": strict}}


def schema_text(schema: type[BaseModel]) -> str:
    """Return a schema as a part of a prompt."""
    shape, _ = _shape(schema.model_json_schema())
    return f"{SCHEMA_PREFACE}\n{json.dumps(shape, separators=(',', ':'), ensure_ascii=False)}"


def _shape(node: Any) -> tuple[Any, bool]:
    """Reduce a JSON schema to its shape; tell whether strict mode can express it."""
    if isinstance(node, list):
        parts = [_shape(part) for part in node]
        return [shape for shape, _ in parts], all(strict for _, strict in parts)
    if not isinstance(node, dict):
        return node, True
    if "$ref" in node:
        return {"$ref": node["$ref"]}, True
    node = dict(node)
    if "oneOf" in node:
        node["anyOf"] = node.pop("oneOf")
    shape: dict[str, Any] = {}
    strict = True
    for key in node.keys() & _KEPT:
        if key in {"properties", "$defs"}:
            named = {name: _shape(inner) for name, inner in node[key].items()}
            shape[key] = {name: inner for name, (inner, _) in named.items()}
            strict &= all(fits for _, fits in named.values())
        elif key in {"anyOf", "items", "additionalProperties"}:
            shape[key], fits = _shape(node[key])
            strict &= fits
        else:
            shape[key] = node[key]
    if node.get("type") == "object":
        if "properties" in shape:
            # Strict mode wants every field named, also those with defaults.
            shape |= {"additionalProperties": False, "required": list(shape["properties"])}
        else:
            strict = False
    return {key: shape[key] for key in sorted(shape)}, strict
