"""The parts of a mail as fields of a state, as a person is shown them, and as one text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from langgraph.types import Overwrite

from state import Provenance
from tasks.mail.message import read_mail

MESSAGE_CHARS: Final = 6_000
"""Most characters of a message that a person is shown."""
OTHER_CHARS: Final = 1_500
"""The same for the history and for the signature."""


def with_mail(update: Mapping[str, Any], subject: str, text: str) -> dict[str, Any]:
    """Add `message`, `quoted` and `signature` to the update that begins a turn, with their origin where they differ."""
    mail = read_mail(subject, text)
    parts = {"message": mail.text, "quoted": mail.quoted, "signature": mail.signature}
    if mail.text == text.strip():
        return {**update, **parts}
    read = Provenance(step="validate", provider="rule")
    origins = {name: read for name, part in parts.items() if part}
    return {**update, **parts, "provenance": Overwrite(origins) if "provenance" in update else origins}


def mail_shown(subject: str, text: str, shorten: Callable[[str, int], str]) -> str:
    """Return a mail as a person is shown it: the message first, then what was not judged, each part shortened."""
    mail = read_mail(subject, text)
    others = {"Quoted history, not judged": mail.quoted, "Signature, not judged": mail.signature}
    parts = [f"**{subject or 'Ticket'}**", shorten(mail.text, MESSAGE_CHARS)]
    return "\n\n".join(parts + [f"**{name}**\n{shorten(part, OTHER_CHARS)}" for name, part in others.items() if part])


def mail_source(subject: str, text: str) -> str:
    """Return all that a mail says, as text."""
    mail = read_mail(subject, text)
    return f"{subject}\n{mail.text}\n{mail.quoted}\n{mail.signature}"
