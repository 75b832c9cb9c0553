"""JSON inside texts: strict decoding, finding it in prose, and mending its punctuation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from nodes.errors import InvalidOutput


def decode(text: str) -> tuple[bool, Any]:
    """Decode JSON; raises `InvalidOutput` for an object that says two things about one key."""
    try:
        return True, json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except ValueError:
        return False, None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for key, value in pairs:
        if key in decoded and not same(decoded[key], value):
            raise InvalidOutput("the answer gives one key two different values")
        decoded[key] = value
    return decoded


def _no_constant(name: str) -> float:
    # NaN and Infinity are Python's, not JSON's.
    raise ValueError(name)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are the same JSON."""
    # 1, 1.0 and True are equal in Python and different answers.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def is_object(value: Any) -> bool:
    """Tell whether a value is an object, or an array that holds some."""
    return isinstance(unwrap(value), dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def unwrap(value: Any) -> Any:
    """Take the one object out of an array; identical ones count as one."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and all(same(v, value[0]) for v in value):
        return value[0]
    return value


def spans(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each outermost bracketed region, and whether it is closed.

    What lies inside a region is never looked at on its own: the inner object of a damaged outer one would be a wrong
    answer.
    """
    depth, begin, in_string, escaped = 0, 0, False, False
    for i, char in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"' and depth:
            in_string = True
        elif char in "{[":
            if depth == 0:
                begin = i
            depth += 1
        elif char in "}]" and depth:
            depth -= 1
            if depth == 0:
                yield text[begin : i + 1], True
    if depth:
        yield text[begin:], False


def repair(span: str) -> Any:
    """Mend the punctuation of damaged JSON; refuse a mend that made up a value."""
    import json_repair

    try:
        value = unwrap(json_repair.loads(span, skip_json_loads=True))
    except (ValueError, TypeError, IndexError, AttributeError):
        value = None
    if not isinstance(value, dict):
        raise InvalidOutput("the answer holds no readable JSON object")
    # Mending punctuation leaves everything else where it was; a text that lost or got something was guessed at.
    guessed = _squeeze(json.dumps(value, ensure_ascii=False)) != _squeeze(span)
    empty = sum(leaf == "" for leaf in _leaves(value))
    if guessed or empty > len(re.findall(r"\"\"|''", span)):
        raise InvalidOutput("the answer holds damaged JSON whose values cannot be read for certain")
    keys = re.findall(r"[{,]\s*['\"]?(\w+)['\"]?\s*:", span)
    if len(keys) != len(set(keys)):
        raise InvalidOutput("the answer holds damaged JSON that gives one key twice")
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def _squeeze(text: str) -> str:
    """Reduce a text to what is not punctuation of JSON, so that quotes, commas and white space do not matter."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    text = re.sub(r"\\[nrtbf]", " ", text)
    return re.sub(r"[\s{}\[\]:,;\"'`\\]", "", text).lower().replace("none", "null")
