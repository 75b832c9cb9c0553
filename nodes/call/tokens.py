"""Tokens for people who watch: shown while an answer comes in, marked as provisional until it counts.

They go out under `stream_mode="custom"`, as one dict each, with `step`, `visit` and `attempt`:
`{"type": "surefoot.token", "text": ..., "provisional": True}` for a piece of an answer, then
`{"type": "surefoot.confirmed"}` when the attempt succeeded and its gate, if it has one, let the version pass, or
`{"type": "surefoot.retracted", "reason": ...}` when it did not: whoever showed the pieces takes them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from langchain_core.utils.json import parse_partial_json
from langgraph.config import get_stream_writer

TOKEN: Final = "surefoot.token"  # noqa: S105 - a token of text
CONFIRMED: Final = "surefoot.confirmed"
RETRACTED: Final = "surefoot.retracted"

Kind = Literal["surefoot.token", "surefoot.confirmed", "surefoot.retracted"]


def watched() -> bool:
    """Tell whether somebody streams this run with the mode `custom`."""
    try:
        writer = get_stream_writer()
    except (RuntimeError, KeyError):
        return False
    # LangGraph tells it in no other way: the writer of a run that nobody watches is a function that does nothing, and
    # so knows nothing, while a real one knows its queue.
    return getattr(writer, "__closure__", ()) is not None


def show(kind: Kind, step: str, visit: int, attempt: int, **more: Any) -> None:
    """Tell whoever watches; nothing happens when nobody does."""
    if watched():
        get_stream_writer()({"type": kind, "step": step, "visit": visit, "attempt": attempt, **more})


@dataclass
class Shown:
    """What has been shown of the answers of one attempt."""

    step: str
    visit: int
    attempt: int
    field: bool = False
    """Whether the answer is an object of which the first field is shown, else it is text."""
    before: str = ""
    """What is shown of earlier answers of the attempt."""
    text: str = ""
    """What is shown of the present one."""
    _raw: str = ""

    def begin(self, *, field: bool) -> None:
        """Begin with another answer."""
        self.field, self.before, self.text, self._raw = field, self.before + self.text, "", ""

    def add(self, piece: str) -> None:
        """Take the next piece of an answer."""
        self._raw += piece
        self._up_to(_first_text(self._raw) if self.field else self._raw)

    def finish(self, text: str) -> None:
        """Show what is missing of the answer as it was read in the end."""
        if not text.startswith(self.text):
            self.discard("the answer was read in another way")
        self._up_to(text)

    def discard(self, reason: str) -> None:
        """Take the present answer back."""
        if self.text:
            show(RETRACTED, self.step, self.visit, self.attempt, reason=reason)
            self._say(self.before)
        self.text = self._raw = ""

    def retract(self, reason: str) -> None:
        """Take back all that is shown."""
        if self.before or self.text:
            show(RETRACTED, self.step, self.visit, self.attempt, reason=reason)
        self.before = self.text = self._raw = ""

    def confirm(self) -> None:
        """Let what is shown count."""
        if self.before or self.text:
            show(CONFIRMED, self.step, self.visit, self.attempt)

    def _up_to(self, text: str) -> None:
        if len(text) > len(self.text) and text.startswith(self.text):
            new, self.text = text[len(self.text) :], text
            self._say(new)

    def _say(self, text: str) -> None:
        if text:
            show(TOKEN, self.step, self.visit, self.attempt, text=text, provisional=True)


def _first_text(raw: str) -> str:
    """Return as much as there is of the first field of an object, an empty text for anything else."""
    try:
        found = parse_partial_json(raw)
    except ValueError:
        return ""
    first = next(iter(found.values()), "") if isinstance(found, dict) else ""
    return first if isinstance(first, str) else ""
