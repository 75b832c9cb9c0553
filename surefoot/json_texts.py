"""JSON texts as people send them: one value, or a long array whose elements come one by one with their lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from surefoot.errors import UsageError


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_constant)


def load_json(text: str) -> Any:
    """Parse a JSON text; raises `ValueError` with a short reason."""
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON ({error.msg.lower()}, column {error.colno})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_array(text: str, name: str) -> Iterator[tuple[int, Any]]:
    """Yield the elements of an array with the lines they begin at; raises `UsageError` where it is broken."""
    line, counted = 1, 0
    try:
        for position, value in _elements(text):
            line, counted = line + text.count("\n", counted, position), position
            yield line, value
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}, line {error.lineno}: no valid JSON ({error.msg.lower()})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: no valid JSON ({error or 'nested too deeply'})") from None


def _elements(text: str) -> Iterator[tuple[int, Any]]:
    position = _skip(text, text.index("[") + 1)
    while text[position : position + 1] != "]":
        value, end = _decoder.raw_decode(text, position)
        yield position, value
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
    if _skip(text, position + 1) != len(text):
        raise json.JSONDecodeError("Extra data after the array", text, position + 1)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
