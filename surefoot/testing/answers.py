"""What an endpoint says when it behaves: an instance of the schema, or what a support desk would say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

Responder = Callable[[dict[str, Any]], str | dict[str, Any]]
"""Takes the body of a request and returns the text of the answer, or a message such as `calls_tool` makes."""


def calls_tool(name: str, **arguments: Any) -> dict[str, Any]:
    """Return the message of a model that asks for a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    identity = hashlib.blake2b(json.dumps(function).encode(), digest_size=6).hexdigest()
    return {"content": None, "tool_calls": [{"id": f"call_{identity}", "type": "function", "function": function}]}


def schema_in(body: dict[str, Any]) -> dict[str, Any] | None:
    """Find the JSON schema of a request: in its response_format, else in its prompt."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema: dict[str, Any] = wanted["json_schema"]["schema"]
        return schema
    text = "\n".join(str(message.get("content")) for message in body.get("messages", ()))
    _, marker, after = text.rpartition("JSON schema:")
    if not marker or "{" not in after:
        return None
    found, _ = json.JSONDecoder().raw_decode(after[after.index("{") :])
    return found if isinstance(found, dict) else None


def instance_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Build the plainest value that fits a schema."""
    root = root or schema
    if "$ref" in schema:
        return instance_of(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return instance_of(schema["anyOf"][0], root)
    kind = schema.get("type")
    if kind == "object":
        return {name: instance_of(inner, root) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance_of(schema.get("items", {"type": "string"}), root)]
    return {"integer": 1, "number": 0.5, "boolean": True, "null": None}.get(str(kind), "plain text")


def default_responder(body: dict[str, Any]) -> str:
    """Answer with an instance of the schema that was asked for, or with a sentence."""
    schema = schema_in(body)
    return "All is well." if schema is None else json.dumps(instance_of(schema))


CATEGORY_WORDS = (
    ("billing", r"invoice|refund|charge|payment|subscription|billing"),
    ("bug", r"crash|error|\bdown\b|broken|fails?\b|outage|exception"),
    ("feature_request", r"would be|please add|feature|wish|support for"),
)
URGENCY_WORDS = (
    ("critical", r"outage|\bdown\b|breach|data loss|everybody|all users|production"),
    ("high", r"blocked|deadline|urgent|asap|cannot log in|refund"),
    ("low", r"would be nice|typo|thank|no rush|cosmetic"),
)
DRAFT = "Thank you for writing to us. We have passed your message to the right team and they will look into it."


def _first(words: tuple[tuple[str, str], ...], text: str, default: str) -> str:
    return next((name for name, pattern in words if re.search(pattern, text, re.IGNORECASE)), default)


def support_responder(body: dict[str, Any]) -> str:
    """Answer the questions of a support desk by keywords of the ticket."""
    schema = schema_in(body)
    if schema is None:
        return DRAFT
    spoken = [str(m.get("content")) for m in body.get("messages", ()) if m.get("role") == "user"]
    text = "\n".join(spoken)
    if ticket := re.search(r"<ticket>(.*)</ticket>", text, re.DOTALL):
        text = ticket[1]
    answer = instance_of(schema)
    known = {
        "category": _first(CATEGORY_WORDS, text, "general"),
        "urgency": _first(URGENCY_WORDS, text, "medium"),
        "draft": DRAFT,
    }
    return json.dumps(answer | {name: value for name, value in known.items() if name in answer})
