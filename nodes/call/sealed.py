"""Answers in the call ledger, encrypted where there are keys: they quote what was asked and what a model said."""

from __future__ import annotations

import base64
from typing import Final, Protocol

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
        if self._sealer is None:
            return text if self._keeps else ""
        return MARK + base64.b64encode(self._sealer.seal(text.encode(), _place(ledger, call_id))).decode()

    def opened(self, text: str, ledger: str, call_id: str) -> str | None:
        """Return the text of a kept answer, None for one that cannot be read: it has to be asked for anew.

        With a sealer nothing is read that is not encrypted.
        """
        if self._sealer is None:
            return None if text.startswith(MARK) else text
        if not text.startswith(MARK):
            return None
        try:
            return self._sealer.unseal(base64.b64decode(text[len(MARK) :]), _place(ledger, call_id)).decode()
        except ValueError:
            return None


def _place(ledger: str, call_id: str) -> bytes:
    return f"{ledger}\0{call_id}".encode("utf-8", "surrogatepass")
