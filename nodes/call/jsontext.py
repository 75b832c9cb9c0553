"""JSON inside texts: strict decoding, finding it in prose, and mending its punctuation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

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


_WRAPPERS: Final = frozenset(
    {"answer", "data", "json", "object", "output", "properties", "response", "result", "value"}
)
"""Names of objects that models put around an answer. Under any other name it may be an example or a rejected draft."""
_ARGUMENTS: Final = ("arguments", "parameters", "input")
"""Where tool calls keep what they are called with, beside their `name`."""


def decode_encoded(text: str) -> Any:
    """Decode an object whose quotes are all escaped, as if it stood inside a string; None for anything else."""
    if '\\"' not in text:
        return None
    found, inner = decode(f'"{text.strip()}"')
    found, value = decode(inner) if found and isinstance(inner, str) else (False, None)
    return value if found and is_object(value) else None


def inside_of(value: dict[str, Any], fields: set[str], name: str) -> dict[str, Any] | None:
    """Return what a wrapper wraps: the object under its only key, or the arguments of a tool call. None for no wrapper.

    A wrapper has a common name or that of the schema (`name`); a key that is a field of the schema wraps nothing.
    """
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key.lower() not in _WRAPPERS | {name.lower()}:
            return None
    elif (named := [key for key in _ARGUMENTS if key in value]) and set(value) <= {"name", "type", "id", *_ARGUMENTS}:
        key, inner = named[0], value[named[0]]
        if len(named) > 1:
            return None
    else:
        return None
    if isinstance(inner, str):
        _, inner = decode(inner)
    return inner if key not in fields and isinstance(inner, dict) else None


def spans(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each outermost bracketed region, and whether it is closed.

    What lies inside a region is never looked at on its own: the inner object of a damaged outer one would be a wrong
    answer. Raises `InvalidOutput` where a region may have ended inside of a string.
    """
    begin, quote, escaped, before = 0, "", False, ""
    opened: list[str] = []
    for i, char in enumerate(text):
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote and (quote == '"' or _ends_value(text, i + 1)):
                quote = ""
        # An apostrophe opens a string only where a value or a key begins.
        elif opened and (char == '"' or (char == "'" and before in "{[,:")):
            quote = char
        elif char in "{[":
            begin = begin if opened else i
            opened.append(char)
        elif char in "}]" and opened:
            wrong = opened.pop() + char not in ("{}", "[]")
            if wrong or not opened:
                if wrong or _TORN.match(text, i + 1):
                    raise InvalidOutput("the answer holds damaged JSON whose end cannot be told for certain")
                yield text[begin : i + 1], True
        before = before if char.isspace() else char
    if opened:
        yield text[begin:], False


def straightened(text: str) -> str:
    """Make typographic quotes straight where they delimit: elsewhere they are part of a value."""
    return text if '"' in text or _SINGLE_QUOTED.search(text) else text.translate(_TYPOGRAPHIC)


def torn(around: str) -> bool:
    """Tell whether the text around the JSON has the end of a string and of an object: then those are its own."""
    return bool(_TORN.search(around))


def _ends_value(text: str, at: int) -> bool:
    """Tell whether what follows is what follows a value: an apostrophe before anything else is one inside of it."""
    return bool(_AFTER_VALUE.match(text, at))


def repair(span: str) -> Any:
    """Mend the punctuation of damaged JSON; refuse a mend that made up a value."""
    import json_repair

    span = straightened(span)
    found, plain = decode(without_comments(span))
    if found:
        return plain
    _refuse_unsure_escapes(span)
    try:
        mended = json_repair.loads(span, skip_json_loads=True)
    except (ValueError, TypeError, IndexError, AttributeError):
        mended = None
    value = unwrap(mended)
    if not isinstance(value, dict):
        raise InvalidOutput("the answer holds no readable JSON object")
    # Mending punctuation leaves everything else where it was; a text that lost or got something was guessed at.
    written = json.dumps(mended, ensure_ascii=False)
    # Braces that a template doubled come back single.
    single = span[1:-1] if re.fullmatch(r"\{\s*\{.*\}\s*\}", span, re.DOTALL) else span
    lost = any(written.count(char) != single.count(char) for char in "{}[]")
    guessed = lost or _squeeze(written) != _squeeze(span)
    empty = sum(leaf == "" for leaf in _leaves(value))
    decoded = {_decoded(quoted) for quoted in _QUOTED.findall(span)} if "\\" in span else None
    moved = any(isinstance(leaf, str) and not _stands(leaf, span, decoded) for leaf in _leaves(value))
    if guessed or moved or empty > len(re.findall(r"\"\"|''", span)):
        raise InvalidOutput("the answer holds damaged JSON whose values cannot be read for certain")
    return value


_SINGLE_QUOTED: Final = re.compile(r"[{\[,:]\s*'")
_TORN: Final = re.compile(r"\s*[\"']\s*,?\s*[}\]]")
_AFTER_VALUE: Final = re.compile(r"\s*(?:[,:}\]]|\Z)")
_TYPOGRAPHIC: Final = str.maketrans("\u201c\u201d\u201e", '""' + '"')
_COMMENT: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?<=[\s,{\[])(?://[^\n]*|/\*.*?\*/)", re.DOTALL)


def without_comments(span: str) -> str:
    """Drop the comments outside of strings; use the result only where it is strict JSON."""
    return _COMMENT.sub(lambda match: match[0] if match[0][0] in "\"'" else " ", span)


def _refuse_unsure_escapes(span: str) -> None:
    """Refuse a text with escapes that mean nothing beside some that may: is a line break meant, or a folder `new`?

    A form feed is refused too, and so are three backslashes in a row: the mending library reads them in another way.
    """
    if re.search(r"(?<!\\)(?:\\\\)*\\f|\\{3}|\\\s*\n", span) or _mixed_escapes(span):
        raise InvalidOutput("the answer holds damaged JSON whose escapes cannot be read for certain")


def _mixed_escapes(span: str) -> bool:
    return bool(re.search(r"\\[^\"'\\/bfnrtu]", span) and re.search(r"\\[bfnrtu]", span))


def _delimited(leaf: str, span: str) -> bool:
    """Tell whether a mended string stands in the text between its own two quotes, or without any."""
    written = json.dumps(leaf, ensure_ascii=False)[1:-1]
    forms = {leaf, written, written.replace('\\"', '"'), leaf.replace("'", "\\'"), leaf.replace("\\", "\\\\")}
    quoted = any(f"{quote}{form}{quote}" in span for form in forms for quote in "\"'`")
    return quoted or (not re.search(r"[\"'`]", leaf) and leaf.strip() in span)


def _stands(leaf: str, span: str, decoded: set[str] | None) -> bool:
    """Tell whether the text holds a mended string as it is; with escapes, one of its strings has to say the same."""
    return (decoded is None or leaf in decoded or leaf in span) and _delimited(leaf, span)


_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|\"", re.DOTALL
)


def _decoded(quoted: str) -> str:
    """Read a string between quotes as JSON does; an escape that means nothing stays as it is."""

    def escape(match: re.Match[str]) -> str:
        found, value = decode(f'"{match[0]}"')
        return value if found else match[0].removeprefix("\\") if match[0] == "\\'" else match[0]

    return _ESCAPE.sub(escape, quoted[1:-1])


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
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
