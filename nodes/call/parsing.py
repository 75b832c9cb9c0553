"""From the text of an answer to a value: strict JSON, then JSON inside fences or prose, then repaired JSON.

A pure ladder. It forgives form and never content: a value that the text does not hold, or holds twice in different
ways, is refused. Messages name fields and types only, because they are stored and shown to the model again.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from nodes.call.endings import doubt_about, ending_of, fault_of_ending, is_blank, is_web_page, looks_finished, named
from nodes.call.jsontext import (
    decode,
    decode_encoded,
    inside_of,
    is_object,
    repair,
    same,
    spans,
    straightened,
    torn,
    unwrap,
)
from nodes.call.reasoning import split_reasoning
from nodes.errors import CallError, InvalidOutput, Refused, Transient, Truncated

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

How = Literal["text", "strict", "stripped", "repaired"]

FIXES: Final = 5
"""Rounds of validation after unwrapping, removing extra keys and normalising the case of keys and enums: nested unions
reveal their mistakes one after the other."""

_FENCED: Final = re.compile(r"\s*```[\w-]*[ \t]*\r?\n?(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)
_OPTION: Final = re.compile(r"'((?:[^'\\]|\\.)*)'")


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """A value and how much help it needed."""

    value: T
    how: How


def parse_text(
    text: str, *, finish_reason: str = "stop", refused: bool = False, unfinished: bool = False
) -> Parsed[str]:
    """Return an answer that is meant to be plain text.

    An empty `finish_reason` is one that the endpoint did not tell: then the text counts if it ends like a whole one,
    unless `unfinished` says that nothing else showed the end. Of a reason that nobody knows, no text counts.
    Raises `Refused`, `Truncated`, `Transient` for the HTML page of a proxy and for an answer that the endpoint broke
    off, and `InvalidOutput` for an empty answer.
    """
    _check_form(text, finish_reason, refused)
    if (fault := fault_of_ending(finish_reason)) is not None:
        raise fault
    if ending_of(finish_reason) == "calls":
        raise _no_tools(finish_reason)
    spoken = split_reasoning(text)
    said = spoken.answer.strip()
    if is_blank(said):
        raise InvalidOutput(
            "the answer is empty: the model only reasoned" if spoken.reasoning else "the answer is empty"
        )
    if ending_of(finish_reason) is None and (finish_reason or unfinished or not looks_finished(said)):
        raise doubt_about(finish_reason)
    return Parsed(said, "text")


def parse(text: str, schema: type[M], *, finish_reason: str = "stop", refused: bool = False) -> Parsed[M]:
    """Return the one object of `schema` that an answer holds, and how it was found.

    An answer that was cut off, or ended for a reason that nobody knows, counts if it is nothing but the whole object.
    Raises `InvalidOutput` naming fields and types, `Truncated` for an answer whose end is missing even when it could be
    made up, `Refused`, and `Transient` for the HTML page of a proxy and for an answer that the endpoint broke off.
    """
    _check_form(text, finish_reason, refused)
    fault = fault_of_ending(finish_reason)
    if fault is not None and not isinstance(fault, Truncated):
        raise fault
    if ending_of(finish_reason) == "calls":
        fault = _no_tools(finish_reason)
    elif fault is None and ending_of(finish_reason) is None:
        fault = doubt_about(finish_reason)
    try:
        return _parse(text, schema, cut=fault)
    except RecursionError:
        raise InvalidOutput("the answer is nested too deeply") from None


def _check_form(text: str, finish_reason: str, refused: bool) -> None:
    if refused:
        raise Refused("the model declined to answer")
    if is_blank(text):
        if ending_of(finish_reason) == "cut":
            raise Truncated("the token limit was reached before the answer began")
        raise fault_of_ending(finish_reason) or InvalidOutput("the answer is empty")
    if is_web_page(text):
        raise Transient("the endpoint answered with a web page instead of a completion")


def _no_tools(finish_reason: str) -> InvalidOutput:
    return InvalidOutput(f"the model asked for a tool, and was given none {named(finish_reason)}")


def _parse(text: str, schema: type[M], *, cut: CallError | None) -> Parsed[M]:
    found, value = decode(text.strip())
    if found:
        return _validate(value, schema, "strict")
    body = split_reasoning(text).answer
    if fenced := _FENCED.fullmatch(body):
        body = fenced[1]
    found, value = decode(body.strip())
    if found:
        return _validate(value, schema, "stripped")
    if cut is not None:
        raise cut
    if (encoded := decode_encoded(body)) is not None:
        return _validate(encoded, schema, "repaired")
    return _search(body, schema)


def _search(body: str, schema: type[M]) -> Parsed[M]:
    """Find the object in prose; repair it when it is whole but damaged."""
    intact: list[Any] = []
    damaged: list[str] = []
    body = straightened(body)
    around = body
    for span, whole in spans(body):
        around = around.replace(span, "", 1)
        found, value = decode(span)
        if found and is_object(value):
            intact.append(unwrap(value))
        elif not found and ("{" in span or (not whole and '"' in span)):
            if not whole:
                raise Truncated("the answer ends inside its JSON")
            damaged.append(span)
    if len(intact) + len(damaged) == 0:
        raise InvalidOutput("the answer holds no JSON object")
    if damaged and (intact or len(damaged) > 1):
        raise InvalidOutput("the answer holds several JSON objects, not all of them readable")
    if (damaged and ("}" in around or "]" in around)) or torn(around):
        # A bracket too many: a string may hold the one that looked like the end.
        raise InvalidOutput("the answer holds damaged JSON whose end cannot be told for certain")
    if damaged:
        return _validate(repair(damaged[0]), schema, "repaired")
    if any(not same(other, intact[0]) for other in intact[1:]):
        raise InvalidOutput("the answer holds several different JSON objects")
    return _validate(intact[0], schema, "stripped")


def _validate(value: Any, schema: type[M], how: How) -> Parsed[M]:
    value = unwrap(value)
    if isinstance(value, str):
        found, inner = decode(value)
        value, how = (unwrap(inner), "repaired") if found else (value, how)
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        raise InvalidOutput("the answer holds several different JSON objects")
    if not isinstance(value, dict):
        raise InvalidOutput(f"the answer is no JSON object but {_kind(value)}")
    for _ in range(FIXES):
        try:
            return Parsed(_finite(schema.model_validate(value)), how)
        except ValidationError as error:
            fixed = _fix(value, error) or inside_of(value, known_fields(schema), schema.__name__)
            if fixed is None:
                raise InvalidOutput(_explain(error, schema)) from None
            value, how = fixed, "repaired"
    raise InvalidOutput("the answer does not fit the schema")


def _finite(value: M) -> M:
    """Refuse NaN and infinities, which pydantic reads out of strings and JSON cannot store."""
    pending: list[Any] = [value.model_dump()]
    while pending:
        node = pending.pop()
        if isinstance(node, float) and not math.isfinite(node):
            raise InvalidOutput("the answer holds a number that is not finite")
        if isinstance(node, dict):
            pending += node.values()
        elif isinstance(node, list | tuple | set):
            pending += node
    return value


def _fix(value: dict[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """Undo mistakes of form: extra keys, and enums that differ in case or surrounding space. None if there are none."""
    fixed: dict[str, Any] = json.loads(json.dumps(value))
    changed = False
    for item in error.errors(include_url=False):
        *path, last = item["loc"] or ("",)
        holder: Any = fixed
        try:
            for part in path:
                holder = holder[part]
            if item["type"] == "missing":
                changed |= _rename(holder, str(last))
                continue
            current = holder[last]
        except (KeyError, IndexError, TypeError):
            continue
        if item["type"] == "extra_forbidden":
            del holder[last]
            changed = True
        elif item["type"] in {"literal_error", "enum"} and isinstance(current, str):
            options = _OPTION.findall(str(item.get("ctx", {}).get("expected", "")))
            meant = [option for option in options if option.lower() == current.strip().lower()]
            if len(meant) == 1 and meant[0] != current:
                holder[last] = meant[0]
                changed = True
    return fixed if changed else None


def _rename(holder: Any, field: str) -> bool:
    """Give a key the name of the missing field when they differ in case alone."""
    alike = [key for key in holder if key.lower() == field.lower()] if isinstance(holder, dict) else []
    if len(alike) != 1:
        return False
    holder[field] = holder.pop(alike[0])
    return True


def _explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Say which fields do not fit, in words that hold nothing of the answer."""
    known = known_fields(schema)
    parts = []
    for item in error.errors(include_input=False, include_url=False, include_context=False)[:3]:
        place = ".".join(str(part) if isinstance(part, int) or part in known else "…" for part in item["loc"])
        # Validators of the caller's own may quote the value.
        own = item["type"] in {"value_error", "assertion_error"}
        message = "is not accepted" if own else item["msg"]
        parts.append(f"{place}: {message}" if place else message)
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f" (and {more} more)" if more > 0 else "")


def known_fields(schema: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a schema, those of nested models included."""
    names: set[str] = set()
    pending: list[Any] = [schema.model_json_schema(by_alias=True), schema.model_json_schema(by_alias=False)]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("properties"), dict):
                names |= set(node["properties"])
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return names


def _kind(value: Any) -> str:
    kinds = {type(None): "null", bool: "a boolean", str: "a string", list: "an array"}
    return kinds.get(type(value), "a number")
