r"""What an edit changes: clients send all arguments back, as their forms hold them.

Agent Inbox, Agent Chat UI and Studio return every argument of a proposal, changed or not, and a form returns numbers,
truth values and lists as text (`"0.9"`, `"true"`, `'["a"]'`) and lines that end in `\r\n`. An argument that says what
the proposal says is no edit; a text is converted by the type of its field where that leaves one meaning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from nodes.errors import InputError
from state import ReviewRequest, describe

EXACT_IN_DOUBLES: Final = 2**53
"""Whole numbers above it come back rounded from clients in JavaScript, which has only doubles (ECMA-262, 6.1.6.1)."""

_NOTHING: Final = object()


def changed_args(request: ReviewRequest, schema: type[BaseModel] | None, edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that an edit changes, converted to the types of their fields.

    Without a schema an argument keeps the kind of value that the proposal has. Raises `InputError` that names the
    argument for one that is not part of the proposal, for null, and for a value that does not fit.
    """
    proposed = request.action_request.args
    changed = {}
    for name, value in edits.items():
        if name not in proposed:
            raise InputError(f"field {name!r} cannot be edited here; editable: {', '.join(proposed) or 'nothing'}")
        if same_as_shown(proposed[name], value):
            continue
        if value is None:
            raise InputError(f"field {name!r}: null is no value to edit to")
        typed = _with_newlines_of(proposed[name], value)
        if schema is None:
            typed = _by_proposal(name, proposed[name], typed)
        else:
            typed = _by_schema(name, schema, proposed[name], typed)
        if not _equal(proposed[name], typed):
            changed[name] = typed
    return changed


def same_as_shown(proposed: Any, value: Any) -> bool:
    """Tell whether a value is what a client shows for a proposed one: itself, or its text in a form."""
    if _equal(proposed, value):
        return True
    if not isinstance(value, str) or isinstance(proposed, str):
        return False
    # A form has no null: it shows `null` (Agent Inbox) or an empty box.
    return (proposed is None and not value.strip()) or _equal(proposed, _loaded(value))


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, 1.0 is 1, and lines may end in either way."""
    if isinstance(one, str) and isinstance(other, str):
        return unix_newlines(one) == unix_newlines(other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or (abs(one) > EXACT_IN_DOUBLES and _double(one) == _double(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def unix_newlines(text: str) -> str:
    r"""Return a text with lines that end in a newline alone; forms send `\r\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _with_newlines_of(proposed: Any, value: Any) -> Any:
    """Return texts with plain newlines, unless the proposal itself has others."""
    if isinstance(value, str):
        return value if isinstance(proposed, str) and "\r" in proposed else unix_newlines(value)
    if isinstance(value, list):
        return [_with_newlines_of(None, item) for item in value]
    return {key: _with_newlines_of(None, item) for key, item in value.items()} if isinstance(value, dict) else value


def _loaded(text: str) -> Any:
    """Return what a text says as JSON, or a mark that it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _by_schema(name: str, schema: type[BaseModel], proposed: Any, value: Any) -> Any:
    """Return a value as the field of a state stores it; raises `InputError`."""
    if name not in schema.model_fields:
        raise InputError(f"field {name!r} is only shown: it cannot be edited")
    loaded = _loaded(value) if isinstance(value, str) else _NOTHING
    if loaded is None:
        raise InputError(f"field {name!r}: null is no value to edit to")
    as_given, as_json, why, shown_as_text = _NOTHING, _NOTHING, "", isinstance(proposed, str)
    try:
        as_given = _stored(name, schema, value)
    except ValueError as error:
        why = str(error)
    if loaded is not _NOTHING and not isinstance(loaded, str):
        try:
            as_json = _stored(name, schema, loaded)
        except ValueError as error:
            # A text that opens like a list or an object is told about what is in it.
            why = str(error) if isinstance(loaded, (list, dict)) else why
    if as_given is _NOTHING and as_json is _NOTHING:
        raise InputError(f"the edit does not fit: {why}")
    if isinstance(as_given, str) and as_json is not _NOTHING and not isinstance(as_json, str) and not shown_as_text:
        raise InputError(
            f"field {name!r} takes texts and {_kind(loaded)}, and the edit may be meant as either: send "
            f"{_kind(loaded)} as JSON, without quotes"
        )
    return as_json if as_given is _NOTHING else as_given


def _stored(name: str, schema: type[BaseModel], value: Any) -> Any:
    """Validate a value for a field and return its JSON form; raises `ValueError` with the reason."""
    try:
        state = schema.__pydantic_validator__.validate_assignment(schema.model_construct(), name, value)
        annotation: Any = schema.model_fields[name].annotation
        found = TypeAdapter(annotation).dump_python(getattr(state, name), mode="json")
    except ValidationError as error:
        raise ValueError(describe(error)) from None
    if isinstance(value, bool) and not isinstance(found, bool):
        why = f"{name}: Input should be {_kind(found)}, not {json.dumps(value)}"
        raise ValueError(why)  # noqa: TRY004 - the caller turns one kind of error into `InputError`
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{name}: Input should be a finite number")
    return found


def _by_proposal(name: str, proposed: Any, value: Any) -> Any:
    """Return a value of the kind that a proposal has, where a form has made a text of it; raises `InputError`."""
    if proposed is None or not isinstance(value, str) or isinstance(proposed, str):
        return value
    loaded = _loaded(value.lower() if isinstance(proposed, bool) else value)
    if loaded is _NOTHING or _kind(loaded) != _kind(proposed):
        raise InputError(f"field {name!r} holds {_kind(proposed)}, and the edit a text that is none: send it as JSON")
    return loaded


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {int: "a number", float: "a number", list: "a list", dict: "an object", str: "a text"}
    return kinds.get(type(value), "another value")
