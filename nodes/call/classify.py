"""What went wrong, in Surefoot's own words: exceptions of clients and endpoints become errors of the one tree.

Messages are built from status, error code and host. They are stored in threads, so nothing of a prompt, an answer, a
header or a key may get into them.
"""

from __future__ import annotations

import errno
import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pydantic import ValidationError

from nodes.call.endpoint import host_of
from nodes.call.guard import HaltScope
from nodes.errors import (
    CallError,
    CallTimeout,
    ConfigurationError,
    InvalidOutput,
    Permanent,
    Refused,
    SurefootError,
    Throttled,
    Transient,
    Truncated,
)

LONGEST_RETRY_AFTER_S: Final = 86_400.0
"""A longer wait than a day is cut to one: a header must not put a thread to sleep for good."""

_BLOCKED: Final = frozenset({"unsupported_country", "unsupported_country_region_territory", "ip_not_authorized"})
_NO_MONEY: Final = frozenset({"insufficient_quota", "billing_not_active", "billing_hard_limit_reached"})
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_BAD_KEY: Final = frozenset({"invalid_api_key", "account_deactivated", "invalid_authentication", "missing_api_key"})
_SAFE_CODE: Final = re.compile(r"[a-z][a-z0-9_.-]{1,48}")


class EndpointRefusal(ConfigurationError):
    """An endpoint refused the key, the address or the model: no call like it can succeed."""

    def __init__(self, message: str, scope: HaltScope) -> None:
        super().__init__(message)
        self.scope: HaltScope = scope


def classify_error(
    error: BaseException, *, host: str = "", model: str = "", key: str = "OPENAI_API_KEY"
) -> CallError | ConfigurationError | None:
    """Return what an exception means for the call, or None for one that is no failure of a call.

    Knows the exceptions of openai, httpx and httpx2, langchain's `ModelError` family, timeouts, and answers that do
    not parse. `host` and `model` are named in messages; without them they come from the exception where it tells.
    """
    if isinstance(error, CallError | ConfigurationError):
        return error
    if isinstance(error, SurefootError):
        return None
    where = host or _host_in(error)
    kinds = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if (
        status is None
        and (response := getattr(error, "response", None)) is not None
        and "HTTPStatusError" in str(kinds)
    ):
        status = getattr(response, "status_code", None)
    if isinstance(status, int):
        return _from_status(status, error, where, model, key)
    if isinstance(error, TimeoutError) or kinds & _TIMEOUTS:
        return CallTimeout(f"no answer from {where} within the time limit")
    if kinds & _CUT_OFF:
        return Truncated("the answer was cut off at the token limit")
    if kinds & _FILTER:
        return Refused("a content filter withheld the answer")
    if kinds & _CONNECTIONS or isinstance(error, ConnectionError):
        refused = never_connected(error)
        return Transient(f"cannot reach {where}" if refused else f"the connection to {where} broke")
    if isinstance(error, ValidationError | json.JSONDecodeError):
        return InvalidOutput(f"the answer does not fit: {type(error).__name__}")
    return _from_langchain(error, kinds, where, model, key)


_TIMEOUTS: Final = {"openai.APITimeoutError", "httpx.TimeoutException", "httpx2.TimeoutException"}
_CUT_OFF: Final = {"openai.LengthFinishReasonError"}
_FILTER: Final = {"openai.ContentFilterFinishReasonError"}
_CONNECTIONS: Final = {
    "openai.APIConnectionError",
    "openai.APIResponseValidationError",
    "httpx.TransportError",
    "httpx2.TransportError",
}
_MODEL_ERRORS: Final = "langchain_core.ModelError"


def _from_status(status: int, error: BaseException, where: str, model: str, key: str) -> CallError | ConfigurationError:
    code, text = _code_of(error), _text_of(error)
    wait = retry_after(_headers_of(error))
    told = f"{where} answered {status}" + (f" ({code})" if code else "")
    if status == 401 or (status == 403 and (code in _BAD_KEY or "api key" in text)):
        return EndpointRefusal(f"the endpoint {where} refused the API key ({status}): set {key} to a valid one", "key")
    if status == 403 and code in _BLOCKED:
        return EndpointRefusal(
            f"{where} takes no requests from here (403, {code}): use another endpoint or network", "key"
        )
    if status == 403 and ("model" in code or "does not have access to model" in text):
        return EndpointRefusal(
            f"{where} gives this key no access to model {model!r} (403): set SUREFOOT_MODEL", "model"
        )
    if status == 402 or code in _NO_MONEY or (status == 429 and "exceeded your current quota" in text):
        return EndpointRefusal(
            f"the account at {where} has no quota left ({status}): add credit or change {key}", "key"
        )
    if status == 404 or code == "model_not_found":
        return _not_found(status, where, model, code, text)
    if code in _FILTERED or (status == 400 and "content management policy" in text):
        return Refused(f"a content filter at {where} rejected the request ({status})")
    if status == 429:
        return Throttled(f"{told}: too many requests", retry_after=wait)
    if status in {408, 409, 425} or status >= 500:
        return Transient(told, retry_after=wait)
    if 200 <= status < 400:
        return Transient(f"{told} with something that is no completion", retry_after=wait)
    return Permanent(told)


