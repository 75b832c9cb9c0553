"""An event as a flat set of named values, without secrets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from nodes.events import Event
from state import Attempt, redact

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LEAVE_OUT: Final[tuple[Any, ...]] = (None, "", 0, 0.0, False, [], {})
"""Values that say nothing in a log line."""
_QUOTES: Final = frozenset({"detail", "reason"})
"""Fields that may quote an answer, such as what a gate found: `surefoot explain` shows them, logs do not."""


def name_of(event: Event) -> str:
    """Return the name of an event as logs spell it: `attempt_ended`."""
    return _WORDS.sub("_", type(event).__name__).lower()


def facts_of(event: Event) -> dict[str, Any]:
    """Return the fields of an event, nested records flattened, texts redacted and shortened, quotations left out.

    Works for any event that is a dataclass, so a new one is logged without further work.
    """
    facts: dict[str, Any] = {}
    for field in (field for field in dataclasses.fields(event) if field.name not in _QUOTES):
        value = _plain(getattr(event, field.name))
        if isinstance(value, Mapping):
            facts |= {name: inner for name, inner in value.items() if name not in facts or not facts[name]}
        else:
            facts[field.name] = value
    return {name: value for name, value in facts.items() if value not in _LEAVE_OUT}


def _plain(value: Any) -> Any:
    if isinstance(value, Attempt) and value.outcome == "crashed":
        # The text of an exception that nobody foresaw may hold anything; its class is enough to look further.
        value = value.model_copy(update={"error": value.error.partition(":")[0]})
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items() if name not in _QUOTES}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value
