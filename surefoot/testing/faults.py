"""Ways for an endpoint to misbehave."""

from __future__ import annotations

import json
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
    """The whole body, with this status and these headers, instead of an answer or an error."""
    events: tuple[Any, ...] | None = None
    """The data of each event of a stream, as texts or as objects, instead of an answer."""
    content_type: str = "application/json"
    shape: Callable[[str], str] | None = None
    """Changes the answer's text."""
    finish_reason: str = "stop"
    refusal: str | None = None
    cut_after: int | None = None
    """Pieces after which a stream just ends, without a word why; an answer in one piece is not cut."""
    usage: dict[str, Any] | str | None = "exact"
    """`exact`, None for no usage at all, or the object to report."""


def body(data: Any, code: int = 200, **headers: str) -> Fault:
    """Answer with this body, as a maker of models writes it, whatever was asked."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status=code, raw=data if isinstance(data, str) else json.dumps(data), headers=named)


def completion(content: Any, finish_reason: Any = "stop", usage: Any = "exact", **message: Any) -> Fault:
    """Answer in one piece with this message; `usage` as in `Fault`. Leave the finish reason out with None."""
    told = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110} if usage == "exact" else usage
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content, **message},
    }
    common = {"id": "chatcmpl-scripted", "object": "chat.completion", "created": 1, "model": "scripted"}
    return body(common | {"choices": [choice]} | ({} if told is None else {"usage": told}))


def chunk(delta: dict[str, Any], finish_reason: Any = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    """Return one chunk of a stream, for `stream_of`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    common = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return common | {"choices": [choice]} | ({} if usage is None else {"usage": usage}) | more


def stream_of(*events: Any) -> Fault:
    """Answer with a stream of these events: chunks, errors, or texts such as `[DONE]`."""
    return Fault(events=events)


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
