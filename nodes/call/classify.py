"""What went wrong, in Surefoot's own words: exceptions of clients and endpoints become errors of the one tree.

Messages are built from status, error code and host. They are stored in threads, so nothing of a prompt, an answer, a
header or a key may get into them.
"""

from __future__ import annotations

import errno
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from nodes.call.endpoint import host_of
from nodes.call.guard import HaltScope
from nodes.call.reports import Report, ReportedError, is_error_body, read_report
from nodes.call.waits import retry_after
from nodes.errors import (
    CallError,
    CallTimeout,
    ConfigurationError,
    ContextTooLong,
    InvalidOutput,
    NotConnected,
    Permanent,
    Refused,
    SurefootError,
    Throttled,
    Transient,
    Truncated,
)


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
    if "checkpointers.SaverError" in kinds:
        # A graph inside of the task could not store: its outage is a `ConnectionError`, but none of the endpoint's.
        return None
    if (report := _report_of(error, kinds)) is not None:
        return judge(report, where, model, key)
    if (kinds & _CLIENTS or isinstance(error, OSError)) and never_connected(error):
        return NotConnected(f"cannot reach {where}")
    if isinstance(error, TimeoutError) or kinds & _TIMEOUTS:
        return CallTimeout(f"no answer from {where} within the time limit")
    if kinds & _CUT_OFF:
        return Truncated("the answer was cut off at the token limit")
    if kinds & _FILTER:
        return Refused("a content filter withheld the answer")
    if kinds & _CONNECTIONS or isinstance(error, ConnectionError):
        return Transient(f"the connection to {where} broke")
    if isinstance(error, ValidationError | json.JSONDecodeError) or "langchain_core.OutputParserException" in kinds:
        return InvalidOutput(f"the answer does not fit: {type(error).__name__}")
    return _from_langchain(error, kinds, where, model, key)


_TIMEOUTS: Final = {"openai.APITimeoutError", "httpx.TimeoutException", "httpx2.TimeoutException"} | {
    f"{library}.APITimeoutError" for library in ("anthropic", "groq", "together", "cerebras")
}
"""Those libraries are made by the generator of openai's, and have its exceptions."""
_CUT_OFF: Final = {"openai.LengthFinishReasonError"}
_FILTER: Final = {"openai.ContentFilterFinishReasonError"}
_CONNECTIONS: Final = {
    "openai.APIConnectionError",
    "openai.APIResponseValidationError",
    "httpx.TransportError",
    "httpx2.TransportError",
    *(f"{library}.APIConnectionError" for library in ("anthropic", "groq", "together", "cerebras")),
}
_CLIENTS: Final = _TIMEOUTS | _CONNECTIONS | {"botocore.EndpointConnectionError", "botocore.ConnectTimeoutError"}
_MODEL_ERRORS: Final = "langchain_core.ModelError"
_AGAIN: Final = frozenset({408, 409, 424, 425, 498, 499})
"""Statuses below 500 after which the same request may succeed: 424 is Bedrock's and TGI's for a fault of the model, 498
Groq's for a lack of capacity, 499 Google's for a request that it cancelled itself."""


def judge(report: Report, where: str, model: str = "", key: str = "OPENAI_API_KEY") -> CallError | ConfigurationError:
    """Return what a report means for the call.

    What a code or the words name comes before the status, which makers use in different ways; without either the
    endpoint has failed, and may succeed later.
    """
    status, fault, code = report.status, report.fault, report.code
    number = f" ({status})" if status else ""
    said = f"{where} {'reported' if report.inside else 'answered'} {status}" if status else f"{where} reported an error"
    said += f" ({code})" if code else ""
    match fault:
        case "context":
            return ContextTooLong(
                f"{said}: the request is too long for the model: shorten the prompt, or lower max_tokens"
            )
        case "generation":
            return InvalidOutput(f"{said}: the model's generation was not valid")
        case "filter":
            return Refused(f"a content filter at {where} rejected the request{number}")
        case "key":
            return EndpointRefusal(f"the endpoint {where} refused the API key{number}: set {key} to a valid one", "key")
        case "region":
            place = ", ".join(str(part) for part in (status, code) if part)
            return EndpointRefusal(
                f"{where} takes no requests from here ({place}): use another endpoint or network", "key"
            )
    return _from_status(report, where, model, key, said, number)


def _from_status(
    report: Report, where: str, model: str, key: str, said: str, number: str
) -> CallError | ConfigurationError:
    status, fault, code, wait = report.status, report.fault, report.code, report.wait
    if fault == "throttle" and status not in (401, 403, 404):
        return Throttled(f"{said}: too many requests", retry_after=wait)
    if fault == "money" or (status == 402 and wait is None):
        return EndpointRefusal(f"the account at {where} has no quota left{number}: add credit or change {key}", "key")
    if status in (402, 429):
        # OpenRouter's 402 with a Retry-After is a limit on requests in flight: openrouter.ai/docs/api-reference/errors.
        return Throttled(f"{said}: too many requests", retry_after=wait)
    if status == 401:
        return EndpointRefusal(f"the endpoint {where} refused the API key ({status}): set {key} to a valid one", "key")
    if status == 403 and report.flagged:
        return Refused(f"a content filter at {where} rejected the request ({status})")
    if status == 403 and ("model" in code or "access to model" in report.text):
        return EndpointRefusal(
            f"{where} gives this key no access to model {model!r} (403): set SUREFOOT_MODEL", "model"
        )
    if status == 404 or fault == "model":
        return _not_found(status or 404, where, model, report)
    if status is None or status in _AGAIN or status >= 500:
        return Transient(said, retry_after=wait)
    if 200 <= status < 400:
        return Transient(f"{said} with something that is no completion", retry_after=wait)
    return Permanent(said)


