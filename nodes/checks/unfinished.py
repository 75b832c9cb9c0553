"""Does the text end where it should, or was it cut off?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nodes.checks.length import count_words
from nodes.checks.plain import plain

_END: Final = re.compile(r"[.!?…。！？:;)\]\"'”’»*_]\s*\Z")
_DANGLING: Final = re.compile(
    r"\b(?:and|or|the|an?|to|of|with|for|that|und|oder|der|die|das|ein|eine|zu|mit|für|dass|y|o|el|la|los|un|una|de"
    r"|con|para|que),?\s*\Z",
    re.IGNORECASE,
)

_CLOSING: Final = re.compile(
    r"\b(?:regards|sincerely|cheers|team|grüße|gruß|saludos|atentamente|equipo)\b", re.IGNORECASE
)
SIGNATURE_WORDS: Final = 6
"""Most words of a last line that may end without a mark, such as `Kind regards` or `The support team`."""


def unfinished() -> Callable[[str, str], str | None]:
    """Return a check that a text does not end in the middle of a sentence.

    Endpoints tell a cut by `finish_reason`, but not all do and not always. A short last line of its own, or a few
    closing words after the last sentence, are a signature.
    """

    def check(text: str, source: str) -> str | None:  # noqa: ARG001 - every check takes a source
        text = plain(text).strip()
        if not text or _END.search(text):
            return None
        before, newline, last = text.rpartition("\n")
        tail = re.split(r"[.!?…]\s", last)[-1]
        own_line = bool(newline and before.strip()) and count_words(last) <= SIGNATURE_WORDS
        closing = count_words(tail) <= SIGNATURE_WORDS and _CLOSING.search(tail)
        if (own_line or closing) and not _DANGLING.search(last):
            return None
        return "ends in the middle of a sentence"

    return check
