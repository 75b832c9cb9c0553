"""How long an endpoint asks to wait: `Retry-After` in all its forms, an error's words, and exhausted rate limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from nodes import clock

LONGEST_RETRY_AFTER_S: Final = 86_400.0
"""A longer wait than a day is cut to one: a header must not put a thread to sleep for good."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART: Final = r"\d+(?:\.\d+)?\s*(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d)(?![a-z])"
_STEP: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|[smhd])", re.IGNORECASE)
_DURATION: Final = re.compile(rf"(?:{_PART}\s*)+", re.IGNORECASE)
_IN_WORDS: Final = re.compile(
    rf"(?:try|retry|retrying|available|wait|reset\w*|again)[^.\d]{{0,30}}?\b(?:in|after|for)\s+((?:{_PART}[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
"""`Please try again in 7m12.3s` (OpenAI, Groq), `Please retry in 2.5s` (Gemini), `retry after 26 seconds` (Azure)."""
_EPOCH_MS: Final = 1e11
_EPOCH_S: Final = 1e9


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers ask to wait, or None: milliseconds first, then seconds or an HTTP date.

    A date is compared with the endpoint's own clock where it tells it. The result lies between 0 and a day. Some
    gateways write a duration (`7s`), which is no HTTP and clear all the same.
    """
    if (wait := _number(headers.get("retry-after-ms"))) is not None:
        return bounded(wait / 1000)
    value = headers.get("retry-after")
    if (wait := _number(value)) is not None:
        return bounded(wait)
    if (wait := duration(value)) is not None:
        return bounded(wait)
    then = _timestamp(value)
    return None if then is None else bounded(then - _now(headers))


def exhausted_until(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the last of the exhausted rate limits is reset, None when no limit is exhausted.

    A limit is told by two headers that differ in one word, `remaining` and `reset`: OpenAI's and Groq's
    `x-ratelimit-reset-requests: 6m0s` (platform.openai.com/docs/guides/rate-limits), Anthropic's
    `anthropic-ratelimit-tokens-reset` in RFC 3339 (docs.anthropic.com/en/api/rate-limits), OpenRouter's
    `X-RateLimit-Reset` in milliseconds since the epoch, GitHub's in seconds, the IETF's `ratelimit-reset` in seconds
    from now. Only one of which nothing remains says when to come back: the others are reset later or sooner.
    """
    given = {name.lower(): value for name, value in headers.items()}
    waits = []
    for name, value in given.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        remaining = _number(given.get(name.replace("reset", "remaining")))
        if remaining is None or remaining > 0:
            continue
        if (wait := _until(value, _now(given))) is not None:
            waits.append(wait)
    return bounded(max(waits)) if waits else None


def _until(value: str, now: float) -> float | None:
    """Return the seconds until a reset, told as a number, a duration or a date."""
    if (number := _number(value)) is not None:
        if number >= _EPOCH_MS:
            return number / 1000 - now
        return number - now if number >= _EPOCH_S else number
    if (wait := duration(value)) is not None:
        return wait
    then = _timestamp(value)
    return None if then is None else then - now


def wait_in_words(text: str) -> float | None:
    """Return the longest wait that an error's words ask for, in seconds."""
    found = [wait for match in _IN_WORDS.finditer(text) if (wait := _sum_of(match[1])) is not None]
    return bounded(max(found)) if found else None


def duration(value: object) -> float | None:
    """Read a duration such as `7s`, `6m0s`, `20ms` or `1.5s`; None for anything else."""
    text = str(value or "").strip()
    return _sum_of(text) if _DURATION.fullmatch(text) else None


def _sum_of(text: str) -> float | None:
    parts = _STEP.findall(text)
    if not parts:
        return None
    return sum(float(number) * _UNITS[unit.lower().replace("milli", "ms")] for number, unit in parts)


def bounded(seconds: float) -> float:
    """Keep a wait between 0 and a day."""
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _now(headers: Mapping[str, str]) -> float:
    now = _timestamp(headers.get("date"))
    return clock.now() if now is None else now


def _timestamp(value: str | None) -> float | None:
    """Read an HTTP date or one after RFC 3339."""
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        pass
    try:
        then = datetime.fromisoformat(value or "")
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
