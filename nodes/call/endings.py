"""Whether an answer is whole: what its finish reason says, and what counts as evidence where that says nothing."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

from nodes.call.jsontext import decode
from nodes.call.maker_answers import BAD_WORDS, ENDINGS, Ending
from nodes.errors import CallError, InvalidOutput, Refused, Transient, Truncated

_SAFE: Final = re.compile(r"[\w.:/ -]{1,40}")
_AT_LIMIT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "token_limit", "limit", "incomplete"})
_HTML: Final = re.compile(r"\s*(<!doctype html|<html\b)", re.IGNORECASE)
_FINISHED: Final = re.compile(r"(?:[.!?…。！？؟।]|```)[\"'”’»)\]*_`]*\s*\Z")
"""The end of a finished sentence, or of a block of code."""


def normal(reason: object) -> str:
    """Return a finish reason in one form: lower case, without the name of its enumeration, repeated ones once.

    LangChain joins the texts of chunks, so a server that repeats `stop` arrives as `stopstop`.
    """
    text = str(getattr(reason, "value", reason) or "").strip().lower()
    text = text.rpartition("finishreason.")[2].removeprefix("finish_reason_")
    for parts in (2, 3, 4):
        whole, rest = divmod(len(text), parts)
        if whole and not rest and text[:whole] * parts == text and text[:whole] in ENDINGS:
            return text[:whole]
    return text


def ending_of(reason: str) -> Ending | None:
    """Return what a finish reason says, None for one that is missing or that nobody has listed."""
    known = normal(reason)
    if known in ENDINGS:
        return ENDINGS[known]
    return next((ending for words, ending in BAD_WORDS if words.search(known)), None)


def fault_of_ending(reason: str) -> CallError | None:
    """Return the error that a finish reason itself means: for all but whole answers and unknown reasons."""
    match ending_of(reason):
        case "cut":
            if normal(reason) in _AT_LIMIT:
                return Truncated("the answer was cut off at the token limit: raise max_tokens")
            return Truncated(f"the answer was cut off {named(reason)}")
        case "withheld":
            return Refused(f"a content filter withheld the answer {named(reason)}")
        case "broken":
            return Transient(f"the endpoint broke the answer off {named(reason)}")
        case "invalid":
            return InvalidOutput(f"the model's generation was not valid {named(reason)}")
    return None


def doubt_about(reason: str) -> Truncated:
    """Return the error for an answer of which nothing tells that it is whole."""
    if normal(reason):
        return Truncated(
            f"the answer may be cut off: it ended for a reason that is not known to be good {named(reason)}"
        )
    return Truncated("the answer may be cut off: the endpoint did not say why it ended, and its text does not tell")


def named(reason: str) -> str:
    """Quote a finish reason for a message, if it looks like one: an endpoint may write anything into the field."""
    known = normal(reason)
    return f"(finish reason {known!r})" if _SAFE.fullmatch(known) else "(a finish reason of another form)"


def looks_finished(text: str) -> bool:
    """Tell whether a text ends as whole ones do: with a sentence, a closed block of code, or as one JSON value."""
    said = text.strip()
    if said[:1] in ("{", "[") and is_json(said):
        return True
    return bool(_FINISHED.search(said)) and said.count("```") % 2 == 0


def is_blank(text: str) -> bool:
    """Tell whether a text shows nothing: white space, and characters of no width."""
    return all(char.isspace() or unicodedata.category(char) == "Cf" for char in text)


def is_web_page(text: str) -> bool:
    """Tell whether a text is the page of a proxy."""
    return bool(_HTML.match(text))


def is_json(text: str) -> bool:
    """Tell whether a text is one whole JSON object or array."""
    try:
        found, value = decode(text.strip())
    except (InvalidOutput, RecursionError):
        return False
    return found and isinstance(value, dict | list)


def arguments_of(text: str) -> dict[str, object] | None:
    """Read the arguments of a tool call; None when they are no JSON object."""
    try:
        value = json.loads(text or "{}", strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
