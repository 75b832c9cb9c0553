"""Answers in the call ledger, encrypted where there are keys: they quote what was asked and what a model said."""

from __future__ import annotations

import base64
import json
import logging
from typing import Final, Protocol

_log = logging.getLogger("surefoot.guard")

MOST_CHARACTERS: Final = 4_000_000
"""Characters of an answer as JSON up to which it is kept, and read: ten times what the largest models write at once."""

MARK: Final = "sealed:"
"""Before what is encrypted; the text of an answer is JSON and begins with a brace."""


class Sealer(Protocol):
    """Encrypts bytes for the place where they stand, and refuses those of any other place."""

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Encrypt bytes for their place."""
        ...

    def unseal(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt bytes of a place; raises `ValueError` for what is not encrypted, not ours or not of this place."""
        ...


class Kept:
    """Writes and reads the text of answers; without a sealer they stay as they are, or are not kept at all."""

    def __init__(self, sealer: Sealer | None, keeps: bool = True) -> None:
        self._sealer, self._keeps = sealer, keeps

    def sealed(self, text: str, ledger: str, call_id: str) -> str:
        """Return the text as it is kept in a ledger for a call; empty for one that is not."""
        if len(text) > MOST_CHARACTERS:
            _log.warning("an answer of %d characters is not kept: after a crash its call is made again", len(text))
            return ""
        if self._sealer is None:
            return text if self._keeps else ""
        return MARK + base64.b64encode(self._sealer.seal(text.encode(), _place(ledger, call_id))).decode()

    def opened(self, text: str, ledger: str, call_id: str) -> str | None:
        """Return the text of a kept answer, None for one that cannot be read or is none: it has to be asked for anew.

        With a sealer nothing is read that is not encrypted.
        """
        # Base64 takes a third more, and the bytes of a character are up to four.
        if len(text) > 6 * MOST_CHARACTERS:
            return None
        found = text
        if self._sealer is not None:
            if not text.startswith(MARK):
                return None
            try:
                sealed = base64.b64decode(text[len(MARK) :])
                found = self._sealer.unseal(sealed, _place(ledger, call_id)).decode()
            except ValueError:
                return None
        return found if len(found) <= MOST_CHARACTERS and _is_answer(found) else None


def _is_answer(text: str) -> bool:
    """Tell whether a text is what an answer is kept as, however it came to be there."""
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(kept, dict) and type(cost := kept.get("cost", 0)) is int and cost >= 0


def _place(ledger: str, call_id: str) -> bytes:
    return f"{ledger}\0{call_id}".encode("utf-8", "surrogatepass")
