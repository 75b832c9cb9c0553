"""Checking a value against the JSON schema of a question, before it is submitted.

A subset of JSON Schema (2020-12): `type`, `enum`, `const`, `anyOf`, `oneOf`, `allOf`, `$ref` within the schema,
`properties`, `required`, `items`. Anything else in a schema is left to the node that asks, which validates the answer
itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nodes.errors import InputError

_TYPES: Final[Mapping[str, tuple[type[Any], ...]]] = {
    "null": (type(None),), "boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,),
    "array": (list,), "object": (dict,),
}  # fmt: skip

_DEPTH: Final = 20


def misfit(schema: Mapping[str, Any], value: Any, where: str = "", depth: int = 0, root: Any = None) -> str:
    """Return why a value does not fit a schema, empty where it does."""
    root = schema if root is None else root
    schema = _resolved(schema, root)
    named = f"{where}: " if where else ""
    if depth > _DEPTH:
        return ""
    for name in ("anyOf", "oneOf"):
        if options := schema.get(name):
            found = [misfit(option, value, where, depth + 1, root) for option in options]
            if all(found):
                return min(found, key=len)
    for part in schema.get("allOf", ()):
        if why := misfit(part, value, where, depth + 1, root):
            return why
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        return f"{named}{' or '.join(kinds)} is needed, this is {_name(value)}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{named}one of {', '.join(map(json.dumps, schema['enum']))} is needed"
    if "const" in schema and not _same(value, schema["const"]):
        return f"{named}{json.dumps(schema['const'])} is needed"
    return _misfit_within(schema, value, where, depth, root)


def _misfit_within(schema: Mapping[str, Any], value: Any, where: str, depth: int, root: Any) -> str:
    """Return why the parts of an object or a list do not fit."""
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                return f"field {'.'.join(filter(None, (where, name)))!r} is missing"
        for name, part in schema.get("properties", {}).items():
            inner = ".".join(filter(None, (where, name)))
            if name in value and (why := misfit(part, value[name], inner, depth + 1, root)):
                return why
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for number, item in enumerate(value):
            if why := misfit(schema["items"], item, f"{where}[{number}]", depth + 1, root):
                return why
    return ""


def typed(schema: Mapping[str, Any], text: str) -> Any:
    """Return a typed text as the value that a schema takes; raises `InputError` where it takes none of its readings.

    A schema that takes a text gets the text. `yes`, `no`, `on` and `off` are read where true or false is asked for.
    """
    if not misfit(schema, text):
        return text
    words = {"yes": True, "on": True, "no": False, "off": False}
    try:
        value = json.loads(text if text.strip().lower() not in ("true", "false", "null") else text.lower())
    except (ValueError, RecursionError):
        value = words.get(text.strip().lower(), text)
    if why := misfit(schema, value):
        raise InputError(f"the answer does not fit: {why}")
    return value


def _resolved(schema: Mapping[str, Any], root: Any) -> Mapping[str, Any]:
    for _ in range(_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return {}
        schema = found
    return {}


def _is_of(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _same(value: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _name(value: Any) -> str:
    return next((kind for kind in _TYPES if _is_of(kind, value)), type(value).__name__)