def _not_found(status: int, where: str, model: str, code: str, text: str) -> ConfigurationError:
    if "model" in code or "model" in text:
        named = repr(model) if model else "of that name"
        return EndpointRefusal(
            f"{where} has no model {named} ({status}): set SUREFOOT_MODEL to one that it serves", "model"
        )
    return EndpointRefusal(f"{where} has no chat completions at this address (404): check OPENAI_BASE_URL", "key")


def _from_langchain(
    error: BaseException, kinds: set[str], where: str, model: str, key: str
) -> CallError | ConfigurationError | None:
    """Judge errors of other providers by the family that their integration put them into."""
    if _MODEL_ERRORS not in kinds:
        return None
    name = next((kind.partition(".")[2] for kind in kinds if kind.startswith("langchain_core.Model")), "ModelError")
    families = {kind.partition(".")[2] for kind in kinds if kind.startswith("langchain_core.")}
    wait = retry_after(_headers_of(error))
    if "ModelAuthenticationError" in families:
        return EndpointRefusal(f"the endpoint {where} refused the API key: set {key} to a valid one", "key")
    if "ModelNotFoundError" in families:
        return EndpointRefusal(f"{where} has no model {model!r}: set SUREFOOT_MODEL to one that it serves", "model")
    if "ModelRateLimitError" in families:
        return Throttled(f"{where}: too many requests", retry_after=wait)
    if "ModelTimeoutError" in families:
        return CallTimeout(f"no answer from {where} within the time limit")
    if getattr(error, "is_retryable", False):
        return Transient(f"{where} failed ({name})", retry_after=wait)
    return Permanent(f"{where} cannot do this request ({name})")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers ask to wait, or None: milliseconds first, then seconds or an HTTP date.

    A date is compared with the endpoint's own clock where it tells it. The result lies between 0 and a day.
    """
    if (wait := _bounded(headers.get("retry-after-ms"), 1000)) is not None:
        return wait
    value = headers.get("retry-after")
    if (wait := _bounded(value, 1)) is not None:
        return wait
    then = _timestamp(value)
    if then is None:
        return None
    now = _timestamp(headers.get("date"))
    return min(max(0.0, then - (time.time() if now is None else now)), LONGEST_RETRY_AFTER_S)


def _bounded(value: str | None, units_a_second: int) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    if not math.isfinite(number) or number < 0:
        return None
    return min(number / units_a_second, LONGEST_RETRY_AFTER_S)


def _timestamp(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _headers_of(error: BaseException) -> Mapping[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return headers if isinstance(headers, Mapping) else {}


def _body_of(error: BaseException) -> dict[str, Any]:
    body = getattr(error, "body", None)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    return body if isinstance(body, dict) else {}


def _code_of(error: BaseException) -> str:
    """Return the error code, if it looks like one: an endpoint may write anything into the field."""
    for value in (_body_of(error).get("code"), _body_of(error).get("type"), getattr(error, "code", None)):
        if isinstance(value, str) and _SAFE_CODE.fullmatch(value.lower()):
            return value.lower()
    return ""


def _text_of(error: BaseException) -> str:
    """Return the endpoint's words in lower case, to look for some; they are never stored."""
    return str(_body_of(error).get("message") or error).lower()


def _host_in(error: BaseException) -> str:
    try:
        return host_of(str(error.request.url))  # type: ignore[attr-defined] # only the errors of HTTP clients have it
    except (AttributeError, RuntimeError):
        return "the endpoint"


def never_connected(error: BaseException) -> bool:
    """Tell whether no connection was made, so that nothing can have been sent."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return False
        if type(seen).__name__ in {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}:
            return True
        if isinstance(seen, OSError) and seen.errno in {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH}:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def never_sent(error: BaseException) -> bool:
    """Tell whether a failed request cannot have cost anything: refused with a status, or never sent."""
    status = getattr(error, "status_code", None)
    return (isinstance(status, int) and status >= 400) or never_connected(error)
