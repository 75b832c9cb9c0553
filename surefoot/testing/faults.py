"""Ways for an endpoint to misbehave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One way to misbehave; the default is to behave."""

    status: int = 200
    code: str = ""
    message: str = "scripted"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0
    """Pause between single bytes of the body."""
    raw: str | None = None
    content_type: str = "application/json"
    shape: Callable[[str], str] | None = None
    """Changes the answer's text."""
    finish_reason: str = "stop"
    refusal: str | None = None
    cut_after: int | None = None
    """Pieces after which a stream just ends, without a word why; an answer in one piece is not cut."""
    usage: dict[str, Any] | str | None = "exact"
    """`exact`, None for no usage at all, or the object to report."""


def status(code: int, error: str = "", message: str = "scripted", **headers: str) -> Fault:
    """Answer with an HTTP error; `retry_after="3"` becomes a header."""
    return Fault(
        status=code, code=error, message=message, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def throttle(seconds: float) -> Fault:
    """Answer 429 and ask to wait some seconds."""
    return status(429, "rate_limit_exceeded", retry_after=f"{seconds:g}")


def throttle_ms(milliseconds: int) -> Fault:
    """Answer 429 and ask to wait some milliseconds; the header in seconds says something else and is weaker."""
    return status(429, "rate_limit_exceeded", retry_after_ms=str(milliseconds), retry_after="60")


def throttle_until(seconds_from_now: float) -> Fault:
    """Ask to wait until an HTTP date, as told by the server's own clock."""
    now = int(time.time())
    return status(429, date=formatdate(now, usegmt=True), retry_after=formatdate(now + seconds_from_now, usegmt=True))


def hang(seconds: float = 30.0) -> Fault:
    """Answer after so many seconds, which is long after anybody listens."""
    return Fault(delay_s=seconds)


def drip(seconds: float = 0.05) -> Fault:
    """Send the body byte by byte, or a stream piece by piece, with this pause in seconds between them."""
    return Fault(drip_s=seconds)


def says(text: str, finish_reason: str = "stop") -> Fault:
    """Answer with this text, whatever was asked."""
    return Fault(shape=lambda _answer: text, finish_reason=finish_reason)


def fenced() -> Fault:
    """Put the answer into a fence of Markdown."""
    return Fault(shape=lambda answer: f"```json\n{answer}\n```")


def prose() -> Fault:
    """Put the answer between two sentences."""
    return Fault(shape=lambda answer: f"Sure! Here is what you asked for:\n\n{answer}\n\nLet me know if it helps.")


def truncated(finish_reason: str = "length") -> Fault:
    """Cut off the last third of the answer; `stop` for an endpoint that does not say so."""
    return Fault(shape=lambda answer: answer[: max(1, len(answer) * 2 // 3)], finish_reason=finish_reason)


def cut_stream(pieces: int = 1) -> Fault:
    """End a stream after so many pieces, as if it were complete."""
    return Fault(cut_after=pieces)


def html() -> Fault:
    """Answer with the web page of a proxy, with status 200."""
    return Fault(raw="<!DOCTYPE html><html><body>Gateway login</body></html>", content_type="text/html")


def empty() -> Fault:
    """Answer with nothing."""
    return Fault(shape=lambda _answer: "")


def refusal() -> Fault:
    """Decline to answer."""
    return Fault(refusal="I cannot help with that.")


def content_filter() -> Fault:
    """Withhold the answer, as a content filter does."""
    return Fault(shape=lambda _answer: "", finish_reason="content_filter")
