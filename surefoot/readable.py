"""Values as people read them: nested ones as indented lines or one short line, never as Python prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from surefoot.words import one_line

INDENT: Final = "  "
SHORT: Final = 60
"""Most characters of a nested value that stands on one line."""
MAX_DEPTH: Final = 12


def brief(value: Any, limit: int = 0) -> str:
    """Return a value on one line: `none`, `true`, `0.81`, `a, b`, `name Python, used true`."""
    return one_line(_inline(value, 0), limit)


def _inline(value: Any, depth: int) -> str:
    if depth > MAX_DEPTH:
        return "…"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) >= 0.01 or not value else f"{value:.2g}"
    if isinstance(value, Mapping):
        parts = [f"{name} {_inline(item, depth + 1)}" for name, item in value.items()]
        text = ", ".join(parts) or "nothing"
        return f"({text})" if depth else text
    if isinstance(value, (list, tuple)):
        text = ", ".join(_inline(item, depth + 1) for item in value) or "nothing"
        return f"[{text}]" if depth and len(value) > 1 else text
    return str(value)


def lines_of(value: Any, depth: int = 0) -> list[str]:
    """Return a value as lines: texts with their own lines, objects with a line for each field, lists item by item."""
    if isinstance(value, str):
        return [one_line(line) for line in value.splitlines()] or ["(empty)"]
    if isinstance(value, Mapping) and value and depth < MAX_DEPTH:
        found = []
        for name, item in value.items():
            inner = lines_of(item, depth + 1)
            if len(inner) == 1:
                found.append(f"{one_line(name)}: {inner[0]}")
            else:
                found += [f"{one_line(name)}:", *(INDENT + line for line in inner)]
        text = brief(value)
        return [text] if depth and len(text) <= SHORT and _is_flat(value.values()) else found
    if isinstance(value, (list, tuple)) and value and depth < MAX_DEPTH:
        if _is_flat(value) and all(not isinstance(item, str) or "\n" not in item for item in value):
            text = brief(value)
            if len(text) <= SHORT:
                return [text]
        found = []
        for item in value:
            first, *rest = lines_of(item, depth + 1)
            found += [f"- {first}", *(INDENT + line for line in rest)]
        return found
    return [brief(value)]


def _is_flat(items: Any) -> bool:
    return not any(isinstance(item, (Mapping, list, tuple)) for item in items)
