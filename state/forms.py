"""What Studio and other clients make forms of: the JSON schemas of inputs, of contexts and of answers.

Every field of a state has a default, so that an old thread can be read by a new version; a form has to say all the same
what a run cannot do without, and none of its fields is filled with null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from pydantic.errors import PydanticInvalidForJsonSchema

from state.review import DecisionType, ReviewRequest

ANSWERS: Final[Mapping[DecisionType, str]] = {
    "accept": "take the proposal as it is",
    "edit": "change fields in args",
    "response": "answer with the text in args",
    "reject": "nothing is done with it",
}
"""The answers to a question, and what each of them does."""


def form(*required: str) -> ConfigDict:
    """Return the configuration of an input whose JSON schema is a form: described fields, these of them required."""

    def mark(schema: dict[str, Any]) -> None:
        for name in required:
            schema["properties"][name] = _filled(schema["properties"][name])
        schema["required"] = [name for name in schema["properties"] if name in required]

    return ConfigDict(hide_input_in_errors=True, use_attribute_docstrings=True, json_schema_extra=mark)


def required_of(model: type[BaseModel]) -> Iterable[str]:
    """Return the fields that a model has no default for."""
    return [name for name, info in model.model_fields.items() if info.is_required()]


def answer_form(request: ReviewRequest, schema: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the answers to a question: the types it allows, and its fields as the state types them.

    A field of a type that has no JSON schema may hold anything here; the answer is validated by its type all the same.
    """
    config = request.config
    possible = {
        "accept": config.allow_accept,
        "edit": config.allow_edit,
        "response": config.allow_respond,
        "reject": config.allow_ignore,
    }
    allowed = {name: does for name, does in ANSWERS.items() if possible[name]}
    told = "; ".join(f"{name}: {does}" for name, does in allowed.items())
    args = []
    properties, definitions = _fields(schema)
    editable = {name: _filled(properties.get(name, {"title": name})) for name in request.action_request.args}
    if "edit" in allowed and editable:
        args.append({"title": "Edit", "type": "object", "properties": editable, "additionalProperties": False})
    if "response" in allowed:
        args.append({"title": "Response", "type": "string", "minLength": 1})
    answer: dict[str, Any] = {
        "type": {"title": "Type", "type": "string", "enum": list(allowed), "description": told},
        **({"args": {"title": "Args", "anyOf": [*args, {"type": "null"}], "default": None}} if args else {}),
        "comment": {"title": "Comment", "type": "string", "description": "Why, for the record.", "default": ""},
        "by": {"title": "By", "type": "string", "description": "Who decides: a role or an id.", "default": "person"},
    }
    form: dict[str, Any] = {"title": "Answer", "type": "object", "properties": answer, "required": ["type"]}
    used = _used(editable, definitions)
    return form | ({"$defs": used} if used else {})


@cache
def _fields(schema: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        found = schema.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {}, {}
    return found["properties"], found.get("$defs", {})


def _filled(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that has a value."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    told = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return told | (kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _used(part: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions that a part of a schema refers to, and those that these refer to."""
    used: dict[str, Any] = {}
    pending = [part]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            name = str(one.get("$ref", "")).removeprefix("#/$defs/")
            if name in definitions and name not in used:
                used[name] = definitions[name]
                pending.append(definitions[name])
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return used
