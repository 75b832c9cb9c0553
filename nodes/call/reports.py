"""What an endpoint reports when something fails, read from the body of any maker's error.

Structured fields first: numbers, codes and types. Words are kept for matching only and are never stored. Fields that
may quote a prompt or an answer (`input`, `failed_generation`, ...) are not read at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nodes.call.maker_errors import FAULTS, QUOTA_OF_TIME, STATUS_OF, WORDS, Fault
from nodes.call.waits import bounded, duration, exhausted_until, retry_after, wait_in_words

_NESTED: Final = ("error", "errors", "detail", "details", "innererror", "inner_error", "metadata", "fault", "cause")
_CODES: Final = ("code", "type", "status", "reason", "error_code", "error_type", "__type", "quotaid")
_TEXTS: Final = ("message", "msg", "detail", "error", "error_description", "description", "raw", "quotaid")
_SAFE_CODE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{1,48}")
_WORDS: Final = tuple((fault, re.compile(words)) for fault, _, words in WORDS)
_DEPTH: Final = 6
_LONGEST: Final = 20_000
"""Characters of an error that are looked at."""


class ReportedError(Exception):
    """An error that an endpoint put into an answer with status 200, or into a stream that had begun."""

    def __init__(self, body: object, headers: Mapping[str, str] | None = None, *, begun: bool = False) -> None:
        super().__init__("the endpoint reported an error")
        self.report = read_report(body, None, headers)
        self.refused = not begun and 400 <= (self.report.status or 0) < 500
        """Whether nothing can have been generated, so that it costs nothing."""


@dataclass
class Report:
    """What an error says, in one form for all makers."""

    status: int | None = None
    """HTTP status, or the one that the body names where the error came in a 200 or in a stream."""
    inside: bool = False
    """Whether it came inside of an answer with status 200, or of a stream."""
    codes: list[str] = field(default_factory=list)
    """Codes and types in lower case, the outermost first."""
    param: str = ""
    text: str = ""
    """All messages in lower case; for matching only."""
    wait: float | None = None
    """Seconds that it asks to wait."""
    asked: bool = False
    """Whether the body itself names a time to come back at."""
    flagged: bool = False
    """Whether a moderation names what it objects to."""
    headers: dict[str, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    """Numbers between 400 and 599 in code fields, the outermost first."""

    @property
    def code(self) -> str:
        """The code to name in messages; a word is better than a number that repeats the status."""
        return next((code for code in self.codes if not code.isdigit()), "")

    @property
    def fault(self) -> Fault | None:
        """What it is about where a code or the words tell; codes first."""
        by_code = next((FAULTS[code] for code in self.codes if code in FAULTS), None)
        by_words = next((fault for fault, words in _WORDS if words.search(self.text)), None)
        found = by_code or by_words
        if by_code == "throttle" and by_words == "context":
            # Larger than the whole limit of a minute: it never fits, however long one waits.
            return "context"
        plain = by_words == "money" and "exceeded your current quota" not in self.text
        if self.never_comes_back or (by_code == "throttle" and plain):
            # Words about credit are plain; those about a quota are Google's for a rate, too.
            return "money"
        if found == "money" and self.comes_back:
            return "throttle"
        return found

    @property
    def comes_back(self) -> bool:
        """Whether a quota is one of a time, and not of the account."""
        return not self.never_comes_back and (self.asked or bool(QUOTA_OF_TIME.search(self.text)))

    @property
    def never_comes_back(self) -> bool:
        """Whether a quota is none at all: Gemini says `limit: 0` for what its free tier does not serve."""
        return "quota" in self.text and bool(re.search(r"\blimit: 0\b", self.text))


def read_report(body: object, status: int | None = None, headers: Mapping[str, str] | None = None) -> Report:
    """Return what a body reports. `status` is the HTTP status of an error, None for one inside of a 200."""
    report = Report(status=status, inside=status is None)
    texts: list[str] = []
    hints: list[float] = []
    _walk(body, report, texts, hints, 0)
    report.text = " ".join(texts)[:_LONGEST].lower()
    if (said := wait_in_words(report.text)) is not None:
        hints.append(said)
    report.asked = bool(hints)
    given = {name.lower(): str(value) for name, value in (headers or {}).items()}
    inner = {name.lower(): value for name, value in report.headers.items()}
    waits = (retry_after(given), retry_after(inner), max(hints) if hints else None)
    report.wait = next((wait for wait in waits if wait is not None), None)
    if report.wait is None:
        report.wait = exhausted_until(given) if exhausted_until(given) is not None else exhausted_until(inner)
    named = next((STATUS_OF[code] for code in report.codes if code in STATUS_OF), None)
    number = report.numbers[0] if report.numbers else None
    if report.status is None:
        report.status = number or named
    elif report.status in (400, 500, 502) and number in (402, 429, 503, 529):
        # A gateway that wraps the error of another one in its own.
        report.status = number
    return report


def is_error_body(body: object) -> bool:
    """Tell whether something that came with status 200 is an error and no completion."""
    if not isinstance(body, Mapping):
        return False
    if body.get("error"):
        return True
    if body.get("choices") or body.get("usage"):
        return False
    return body.get("object") == "error" or body.get("type") == "error" or any(
        body.get(name) for name in ("detail", "errors", "message", "error_type", "error_code")
    )  # fmt: skip


def _walk(node: object, report: Report, texts: list[str], hints: list[float], depth: int) -> None:
    if depth > _DEPTH:
        return
    if isinstance(node, bytes):
        node = node.decode("utf-8", "replace")
    if isinstance(node, str):
        text = node.strip()
        if text[:1] in ("{", "[") and (inner := _decoded(text)) is not None:
            _walk(inner, report, texts, hints, depth + 1)
        else:
            texts.append(text[:_LONGEST])
        return
    if isinstance(node, list | tuple):
        for item in node[:8]:
            if not isinstance(item, str):
                _walk(item, report, texts, hints, depth + 1)
            else:
                texts.append(item)
        return
    if isinstance(node, Mapping):
        _read(node, report, texts, hints, depth)


def _read(node: Mapping[Any, Any], report: Report, texts: list[str], hints: list[float], depth: int) -> None:
    fields = {str(name).lower(): value for name, value in node.items()}
    for name in _CODES:
        _take_code(fields.get(name), report)
    if isinstance(param := fields.get("param"), str) and not report.param:
        report.param = param.lower()
    if isinstance(where := fields.get("loc"), list) and where and not report.param:
        # FastAPI's validation names the field as a path: ["body", "response_format"].
        report.param = str(where[-1]).lower()
    for name in ("retrydelay", "retry_after", "retryafter", "retry_after_seconds"):
        value = fields.get(name)
        wait = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else duration(value)
        if wait is not None:
            hints.append(bounded(wait))
    if isinstance(inner := fields.get("headers"), Mapping):
        report.headers |= {str(name): str(value) for name, value in inner.items()}
    report.flagged |= bool(fields.get("reasons")) and "flagged_input" in fields
    for name in _TEXTS:
        value = fields.get(name)
        if isinstance(value, str):
            _walk(value, report, texts, hints, depth + 1)
    for name in _NESTED:
        value = fields.get(name)
        if isinstance(value, Mapping | list):
            _walk(value, report, texts, hints, depth + 1)
    if isinstance(violations := fields.get("violations"), list):
        # google.rpc.QuotaFailure: `quotaId` tells whether the quota is one of a minute or of a day.
        _walk(violations, report, texts, hints, depth + 1)


def _take_code(value: object, report: Report) -> None:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        if 400 <= int(value) <= 599:
            report.numbers.append(int(value))
        else:
            report.codes.append(str(value))
        return
    if isinstance(value, str):
        code = value.rpartition("#")[2].strip().lower()
        if _SAFE_CODE.fullmatch(code) and code not in ("none", "null", "error"):
            report.codes.append(code)


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
