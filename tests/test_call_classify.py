"""Exceptions of clients become errors of the one tree, with messages that are safe to store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
    OutputParserException,
)
from pydantic import BaseModel, ValidationError

from nodes.call import EndpointRefusal, classify_error
from nodes.call.waits import retry_after
from nodes.errors import (
    BudgetSpent,
    CallTimeout,
    ContextTooLong,
    InvalidOutput,
    Permanent,
    Throttled,
    Transient,
)

SECRET = "sk-secret-in-a-message"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelRateLimitError(SECRET), Throttled),
        (ModelAPIError(SECRET), Transient),
        (ModelConnectionError(SECRET), Transient),
        (ModelTimeoutError(SECRET), CallTimeout),
        (ModelAuthenticationError(SECRET), EndpointRefusal),
        (ModelNotFoundError(SECRET), EndpointRefusal),
        (ModelPermissionDeniedError(SECRET), Permanent),
        (ModelInvalidRequestError(SECRET), Permanent),
        (ContextOverflowError(SECRET), ContextTooLong),
        (TimeoutError(SECRET), CallTimeout),
        (httpx.ReadTimeout(SECRET), CallTimeout),
        (httpx2.ReadTimeout(SECRET), CallTimeout),
        (httpx.RemoteProtocolError(SECRET), Transient),
        (httpx2.ReadError(SECRET), Transient),
        (ConnectionResetError(SECRET), Transient),
        (json.JSONDecodeError("x", SECRET, 0), InvalidOutput),
        (OutputParserException(SECRET), InvalidOutput),
        (Throttled("kept"), Throttled),
    ],
)
def test_each_family_has_its_name(error: Exception, kind: type[Exception]) -> None:
    known = classify_error(error)
    assert type(known) is kind
    assert SECRET not in str(known)


def test_a_failed_connection_says_where() -> None:
    request = httpx2.Request("POST", f"http://user:{SECRET}@llm.example:8080/v1/chat")
    known = classify_error(httpx2.ConnectError(SECRET, request=request))
    assert str(known) == "cannot reach llm.example:8080"
    assert isinstance(known, Transient)


def test_an_http_status_is_read_off_httpx_too() -> None:
    request = httpx.Request("POST", "http://llm.example/v1")
    response = httpx.Response(429, headers={"retry-after": "12"}, request=request)
    known = classify_error(httpx.HTTPStatusError(SECRET, request=request, response=response))
    assert isinstance(known, Throttled)
    assert known.retry_after == 12


def test_what_does_not_fit_a_model_is_invalid_output() -> None:
    class One(BaseModel):
        n: int

    with pytest.raises(ValidationError) as caught:
        One.model_validate({"n": SECRET})
    known = classify_error(caught.value)
    assert isinstance(known, InvalidOutput)
    assert SECRET not in str(known)


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error"}}
TOO_LONG = "the input length exceeds the context length"


class _OfLibrary(Exception):
    """An exception as a library that is not installed here raises it."""


def of_library(module: str, name: str, message: str = SECRET, **attributes: Any) -> Exception:
    error: Exception = type(name, (_OfLibrary,), {"__module__": module})(message)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def of_aws(code: str, message: str, status: int) -> Exception:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return of_library("botocore.exceptions", "ClientError", response=response)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (of_aws("ThrottlingException", "Too many tokens, please wait before trying again.", 429), Throttled),
        (of_aws("ValidationException", "Input is too long for requested model.", 400), ContextTooLong),
        (of_aws("ModelErrorException", "x", 424), Transient),
        (of_library("google.api_core.exceptions", "ResourceExhausted", "retry in 6.5s", code=429), Throttled),
        (of_library("google.genai.errors", "ServerError", code=503), Transient),
        (of_library("anthropic", "APITimeoutError"), CallTimeout),
        (of_library("groq", "APIConnectionError"), Transient),
        (of_library("anthropic", "APIStatusError", status_code=200, body=OVERLOADED), Transient),
        (of_library("ollama", "ResponseError", TOO_LONG, status_code=400), ContextTooLong),
    ],
)  # fmt: skip
def test_exceptions_of_other_libraries_have_their_names(error: Exception, kind: type[Exception]) -> None:
    known = classify_error(error)
    assert type(known) is kind
    assert SECRET not in str(known)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RuntimeError("x"), MemoryError(), BudgetSpent("x")])
def test_a_mistake_in_code_is_no_failure_of_a_call(error: Exception) -> None:
    assert classify_error(error) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": formatdate(1_000_020, usegmt=True), "date": formatdate(1_000_000, usegmt=True)}, 20.0),
        ({"retry-after": formatdate(time.time() - 60, usegmt=True)}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Wed, 99 Foo 2026"}, None),
        ({"retry-after": "999999999"}, 86_400.0),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(text: str) -> None:
    for name in ("retry-after", "retry-after-ms", "date"):
        wait = retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"} | {name: text})
        assert wait is None or 0 <= wait <= 86_400


def test_importing_reads_no_environment_and_loads_no_client() -> None:
    code = (
        "import sys, os, socket\n"
        "socket.socket.connect = lambda *a: sys.exit('connected')\n"
        "import nodes.call\n"
        "loaded = [m for m in ('langchain_openai', 'openai', 'genai_prices', 'json_repair') if m in sys.modules]\n"
        "sys.exit(str(loaded) if loaded else 0)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": str(root), "SUREFOOT_PRICES": "{broken"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
