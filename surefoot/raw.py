"""Reading raw values of unknown quality: what does not fit is left out, nothing raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from surefoot.words import one_line

MAX_DEPTH = 12


def number(value: Any, default: float = 0.0) -> float:
    """Return a finite number, or the default for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    try:
        converted = float(value)
    except OverflowError:
        return default
    return converted if math.isfinite(converted) else default


def text(value: Any) -> str:
    """Return a text on one safe line, or an empty one for anything that is no text."""
    return one_line(value) if isinstance(value, str) else ""


def records(values: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Return the objects of a list field, leaving out what is none."""
    found = values.get(field)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def strings(value: Any) -> list[str]:
    """Return the texts of a list, leaving out what is none."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def plain(value: Any, depth: int = 0) -> Any:
    """Return JSON-able data: unknown types become their text, broken characters are replaced."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, (int, float)):
        # A number that JSON or its readers cannot take becomes its text.
        return value if abs(value) < 2**63 else one_line(repr(value) if isinstance(value, float) else "a huge number")
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {one_line(key): plain(item, depth + 1) for key, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return f"({type(value).__name__})"