def _not_found(status: int, where: str, model: str, report: Report) -> ConfigurationError:
    if report.fault == "model" or any("model" in code for code in report.codes) or "model" in report.text:
        named = repr(model) if model else "of that name"
        return EndpointRefusal(
            f"{where} has no model {named} ({status}): set SUREFOOT_MODEL to one that it serves", "model"
        )
    return EndpointRefusal(f"{where} has no chat completions at this address (404): check OPENAI_BASE_URL", "key")


def _report_of(error: BaseException, kinds: set[str]) -> Report | None:
    """Return what an exception of a client tells about an answer of the endpoint, None for one without an answer."""
    if isinstance(error, ReportedError):
        return error.report
    status = getattr(error, "status_code", None)
    response = getattr(error, "response", None)
    if status is None and any(kind.endswith(".HTTPStatusError") for kind in kinds):
        status = getattr(response, "status_code", None)
        return read_report(_text_of(response) or str(error), status, _headers_of(error))
    if isinstance(response, Mapping) and isinstance(response.get("Error"), Mapping):
        # botocore keeps the response as a dict.
        number = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
        return read_report(response["Error"], number if isinstance(number, int) else None)
    if status is None and any(kind.startswith("google.") for kind in kinds):
        # google.api_core and google.genai call the HTTP status a code.
        status = getattr(error, "code", None)
    body = getattr(error, "body", None)
    if not isinstance(status, int):
        if kinds & {"langchain_core.ContextOverflowError"}:
            return Report(codes=["context_length_exceeded"])
        reported = "openai.APIError" in kinds and not kinds & (_TIMEOUTS | _CONNECTIONS)
        # An error inside of a stream: the client has no status for it.
        return read_report(body or str(error), None, _headers_of(error)) if reported else None
    if kinds & {"openai.APIResponseValidationError"}:
        return Report(status=status)
    if 200 <= status < 300:
        return read_report(body, None, _headers_of(error)) if is_error_body(body) else Report(status=status)
    report = read_report(body or str(error), status, _headers_of(error))
    if kinds & {"langchain_core.ContextOverflowError"}:
        report.codes.append("context_length_exceeded")
    return report


def _text_of(response: object) -> str:
    """Return the body of an HTTP response that was read, an empty text for one that was streamed."""
    try:
        return str(response.text)  # type: ignore[attr-defined] # clients' responses have it
    except Exception:  # noqa: BLE001, RUF100 - each client raises its own when a body was not read
        return ""


def _from_langchain(
    error: BaseException, kinds: set[str], where: str, model: str, key: str
) -> CallError | ConfigurationError | None:
    """Judge errors of other providers by the family that their integration put them into."""
    if _MODEL_ERRORS not in kinds:
        return None
    name = next((kind.partition(".")[2] for kind in kinds if kind.startswith("langchain_core.Model")), "ModelError")
    families = {kind.partition(".")[2] for kind in kinds if kind.startswith("langchain_core.")}
    wait = retry_after(_headers_of(error))
    if "ContextOverflowError" in families:
        return judge(Report(codes=["context_length_exceeded"]), where, model, key)
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


def _headers_of(error: BaseException) -> Mapping[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return headers if isinstance(headers, Mapping) else {}


def _host_in(error: BaseException) -> str:
    try:
        return host_of(str(error.request.url))  # type: ignore[attr-defined] # only the errors of HTTP clients have it
    except (AttributeError, RuntimeError):
        return "the endpoint"


_NO_CONNECTION: Final = frozenset({
    # httpx and httpx2, which the client of OpenAI wraps.
    "ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol",
    # aiohttp; urllib3 under requests; botocore.
    "ClientConnectorError", "ConnectionTimeoutError", "NewConnectionError", "ConnectTimeoutError",
    "EndpointConnectionError",
})  # fmt: skip
"""Exceptions of HTTP clients for a connection that was not made, by name: none of these clients is ours to import."""

_NO_WAY: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


def never_connected(error: BaseException) -> bool:
    """Tell whether no connection was made, so that nothing can have been sent."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return False
        if type(seen).__name__ in _NO_CONNECTION or isinstance(seen, socket.gaierror | ssl.SSLCertVerificationError):
            return True
        if isinstance(seen, OSError) and seen.errno in _NO_WAY:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def never_sent(error: BaseException) -> bool:
    """Tell whether a failed request cannot have cost anything: refused with a status, or never sent.

    A generation that the endpoint itself found to be invalid was made, and may be billed.
    """
    status = getattr(error, "status_code", None)
    refused = isinstance(status, int) and status >= 400 and read_report(_body(error), status).fault != "generation"
    return refused or (isinstance(error, ReportedError) and error.refused) or never_connected(error)


def _body(error: BaseException) -> object:
    return getattr(error, "body", None) or str(error)
